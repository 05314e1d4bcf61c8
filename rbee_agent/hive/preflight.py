"""What is looked at before a worker starts: its file, memory, disk, port. Each refusal says why."""

from __future__ import annotations

import re
import shutil
import socket
from collections.abc import Collection, Iterable
from pathlib import Path

import psutil

from rbee_agent.contracts.devices import Device
from rbee_agent.contracts.models import ModelFile
from rbee_agent.contracts.routes import WORKER_PORTS
from rbee_agent.contracts.workers import CHAT_TEMPLATES, SpawnRequest
from rbee_agent.errors import RbeeError, Refused, Unavailable
from rbee_agent.hive.disk import gib
from rbee_agent.hive.records import WorkerRecord
from rbee_agent.models.estimate import BYTES_PER_VALUE
from rbee_agent.models.fingerprint import fingerprint

STATE_ROOM = 32 * 1024**2
"""Bytes that a worker's record and logs may come to."""

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
EXTRA = ("chat-template", "flash-attention", "kv-type", "log-level", "prefill-chunk")
"""Worker options that a spawn may carry beside its own fields."""


def check_request(request: SpawnRequest) -> None:
    """See that a spawn names nothing that could become another file or another option.

    Raises:
        Refused: which field, and what it may be.
    """
    if request.worker_id is not None and not _ID.fullmatch(request.worker_id):
        raise Refused("worker_id: letters, digits, dot, dash and underscore, 128 at most")
    unknown = sorted(set(request.extra) - set(EXTRA))
    if unknown:
        raise Refused(f"extra: a worker has no option of that name; it has {', '.join(EXTRA)}")
    template = request.extra.get("chat-template", CHAT_TEMPLATES[0])
    if template not in CHAT_TEMPLATES and not Path(template).is_file():
        names = ", ".join(CHAT_TEMPLATES)
        raise Refused(f"extra: chat-template is a file on this host, or one of {names}")
    if request.extra.get("kv-type", "f16") not in BYTES_PER_VALUE:
        raise Refused(f"extra: kv-type is one of {', '.join(BYTES_PER_VALUE)}")


def check_file(file: ModelFile) -> None:
    """See that a model's file is the one that was registered, whole. Milliseconds for any size.

    Raises:
        Refused: it is cut short, or has become another file.
    """
    if fingerprint(Path(file.path)) != file.fingerprint:
        raise Refused(
            f"{file.path} is not the file that {file.id} was registered with; look at it with "
            f"`rbee-hive models verify {file.id}`, and get it anew or register it again",
            code="UNTRUSTED_ARTIFACT",
        )


def check_memory(record: WorkerRecord, device: Device, holders: Iterable[str]) -> None:
    """See that a device has the memory that a worker will need.

    Raises:
        RbeeError: INSUFFICIENT_VRAM with need, free, and who holds the rest.
    """
    if device.memory_free >= record.memory_estimate:
        return
    held = ", ".join(holders)
    raise RbeeError(
        f"{record.model} with {record.slots} slots of {record.context} tokens needs about "
        f"{gib(record.memory_estimate)} on {device.id}, free are {gib(device.memory_free)} of "
        f"{gib(device.memory_total)}"
        + (f"; held by {held}" if held else "")
        + "; a shorter --ctx or fewer --slots need less",
        code="INSUFFICIENT_VRAM",
        details={"need": record.memory_estimate, "free": device.memory_free},
    )


def check_disk(folder: Path) -> None:
    """See that a worker's record and log can be written.

    Raises:
        RbeeError: the disk is full; names the folder.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < STATE_ROOM:
        raise RbeeError(
            f"the disk of {folder} is full: {free / 1024**2:.0f} MiB are free, and a worker's "
            f"record and log may take {STATE_ROOM // 1024**2} MiB",
            code="CONFLICT",
        )


def choose_port(first: int, promised: Collection[int | None]) -> int:
    """The first port from `first` that nobody listens on and that is not `promised`.

    Raises:
        Unavailable: none is free; names the range and who has its first port.
    """
    ports = range(first, min(first + WORKER_PORTS, 65536))
    for port in ports:
        if port not in promised and _is_free(port):
            return port
    raise Unavailable(
        f"no free port for a worker in {ports[0]} to {ports[-1]}: {port_holder(ports[0])}; "
        "choose others with RBEE_HIVE_WORKER_PORT_FIRST"
    )


def port_holder(port: int) -> str:
    """Who listens on a port, as far as this user may know."""
    for process in psutil.process_iter(["name"]):
        try:
            sockets = process.net_connections("tcp")
        except psutil.Error:
            continue
        if any(item.status == "LISTEN" and item.laddr.port == port for item in sockets):
            return f"{port} has {process.info['name']} (pid {process.pid})"
    return f"{port} has a process of another user"


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
