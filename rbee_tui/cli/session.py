"""What every command gets: this user's places, the queen's address, and a way to the screen."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from rbee_agent.errors import EXIT_INTERRUPTED
from rbee_agent.settings.places import Places

if TYPE_CHECKING:
    import typer

    from rbee_agent.client import QueenClient
    from rbee_agent.client.locate import Address
    from rbee_agent.contracts.tasks import TaskRequest

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ScreenEnd:
    """How the control center was left."""

    code: int
    leave_agents: bool = False
    """The person wants queen, hive and workers to go on."""


class Screen(Protocol):
    """Opens the control center; the front door hands it in, so that commands import no Textual."""

    def __call__(
        self,
        url: str,
        token: str | None,
        *,
        first_prompt: TaskRequest | None = None,
        read_only: bool = False,
        owns_agents: bool = False,
        theme: str | None = None,
    ) -> ScreenEnd:
        """Return when the person quits."""


@dataclass(frozen=True, slots=True)
class Session:
    """One run of ``rbee``."""

    places: Places
    env: Mapping[str, str]
    queen_url: str | None = None
    screen: Screen | None = None
    """None: no screen may be opened (``--no-tui``, or no terminal)."""
    theme: str | None = None
    read_only: bool = False

    @classmethod
    def of_user(cls) -> Session:
        """The session of whoever runs this process."""
        return cls(Places.of_user(), os.environ)

    def address(self) -> Address:
        """Where the queen is."""
        from rbee_agent.client.locate import find_queen

        return find_queen(self.places, env=self.env, url=self.queen_url)

    def queen(self, *, timeout: float = 30.0) -> QueenClient:
        """A client of the queen; to be used as an async context manager."""
        from rbee_agent.client.queen import QueenClient

        return QueenClient.at(self.address(), timeout=timeout)


def of(ctx: typer.Context) -> Session:
    """The session of a command's context."""
    session = ctx.find_root().obj
    return session if isinstance(session, Session) else Session.of_user()


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run one command's coroutine; Ctrl-C and SIGTERM cancel it, so that it can tidy up.

    Raises:
        SystemExit: 130, when it was interrupted and raised nothing else.
    """
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        task = loop.create_task(work)
        interrupted = _cancel_on_signal(loop, task.cancel)
        try:
            return loop.run_until_complete(task)
        except asyncio.CancelledError:
            if not interrupted:
                raise
            # On a terminal ^C stands there already.
            print("\rinterrupted" if sys.stderr.isatty() else "interrupted", file=sys.stderr)
            raise SystemExit(EXIT_INTERRUPTED) from None
        finally:
            for number in _SIGNALS:
                loop.remove_signal_handler(number)


_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _cancel_on_signal(loop: asyncio.AbstractEventLoop, cancel: Callable[[], bool]) -> list[bool]:
    """Have the first signal cancel the command, and a third its tidying up too.

    Returns:
        A list that is filled when a signal came.
    """
    came: list[bool] = []

    def on_signal() -> None:
        came.append(True)
        if len(came) == 2:
            print("still tidying up; once more leaves it as it is", file=sys.stderr)
        else:
            cancel()

    for number in _SIGNALS:
        loop.add_signal_handler(number, on_signal)
    return came
