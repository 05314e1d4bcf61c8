"""The keeper's tunnel to a queen elsewhere: a small process that outlives commands.

It leaves the record that a local queen would leave, so that every command, the control center and
the SDK find her as if she ran here. It is told what to dial by one line of JSON on stdin.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import psutil

from rbee_agent import __version__
from rbee_agent.contracts.hosts import LinkState
from rbee_agent.runtime.files import read_json, write_atomic
from rbee_agent.runtime.service import run_service
from rbee_agent.settings.places import Places
from rbee_agent.ssh.target import Target
from rbee_agent.ssh.tunnels import Tunnels


async def hold(target: Target, port: int, token: str, places: Places, stop: asyncio.Event) -> None:
    """Keep the tunnel and its record until `stop` is set.

    Args:
        target: the control node.
        port: the queen's port on its loopback.
        token: the key that she takes.
        places: where the record goes.
        stop: ends it.
    """
    token_file = places.state / "queen-link.token"
    await asyncio.to_thread(write_atomic, token_file, token + "\n")
    try:
        async with asyncio.TaskGroup() as group:
            tunnels = Tunnels(None, _told)
            tunnels.start(group)
            local = tunnels.add(target.name, target).forward(port)
            record = {
                "pid": os.getpid(),
                "start_time": psutil.Process().create_time(),
                "url": f"http://127.0.0.1:{local}",
                "version": __version__,
                "host": target.name,
                "token_file": str(token_file),
            }
            await asyncio.to_thread(write_atomic, places.queen_record, json.dumps(record))
            await stop.wait()
            tunnels.close()
    finally:
        token_file.unlink(missing_ok=True)
        if (read_json(places.queen_record) or {}).get("pid") == os.getpid():
            places.queen_record.unlink(missing_ok=True)


def _told(name: str, state: LinkState, reason: str | None) -> None:
    sys.stderr.write(f"SSH to {name} is {state}{': ' + reason if reason else ''}\n")
    sys.stderr.flush()


def main() -> int:
    """Read what to dial from stdin, then hold it."""
    given: dict[str, Any] = json.loads(sys.stdin.readline())
    target = Target(**given["target"])
    places = Places(**{name: Path(value) for name, value in given["places"].items()})

    async def service(stop: asyncio.Event) -> None:
        await hold(target, int(given["port"]), str(given["token"]), places, stop)

    run_service(service)
    return 0


if __name__ == "__main__":
    sys.exit(main())
