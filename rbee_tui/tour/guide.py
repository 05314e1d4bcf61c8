"""The table of keys in the docs, made from the bindings themselves.

``python -m rbee_tui.tour.guide docs/control-center.md`` writes it anew between its two marks; a
test holds the file against it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from textual.binding import Binding
from textual.dom import DOMNode

from rbee_tui.app import RbeeApp
from rbee_tui.panes.prompt_bar import PromptInput
from rbee_tui.screens.base import FleetScreen
from rbee_tui.screens.chat import Chat
from rbee_tui.screens.help import HelpScreen, key_name
from rbee_tui.screens.log import LogScreen
from rbee_tui.screens.overview import Overview
from rbee_tui.screens.policy import PolicyScreen, Source
from rbee_tui.screens.steps import StepsScreen
from rbee_tui.screens.streams import StreamsScreen
from rbee_tui.screens.table import Hosts, Models, Sessions, TableScreen, Tasks, Workers
from rbee_tui.widgets.dialog import Question
from rbee_tui.widgets.filter_input import FilterInput
from rbee_tui.widgets.live_table import LiveTable
from rbee_tui.widgets.picker import Picker
from rbee_tui.widgets.sheet import Sheet
from rbee_tui.widgets.token_view import TokenView

BEGIN: Final = "<!-- the keys, made by python -m rbee_tui.tour.guide -->"
END: Final = "<!-- end of the keys -->"

SECTIONS: Final[tuple[tuple[str, tuple[type[DOMNode], ...]], ...]] = (
    ("Everywhere", (RbeeApp, FleetScreen)),
    ("Overview", (Overview,)),
    ("Every table", (LiveTable, TableScreen)),
    ("Hosts", (Hosts,)),
    ("Workers", (Workers,)),
    ("Streams", (StreamsScreen,)),
    ("Tasks", (Tasks,)),
    ("Models", (Models,)),
    ("Sessions", (Sessions,)),
    ("Policy", (PolicyScreen, Source)),
    ("Chat", (Chat,)),
    ("Text that grows", (TokenView,)),
    ("Typing a prompt", (PromptInput,)),
    ("Typing a filter", (FilterInput,)),
    ("Palettes and choices", (Picker,)),
    ("Questions, and text over the screen", (Question, Sheet, LogScreen, StepsScreen, HelpScreen)),
)
"""Every class of ours that binds keys, where a reader looks for it."""


@dataclass
class _Entry:
    keys: list[str] = field(default_factory=list)
    words: str = ""


def _bindings(owner: type[DOMNode]) -> Iterator[Binding]:
    """The bindings that the class itself declares, a binding for each key."""
    declared = vars(owner).get("BINDINGS", ())
    yield from Binding.make_bindings(declared)


def entries(owners: Sequence[type[DOMNode]]) -> list[tuple[str, str]]:
    """Keys and sentence of each action, in the order of the bindings."""
    found: dict[tuple[str, str], _Entry] = {}
    for owner in owners:
        for binding in _bindings(owner):
            entry = found.setdefault((owner.__name__, binding.action), _Entry())
            entry.keys.append(key_name(binding.key))
            entry.words = entry.words or (binding.tooltip or binding.description).rstrip(".")
    return [(" ".join(f"`{key}`" for key in e.keys), e.words) for e in found.values()]


def table() -> str:
    """All keys as Markdown."""
    parts = []
    for title, owners in SECTIONS:
        rows = "\n".join(f"| {keys} | {words} |" for keys, words in entries(owners))
        parts.append(f"### {title}\n\n| key | what it does |\n|---|---|\n{rows}\n")
    return "\n".join(parts)


def with_table(text: str) -> str:
    """The page with the table between its marks.

    Raises:
        ValueError: the page lacks a mark.
    """
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no {BEGIN} and {END}")
    return f"{head}{BEGIN}\n\n{table()}\n{END}{tail}"


def main(arguments: list[str]) -> int:
    """Write the table into the page."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m rbee_tui.tour.guide docs/control-center.md\n")
        return 2
    page = Path(arguments[0])
    page.write_text(with_table(page.read_text("utf-8")), "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
