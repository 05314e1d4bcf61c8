"""What the control center is opened with, and how it is left."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import tzinfo
from pathlib import Path

from rbee_agent.contracts.tasks import TaskRequest
from rbee_tui.state.view import View


@dataclass(frozen=True, slots=True)
class Setup:
    """What the control center is opened with."""

    url: str = ""
    queen_option: tuple[str, ...] = ()
    """What a command needs to find the same queen, where it would not by itself."""
    first_prompt: TaskRequest | None = None
    read_only: bool = False
    owns_agents: bool = False
    """The agents were started for this session: leaving asks what becomes of them."""
    theme: str | None = None
    theme_file: Path | None = None
    """Where the theme that is chosen here is kept for the next start."""
    no_color: bool = False
    theme_folders: tuple[Path, ...] = ()
    """The user's own, read after rbee's."""
    now: Callable[[], float] = time.time
    """Unix seconds."""
    text_shown: bool = False
    """Show what all streams say from the start; else only what was sent from here."""
    zone: tzinfo | None = None
    live: bool = True
    """False: show `view` and connect to nothing (pictures, tests)."""
    may_start: bool = False
    """The queen would be one of this machine: offer to start her where none answers."""
    just_started: bool = False
    """Queen and hive were started a moment ago: ask what they are to do first."""
    crash_file: Path | None = None
    """Where the traceback goes if this app has a bug."""
    view: View | None = None

    def typed(self, command: str) -> str:
        """A command line of rbee as it must be typed to reach the same queen."""
        if not self.queen_option:
            return command
        return command.replace("rbee", f"rbee {shlex.join(self.queen_option)}", 1)


class ExitCode(int):
    """The exit code of the command, and what the operator wants to become of his agents."""

    leave_agents: bool = False
    start_here: bool = False
    """The operator wants queen and hive of this machine started, and then to come back."""
