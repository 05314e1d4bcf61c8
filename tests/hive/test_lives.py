"""The life of a worker process: load, crash, come back, be left alone, stop."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import time
from collections.abc import Callable

import psutil
import pytest

from rbee_agent.contracts.workers import WorkerState
from rbee_agent.errors import NotFound
from rbee_agent.hive import reclaim, restart, worker, workers
from rbee_agent.hive.devices import Devices
from rbee_agent.hive.nvml import Nvml
from rbee_agent.hive.restart import Backoff
from tests.hive.conftest import NODE, Driver, Host

MIB = 1024**2


@pytest.fixture(autouse=True)
def short_graces(monkeypatch: pytest.MonkeyPatch) -> None:
    """What people wait seconds for, tests need not."""
    monkeypatch.setattr(worker, "SHUTDOWN_GRACE_S", 0.4)
    monkeypatch.setattr(worker, "TERM_GRACE_S", 0.4)
    monkeypatch.setattr(workers, "ORPHAN_GRACE_S", 0.4)
    monkeypatch.setattr(worker, "LOADING_LOOK_S", 0.02)
    monkeypatch.setattr(worker, "READY_LOOK_S", 0.05)


def is_gone(pid: int | None) -> bool:
    """Whether a process has ended, if perhaps not been reaped."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


async def test_loading_is_seen_going_on(host: Host) -> None:
    """From its start on there is progress, and readiness comes with what it is."""
    host.behave(load_s=1.0)

    info = await host.ready(context=512, slots=2)

    shares = [
        value.load_progress
        for event, value in host.news
        if event == "worker" and value.state is WorkerState.LOADING
    ]
    assert len({share for share in shares if share}) >= 2
    assert shares == sorted(shares)
    assert (info.slots, info.context, info.incarnation, info.restarts) == (2, 512, 1, 0)
    assert info.pid == host.starts[0]["pid"]


async def test_a_crash_is_followed_by_a_new_incarnation(host: Host) -> None:
    """Its exit is told with its last line, the time of its return too; then it is ready again."""
    info = await host.ready()
    os.kill(host.starts[0]["pid"], signal.SIGKILL)

    fallen = await host.until(info.id, WorkerState.BACKOFF)
    back = await host.until(info.id, WorkerState.READY)

    assert str(fallen.error).startswith("signal 9")
    assert fallen.restart_at is not None
    assert fallen.pid is None
    assert (back.incarnation, back.restarts, back.error) == (2, 1, None)
    assert back.pid == host.starts[1]["pid"] != host.starts[0]["pid"]
    assert host.starts[0]["env"]["RBEE_WORKER_TOKEN"] == host.starts[1]["env"]["RBEE_WORKER_TOKEN"]


async def test_a_crash_loop_ends_with_the_last_log_lines(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five crashes in five minutes: it is left, with 50 lines that say why."""
    monkeypatch.setattr(restart, "FIRST_S", 0.01)
    host.behave(crash=7, say=20_000)
    info = await host.spawn()

    left = await host.until(info.id, WorkerState.CRASH_LOOPING)

    assert len(host.starts) == 5
    assert left.error == "exit 7; its last line: the end is near"
    assert len(left.last_log) == 50
    assert left.last_log[-1] == "the end is near"
    assert (left.restart_at, left.pid) == (None, None)
    await host.workers.stop(info.id)
    assert host.workers.infos() == []


def test_the_waits_grow_and_a_quiet_time_forgives() -> None:
    """1, 2, 4, 8 seconds, then it is left; who ran for longer than the window begins anew."""
    backoff = Backoff()
    assert [backoff.crashed(now) for now in (0, 10, 20, 30, 40)] == [1, 2, 4, 8, None]

    rare = Backoff()
    assert [rare.crashed(now) for now in (0, 301, 602, 903, 1204, 1505)] == [1] * 6
    slow = Backoff()
    waits = [slow.crashed(80.0 * number) for number in range(12)]
    assert max(wait for wait in waits if wait is not None) == 60


async def test_a_worker_that_refuses_is_not_tried_again(host: Host) -> None:
    """Its own sentence is the reason: the same file would be refused again."""
    host.behave(refuse="BACKEND_UNAVAILABLE: llama.cpp refused the model")

    info = await host.until((await host.spawn()).id, WorkerState.FAILED)

    assert info.error == "BACKEND_UNAVAILABLE: llama.cpp refused the model"
    assert len(host.starts) == 1


async def test_a_worker_that_cannot_be_started_is_a_crash_and_the_host_goes_on(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No process left, a full disk: told as the reason, tried again, the hive lives."""
    tries = []

    def refuse(*_: object, **__: object) -> None:
        tries.append(1)
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(worker.processes, "spawn", refuse)
        info = await host.until((await host.spawn()).id, WorkerState.BACKOFF)
        assert "could not be started" in str(info.error)
        assert "No space left" in str(info.error)
    await host.until(info.id, WorkerState.READY)
    assert tries


async def test_stop_asks_first(host: Host) -> None:
    """A worker that hears is asked to shut down and gets no signal."""
    info = await host.ready()

    await host.workers.stop(info.id)

    assert host.told.with_suffix(".shutdowns").read_text() == f"{info.pid}\n"
    assert not psutil.pid_exists(host.starts[0]["pid"])
    assert [event for event, _ in host.news].count("worker_gone") == 1
    with pytest.raises(NotFound, match="there are: none"):
        host.workers.get(info.id)


async def test_stop_insists(host: Host) -> None:
    """One that heeds neither the request nor SIGTERM is killed, and gone when stop returns."""
    host.behave(deaf=True)
    info = await host.ready()

    await host.workers.stop(info.id)

    assert host.told.with_suffix(".shutdowns").exists()
    assert not psutil.pid_exists(host.starts[0]["pid"])
    states = [value.state for event, value in host.news if event == "worker"]
    assert states[-2:] == [WorkerState.STOPPING, WorkerState.STOPPED]


async def test_draining_is_not_cut_short(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes longer than the grace but not longer than the drain ends by itself."""
    monkeypatch.setattr(worker, "SHUTDOWN_GRACE_S", 0.1)
    host.behave(drain_s=0.6)
    info = await host.ready()
    process = psutil.Process(info.pid)

    stopping = asyncio.create_task(host.workers.stop(info.id, drain_s=30))
    await host.until(info.id, WorkerState.DRAINING)
    await asyncio.sleep(0.3)
    assert process.is_running()
    await stopping

    assert not process.is_running()
    states = [value.state for event, value in host.news if event == "worker"]
    assert WorkerState.STOPPING not in states


async def test_stop_waits_for_the_memory(
    gpu_host: Host, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process is gone, but the driver has not taken its memory back: stop is not over."""
    gpu_host.behave(hold=500 * MIB, driver=str(driver.folder))
    info = await gpu_host.ready(backend="cuda", device="0")
    driver.set("gpu0.stuck", 0)

    stopping = asyncio.create_task(gpu_host.workers.stop(info.id))
    await gpu_host.until(info.id, WorkerState.STOPPING)
    driver.set("gpu0.stuck", 500 * MIB)
    await gpu_host.until(info.id, WorkerState.STOPPED)
    for _ in range(5):
        await gpu_host.devices.read()
    assert not stopping.done()
    driver.set("gpu0.stuck", 0)
    await stopping

    assert gpu_host.workers.infos() == []


async def test_memory_that_never_comes_back_is_told(
    gpu_host: Host, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stop ends all the same, and says what to do about it."""
    monkeypatch.setattr(workers, "WAIT_S", 0.3)
    gpu_host.behave(hold=500 * MIB, driver=str(driver.folder))
    info = await gpu_host.ready(backend="cuda", device="0")

    stopping = asyncio.create_task(gpu_host.workers.stop(info.id))
    await gpu_host.until(info.id, WorkerState.STOPPING, WorkerState.STOPPED)
    driver.set("gpu0.stuck", 500 * MIB)
    await stopping

    assert f"the memory of pid {info.pid} on cuda:0 is not back" in gpu_host.said()


def test_memory_is_back_when_driver_and_sum_agree(driver: Driver) -> None:
    """Not while the process is listed, not while its bytes are held by nobody, not on error."""
    driver.hold(0, os.getpid(), 300 * MIB)
    nvml = Nvml()
    before = nvml()
    (claim,) = reclaim.claims(before, [os.getpid(), 1])
    (driver.folder / "gpu0.held" / str(os.getpid())).unlink()
    free = nvml()
    driver.set("gpu0.stuck", 300 * MIB)
    stuck = nvml()
    driver.set("gpu0.error", 15)
    lost = nvml()
    nvml.close()

    assert [claim.is_back(seen) for seen in (before, free, stuck, lost)] == [
        False,
        True,
        False,
        False,
    ]
    assert reclaim.claims(free, [os.getpid()]) == []


async def test_the_living_are_adopted_as_they_are(host: Host) -> None:
    """An owner that is killed and comes back finds them ready at once: same process, same life."""
    info = await host.ready()
    await host.vanish()
    assert psutil.pid_exists(host.starts[0]["pid"])
    assert not any(
        value.state is WorkerState.STOPPED for event, value in host.news if event == "worker"
    )
    host.news.clear()

    await host.start(devices=Devices([]))

    (found,) = host.workers.infos()
    assert (found.state, found.pid, found.incarnation) == (WorkerState.READY, info.pid, 1)
    assert (found.token, found.url) == (info.token, host.workers.get(info.id).record.url)
    states = {value.state for event, value in host.news if event == "worker"}
    assert states <= {WorkerState.STARTING, WorkerState.READY}
    assert f"adopted worker {info.id}" in host.said()
    await host.workers.stop(info.id)
    assert is_gone(info.pid)


async def test_an_adopted_worker_that_crashes_comes_back(host: Host) -> None:
    """Who is no child of ours is watched just as well."""
    info = await host.ready()
    await host.vanish()
    await host.start(devices=Devices([]))
    host.die()

    back = await host.until(info.id, WorkerState.BACKOFF)
    back = await host.until(info.id, WorkerState.READY)

    assert (back.incarnation, back.restarts) == (2, 1)


async def test_one_that_died_meanwhile_is_started_anew(host: Host) -> None:
    """Wanted, dead, and nobody saw it: a new incarnation, so that no stream is taken for alive."""
    info = await host.ready()
    await host.vanish()
    host.die()

    await host.start(devices=Devices([]))

    back = await host.until(info.id, WorkerState.READY)
    assert (back.incarnation, back.restarts, len(host.starts)) == (2, 1, 2)


async def test_a_pid_that_was_given_away_is_not_adopted(host: Host) -> None:
    """Pid and start time together name a process: whoever has the pid now is left alone."""
    info = await host.ready()
    await host.vanish()
    host.die()
    path = host.places.state / "workers" / f"{info.id}.json"
    record = path.read_text().replace(f'"pid":{info.pid}', f'"pid":{os.getppid()}')
    path.write_text(record)

    await host.start(devices=Devices([]))

    back = await host.until(info.id, WorkerState.READY)
    assert back.pid == host.starts[1]["pid"]
    assert psutil.pid_exists(os.getppid())


async def test_orphans_are_ended_and_strangers_are_not(
    gpu_host: Host, driver: Driver, make_host: Callable[..., Host]
) -> None:
    """A worker of this hive that no record knows is ended, its memory seen back."""
    gpu_host.behave(hold=300 * MIB, driver=str(driver.folder), deaf=True)
    info = await gpu_host.ready(backend="cuda", device="0")
    await gpu_host.vanish()
    (gpu_host.places.state / "workers" / f"{info.id}.json").unlink()
    stranger = psutil.Popen(["sleep", "60"], env={"RBEE_NODE_ID": NODE, "PATH": os.environ["PATH"]})
    other = psutil.Popen(
        ["llm-worker-rbee", "60"],
        executable=shutil.which("sleep"),
        env={"RBEE_NODE_ID": "another-hive", "PATH": os.environ["PATH"]},
    )

    # It is a child of this process: nobody else would reap it.
    reaped = asyncio.create_task(asyncio.to_thread(os.waitpid, info.pid, 0))
    await gpu_host.start(devices=Devices([Nvml()]))

    await reaped
    assert is_gone(info.pid)
    assert f"ended an orphan worker (pid {info.pid})" in gpu_host.said()
    assert stranger.poll() is None
    assert other.poll() is None
    assert gpu_host.workers.infos() == []
    for process in (stranger, other):
        process.kill()
        process.wait(10)


async def test_without_revival_the_dead_stay_records(host: Host) -> None:
    """A command that starts one worker does not start all the others that once were."""
    info = await host.ready()
    await host.vanish()
    host.die()

    await host.start(revive=False, devices=Devices([]))

    assert host.workers.infos() == []
    assert len(host.starts) == 1
    assert (host.places.state / "workers" / f"{info.id}.json").exists()


async def test_a_record_that_is_torn_is_put_aside(host: Host) -> None:
    """Half a record is no worker, and not lost either."""
    await host.vanish()
    folder = host.places.state / "workers"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "torn.json").write_text('{"id": "torn"')

    await host.start(devices=Devices([]))

    assert host.workers.infos() == []
    assert (folder / "torn.broken").exists()


async def test_records_are_secret(host: Host) -> None:
    """They hold tokens: 0600, and the log too."""
    info = await host.ready()

    for path in (
        host.places.state / "workers" / f"{info.id}.json",
        host.places.logs / f"worker-{info.id}.log",
    ):
        assert path.stat().st_mode & 0o777 == 0o600
    assert info.started_at is not None
    assert abs(info.started_at - time.time()) < 3600
