"""Workers' logs are kept, and stay small while they are written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rbee_agent.contracts.workers import WorkerState
from rbee_agent.hive import log_tail, worker
from rbee_agent.hive.log_tail import last_lines, log_of, prune, rotate
from tests.hive.conftest import Host
from tests.waiting import eventually


def test_the_last_lines_are_all_there_however_long(tmp_path: Path) -> None:
    """Long lines, short ones, no newline at the end; none of a file that is not there."""
    path = tmp_path / "log"
    lines = [f"{number}:" + "y" * 5000 for number in range(100)] + ["end"]
    path.write_text("\n".join(lines))

    assert lines[-50:] == last_lines(path, 50)
    assert lines == last_lines(path, 5000)
    assert last_lines(path, 0) == []
    assert last_lines(tmp_path / "none", 50) == []


def test_a_large_log_is_put_aside_under_its_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing that was written is lost, and what comes next is in the fresh file."""
    monkeypatch.setattr(log_tail, "MAX_BYTES", 10)
    path = tmp_path / "worker-a.log"
    writer = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(writer, b"before, and long enough\n")
    rotate(path)
    os.write(writer, b"after\n")
    os.close(writer)

    assert path.read_text() == "after\n"
    assert (tmp_path / "worker-a.log.1").read_text() == "before, and long enough\n"
    assert (tmp_path / "worker-a.log.1").stat().st_mode & 0o777 == 0o600
    rotate(path)
    assert path.read_text() == "after\n"


async def test_a_worker_that_talks_is_kept_short(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it runs, not only when it starts."""
    monkeypatch.setattr(log_tail, "MAX_BYTES", 10_000)
    monkeypatch.setattr(worker, "READY_LOOK_S", 0.02)
    host.behave(say=50_000)
    info = await host.ready()
    log = log_of(host.places.logs, info.id)

    await eventually(lambda: log.stat().st_size <= 10_000)

    assert log.with_suffix(".log.1").stat().st_size >= 50_000
    assert host.workers.get(info.id).info.state is WorkerState.READY


def test_logs_of_workers_long_gone_are_removed(tmp_path: Path) -> None:
    """Old and nobody's: gone. Old and somebody's, or young: kept. Other files: not ours."""
    names = ["worker-old.log", "worker-old.log.1", "worker-mine.log", "worker-mine.log.1",
             "worker-new.log", "hive.log"]  # fmt: skip
    for name in names:
        (tmp_path / name).write_text(name)
        if "new" not in name:
            os.utime(tmp_path / name, (1000, 1000))

    prune(tmp_path, [log_of(tmp_path, "mine")], now=2000 + log_tail.KEPT_S)

    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"worker-mine.log", "worker-mine.log.1", "worker-new.log", "hive.log"}
