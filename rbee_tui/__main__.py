"""The front door of ``rbee``: a command goes to `cli`, else the control center opens."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rbee_agent.contracts.tasks import TaskRequest
    from rbee_tui.cli.session import ScreenEnd


def main() -> int:
    """Run ``rbee`` with this process's arguments; returns the exit code."""
    argv = sys.argv[1:]
    if argv in (["--version"], ["-V"]):
        from rbee_agent import __version__

        sys.stdout.write(f"rbee {__version__}\n")
        return 0
    from rbee_tui.cli.app import main as run_command

    on_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    return run_command(argv, screen=open_screen if on_terminal else None)


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
