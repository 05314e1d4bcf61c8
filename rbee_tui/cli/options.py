"""Options that many commands share, so that they are spelled and explained alike."""

from __future__ import annotations

from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Watch = Annotated[
    bool, typer.Option("--watch", "-w", help="Print again whenever something changes.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Answer questions with yes.")]
Timeout = Annotated[
    float, typer.Option("--timeout", metavar="S", min=0.1, help="Give up after so many seconds.")
]
