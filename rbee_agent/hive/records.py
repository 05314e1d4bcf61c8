"""What a hive must not forget when it is killed: its workers, one 0600 file each."""

from __future__ import annotations

from pathlib import Path

from rbee_agent.contracts.base import Contract
from rbee_agent.contracts.workers import SpawnRequest
from rbee_agent.runtime.files import read_json, write_atomic
from rbee_agent.runtime.processes import Identity


class WorkerRecord(Contract):
    """One worker that is wanted, and its process if it has one."""

    id: str
    node_id: str
    request: SpawnRequest
    model: str
    path: str
    fingerprint: str
    token: str
    backend: str
    device: str
    device_uuid: str | None = None
    context: int
    slots: int
    threads: int | None = None
    memory_estimate: int = 0
    incarnation: int = 1
    restarts: int = 0
    port: int | None = None
    pid: int | None = None
    pid_started: float | None = None
    started_at: float

    @property
    def process(self) -> Identity | None:
        """The process that was started last."""
        if self.pid is None or self.pid_started is None:
            return None
        return Identity(self.pid, self.pid_started)

    def uses(self, model: str) -> bool:
        """Whether its process has a model's file open."""
        return self.model == model and self.process is not None and self.process.alive

    @property
    def url(self) -> str | None:
        """Where it listens."""
        return None if self.port is None else f"http://127.0.0.1:{self.port}"


class Records:
    """The folder of worker records."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, record: WorkerRecord) -> None:
        """Keep a record, whole or not at all.

        Raises:
            OSError: the disk is full.
        """
        write_atomic(self._folder / f"{record.id}.json", record.dump_json())

    def remove(self, worker_id: str) -> None:
        """Forget a worker."""
        (self._folder / f"{worker_id}.json").unlink(missing_ok=True)

    def all(self) -> list[WorkerRecord]:
        """All records that can be read; one that cannot is put aside, not lost."""
        found = []
        for path in sorted(self._folder.glob("*.json")):
            value = read_json(path)
            try:
                found.append(WorkerRecord.read(value))
            except ValueError:
                path.replace(path.with_suffix(".broken"))
        return found
