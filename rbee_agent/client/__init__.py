"""The SDK: typed clients of queen, hive and worker; streams that survive what they can.

Everything is imported when it is first named, so ``from rbee_agent.client import QueenClient``
costs no more than the one class::

    async with QueenClient("http://127.0.0.1:8080", token) as queen:
        async for piece in queen.text(TaskRequest(model="smollm2-135m", prompt="Once")):
            print(piece, end="", flush=True)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rbee_agent.client.frames import (
        Answer,
        FleetEvent,
        Frame,
        Ranked,
        ToolCall,
        parse_fleet_event,
        parse_frame,
    )
    from rbee_agent.client.hive import HiveClient
    from rbee_agent.client.locate import Address, find_queen
    from rbee_agent.client.queen import QueenClient
    from rbee_agent.client.sync import SyncQueenClient
    from rbee_agent.client.worker import WorkerClient
    from rbee_agent.wire.sse import ServerEvent

_HOMES = {
    "Address": "rbee_agent.client.locate",
    "Answer": "rbee_agent.client.frames",
    "FleetEvent": "rbee_agent.client.frames",
    "Frame": "rbee_agent.client.frames",
    "HiveClient": "rbee_agent.client.hive",
    "QueenClient": "rbee_agent.client.queen",
    "Ranked": "rbee_agent.client.frames",
    "ServerEvent": "rbee_agent.wire.sse",
    "SyncQueenClient": "rbee_agent.client.sync",
    "ToolCall": "rbee_agent.client.frames",
    "WorkerClient": "rbee_agent.client.worker",
    "find_queen": "rbee_agent.client.locate",
    "parse_fleet_event": "rbee_agent.client.frames",
    "parse_frame": "rbee_agent.client.frames",
}

__all__ = [
    "Address",
    "Answer",
    "FleetEvent",
    "Frame",
    "HiveClient",
    "QueenClient",
    "Ranked",
    "ServerEvent",
    "SyncQueenClient",
    "ToolCall",
    "WorkerClient",
    "find_queen",
    "parse_fleet_event",
    "parse_frame",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(home), name)
