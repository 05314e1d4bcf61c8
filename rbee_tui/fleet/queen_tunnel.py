"""Starting the process that holds the tunnel to a queen elsewhere, and knowing it again."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from rbee_agent.errors import RbeeError
from rbee_agent.runtime.files import read_json
from rbee_agent.settings.places import Places
from rbee_agent.ssh.target import Target
from rbee_tui.fleet import local
from rbee_tui.fleet.local import Running

START_TIMEOUT_S = 15.0
_LOOK_S = 0.05


def leads_to(places: Places, name: str) -> bool:
    """Whether the queen that commands here find is the one on that host."""
    return (read_json(places.queen_record) or {}).get("host") == name


async def start(
    places: Places, target: Target, port: int, token: str, env: Mapping[str, str]
) -> Running:
    """Start the holder in a session of its own and wait for its record.

    Args:
        places: this user's folders.
        target: the control node.
        port: the queen's port there.
        token: the key that she takes; handed over on stdin, never on a command line.
        env: the holder's environment (its agent's socket among it).

    Raises:
        RbeeError: it did not come up.
    """
    log = places.logs / "queen-link.log"
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    folders = ("config", "data", "state", "cache", "runtime")
    given = {
        "target": asdict(target),
        "port": port,
        "token": token,
        "places": {name: str(getattr(places, name)) for name in folders},
    }
    child = _spawn(log, json.dumps(given).encode() + b"\n", env)
    agent = local.queen_agent(places)
    loop = asyncio.get_running_loop()
    deadline = loop.time() + START_TIMEOUT_S
    # The system has no event for "this file is there" that needs no further package.
    while child.poll() is None and loop.time() < deadline:
        found = local.running(agent)
        if found is not None and found.pid == child.pid:
            return found
        await asyncio.sleep(_LOOK_S)
    child.kill()
    said = "\n".join(local.log_lines(log, 5))
    raise RbeeError(f"the tunnel to the queen on {target.name} did not come up:\n{said}")


class _Holder(subprocess.Popen[bytes]):
    """A child that outlives us on purpose: dropping its handle is no mistake to warn of."""

    def __del__(self) -> None:
        return


def _spawn(log: Path, given: bytes, env: Mapping[str, str]) -> _Holder:
    with log.open("ab") as sink:
        child = _Holder(
            [sys.executable, "-P", "-m", "rbee_tui.fleet.queen_link"],
            stdin=subprocess.PIPE,
            stdout=sink,
            stderr=sink,
            start_new_session=True,
            cwd=Path.home(),
            env=dict(env),
        )
    assert child.stdin is not None  # noqa: S101 - Popen was given a pipe
    with child.stdin as pipe:
        pipe.write(given)
    return child
