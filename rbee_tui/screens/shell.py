"""Commands of ``rbee`` that need the whole terminal: the center steps aside while they run."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from textual.app import App, SuspendNotSupported

from rbee_agent.errors import EXIT_OK


def rbee_command() -> list[str]:
    """This very rbee, as the first words of a command."""
    return [sys.executable, "-m", "rbee_tui"]


def run_aside(app: App[Any], words: Sequence[str]) -> int | None:
    """Run ``rbee WORDS`` in the terminal; where it fails, what it said stays until Enter.

    It may ask for a password or whether a host key is right, so it needs a terminal and not a pane.

    Returns:
        Its exit code; None where the terminal cannot be given away (in a browser).
    """
    try:
        with app.suspend():
            sys.stdout.write(f"$ rbee {' '.join(words)}\n")
            sys.stdout.flush()
            code = subprocess.run([*rbee_command(), *words], check=False).returncode
            if code == EXIT_OK:
                return code
            sys.stdout.write(f"\nended with {code}; Enter goes back to the control center ")
            sys.stdout.flush()
            sys.stdin.readline()
            return code
    except SuspendNotSupported:
        return None


def is_loopback(url: str) -> bool:
    """Whether the address is one of this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
