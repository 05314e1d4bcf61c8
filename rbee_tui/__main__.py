"""The front door of ``rbee``: a command goes to `cli`, else the control center opens."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from rbee_agent.contracts.tasks import TaskRequest
    from rbee_tui.cli.session import ScreenEnd


DUMB: Final = ("", "dumb", "unknown")
"""Values of TERM that promise nothing but lines of text."""
EXIT_USAGE: Final = 2
"""As `rbee_agent.errors` has it, which a bare `rbee --version` need not import."""


def main() -> int:
    """Run ``rbee`` with this process's arguments; returns the exit code."""
    argv = sys.argv[1:]
    if argv in (["--version"], ["-V"]):
        from rbee_agent import __version__

        sys.stdout.write(f"rbee {__version__}\n")
        return 0
    from rbee_tui.cli.app import main as run_command

    on_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    in_browser = os.environ.get("TEXTUAL_DRIVER", "").startswith("textual.drivers.web_driver")
    if on_terminal and os.environ.get("TERM", "") in DUMB:
        if not [word for word in argv if not word.startswith("-")] and "--no-tui" not in argv:
            term = os.environ.get("TERM") or "not set"
            sys.stderr.write(
                f"rbee: no screen can be drawn on this terminal (TERM is {term}).\n"
                "rbee --no-tui prints the fleet; rbee --help lists what else there is.\n"
            )
            return EXIT_USAGE
        on_terminal = False
    return run_command(argv, screen=open_screen if on_terminal or in_browser else None)


def open_screen(
    url: str,
    token: str | None,
    *,
    first_prompt: TaskRequest | None = None,
    read_only: bool = False,
    owns_agents: bool = False,
    theme: str | None = None,
) -> ScreenEnd:
    """Import Textual and show the control center until the person quits."""
    from rbee_tui.app import run
    from rbee_tui.cli.session import ScreenEnd

    end = run(
        url,
        token,
        first_prompt=first_prompt,
        read_only=read_only,
        owns_agents=owns_agents,
        theme=theme,
    )
    return ScreenEnd(int(end), end.leave_agents)


if __name__ == "__main__":
    sys.exit(main())
