"""The same for many hosts at a time: one bad host does not stop the others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, Protocol, TypeVar

from rbee_agent.errors import EXIT_OK, EXIT_PARTLY, RbeeError
from rbee_agent.ssh.shell import Shell
from rbee_tui.fleet.hosts_file import Host
from rbee_tui.fleet.remote import Remote

AT_A_TIME = 32

T = TypeVar("T")
Work = Callable[[Remote], Awaitable[T]]


class TellHost(Protocol):
    """Shows what goes on with many hosts."""

    def __call__(self, host: str, text: str, detail: str = "", /, *, lasting: bool = False) -> None:
        """Say what is done now with a host; `lasting` words must not be overlooked."""


@dataclass(slots=True)
class Outcome(Generic[T]):
    """What came of each host."""

    done: dict[str, T] = field(default_factory=dict)
    failed: dict[str, RbeeError] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """0, 8 where only some failed, the error's own where all failed alike."""
        if not self.failed:
            return EXIT_OK
        codes = {error.exit_code for error in self.failed.values()}
        if self.done or len(codes) > 1:
            return EXIT_PARTLY
        return codes.pop()


async def on_each(
    hosts: Iterable[Host], work: Work[T], tell: TellHost, *, at_a_time: int = AT_A_TIME
) -> Outcome[T]:
    """Connect to every host and do `work` there; failures are kept, not raised."""
    outcome: Outcome[T] = Outcome()
    gate = asyncio.Semaphore(at_a_time)

    async def one(host: Host) -> None:
        async with gate:
            try:
                tell(host.name, "connecting")
                async with await Shell.open(host.target) as shell:
                    remote = Remote(host, shell, partial(tell, host.name))
                    outcome.done[host.name] = await work(remote)
            except RbeeError as error:
                outcome.failed[host.name] = error
                tell(host.name, f"failed: {error.message}", lasting=True)

    async with asyncio.TaskGroup() as group:
        for host in hosts:
            group.create_task(one(host), name=f"host {host.name}")
    return outcome
