"""Who this hive is: a name made once and kept, its token, its version."""

from __future__ import annotations

import json
import platform
import re
import socket

from rbee_agent import __version__
from rbee_agent.contracts.base import PROTOCOL_VERSION
from rbee_agent.contracts.ids import IdFactory
from rbee_agent.contracts.nodes import HiveIdentity
from rbee_agent.runtime.clock import Clock
from rbee_agent.runtime.files import read_json, secret_file, write_atomic
from rbee_agent.settings.config import HiveSettings
from rbee_agent.settings.places import Places
from rbee_agent.settings.secret import Secret


def node_id(places: Places, new_id: IdFactory) -> str:
    """This host's id: from its name and four random characters, the same at every start."""
    path = places.state / "hive.json"
    kept = read_json(path)
    if kept is not None and isinstance(kept.get("node_id"), str):
        return str(kept["node_id"])
    name = re.sub(r"[^a-z0-9-]+", "-", socket.gethostname().partition(".")[0].lower()).strip("-")
    made = f"{name[:32] or 'host'}-{new_id('n')[-4:]}"
    write_atomic(path, json.dumps({"node_id": made}))
    return made


def new_worker_id(own_id: str, new_id: IdFactory) -> str:
    """An id for a worker: the queen finds its node in it, also when the node is away."""
    return f"{own_id}.{new_id('w')[-4:]}"


def token(places: Places) -> Secret:
    """The token that every caller of this hive needs (0600 file, made at first start).

    Raises:
        PermissionError: others may read the file.
    """
    return Secret(secret_file(places.hive_token, Secret.new().reveal()))


def identity(
    own_id: str, *, backends: list[str], settings: HiveSettings, clock: Clock
) -> HiveIdentity:
    """What the queen and the keeper learn of this hive."""
    return HiveIdentity(
        node_id=own_id,
        hostname=socket.gethostname(),
        version=__version__,
        protocol=PROTOCOL_VERSION,
        os=f"{platform.system()} {platform.release()}",
        arch=platform.machine(),
        backends=backends,
        started_at=clock.utc(),
        labels=settings.labels,
        region=settings.region,
    )
