"""What runs on a host, run here: the supervisor, versions and the switch, authorized_keys."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rbee_tui.fleet.onhost import daemon, install, keys, places, remove
from rbee_tui.fleet.program import program

FAKE_HIVE = """
import json, os, pathlib, sys, time
state = pathlib.Path(os.environ["HOME"]) / ".local/state/rbee"
lives = state / "lives"
lives.write_text(lives.read_text() + "x" if lives.exists() else "x")
(state / "run").mkdir(parents=True, exist_ok=True)
(state / "hive.token").write_text("t")
from rbee_tui.fleet.onhost import daemon
record = {"pid": os.getpid(), "start_time": daemon.start_time(os.getpid()), "url": "http://x:1"}
(state / "run/hive.json").write_text(json.dumps(record))
if len(lives.read_text()) < int(os.environ.get("CRASHES", "0")) + 1:
    sys.exit(1)
time.sleep(600)
"""


@pytest.fixture
def host(hermetic: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home with a ``current`` whose Python is ours, and whose hive is a stand-in."""
    version = places.data() / "versions/1"
    (version / "bin").mkdir(parents=True)
    script = version / "hive.py"
    script.write_text(FAKE_HIVE)
    python = version / "bin/python"
    # Whatever `-m rbee_agent.hive serve` would do, the stand-in does; the rest is the real thing.
    python.write_text(
        f'#!/bin/sh\ncase "$*" in *rbee_agent.hive*) exec {sys.executable} {script};; esac\n'
        f'exec {sys.executable} "$@"\n'
    )
    python.chmod(0o755)
    (places.data() / "current").symlink_to("versions/1")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    yield hermetic
    daemon.stop("hive", 5.0)


def until(what: Callable[[], bool], seconds: float = 15.0) -> None:
    """Wait for what another process does."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_start_status_stop(host: Path) -> None:
    """Started once, seen, told apart from a second start, stopped, gone."""
    first = daemon.start("hive", {}, 15.0)
    assert (first["already"], first["token"]) == (False, "t")
    assert daemon.start("hive", {}, 15.0)["already"] is True
    assert daemon.status("hive")["kept"] == "supervisor"
    assert daemon.stop("hive", 5.0) == {"was_running": True, "gently": True}
    assert daemon.status("hive") == {"running": False, "kept": None}
    assert (places.state() / "lives").read_text() == "x"


def test_a_crashed_agent_comes_back(host: Path) -> None:
    """Killed, the agent is started again by its supervisor; stopped, it is not."""
    record = daemon.start("hive", {}, 15.0)
    os.kill(record["pid"], signal.SIGKILL)
    until(lambda: (daemon.record_of("hive") or record)["pid"] != record["pid"])
    assert (places.state() / "lives").read_text() == "xx"
    daemon.stop("hive", 5.0)
    assert daemon.record_of("hive") is None


def test_nothing_installed_is_said(hermetic: Path) -> None:
    """A host without rbee names the command that installs it."""
    with pytest.raises(places.Failed, match="rbee hive install"):
        daemon.start("hive", {}, 1.0)


def test_a_pid_that_changed_hands_is_nobody(host: Path) -> None:
    """A record whose start time is not that process's counts as no daemon, and kills nobody."""
    bystander = subprocess.Popen(["sleep", "60"])
    try:
        run = places.state() / "run"
        run.mkdir(parents=True)
        stale = {"pid": bystander.pid, "start_time": time.time() - 3600, "url": "http://x:1"}
        for name in ("hive.json", "hive-supervisor.json"):
            (run / name).write_text(json.dumps(stale))
        assert daemon.stop("hive", 0.5)["was_running"] is False
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_the_switch_is_one_step_and_old_versions_go(hermetic: Path) -> None:
    """`current` points to the new version; of the others only the last one stays."""
    versions = places.data() / "versions"
    for number in range(4):
        (versions / str(number)).mkdir(parents=True)
        os.utime(versions / str(number), (number, number))
    install.switch(versions / "2")
    assert install.switch(versions / "3") is True
    assert install.switch(versions / "3") is False
    install.prune(versions / "3")
    assert (places.data() / "current").resolve().name == "3"
    assert sorted(path.name for path in versions.iterdir()) == ["2", "3"]


@pytest.mark.parametrize(
    ("said", "means"),
    [
        ("OSError: [Errno 28] No space left on device", "disk is full"),
        ("ImportError: x.so: failed to map segment from shared object", "noexec"),
        ("ERROR: No matching distribution found for aiohttp", "neither in the index"),
    ],
)
def test_pips_complaints_are_explained(said: str, means: str) -> None:
    """The sentence says what to do; pip's own words follow."""
    text = install.meaning(f"a\nb\n{said}\n")
    assert means in text
    assert said in text


def test_the_queens_line_comes_and_goes(hermetic: Path) -> None:
    """Her line is put in once, and taken out; others stay byte for byte; an empty file goes."""
    file = hermetic / ".ssh/authorized_keys"
    file.parent.mkdir()
    jump = "restrict ssh-ed25519 CCCC rbee-queen-1-inner"
    mine = f"# work\n{jump}\nssh-ed25519 AAAA ada@desk\n\nssh-rsa BBBB no-newline"
    file.write_text(mine)
    keys.allow("restrict ssh-ed25519 CCCC rbee-queen-1")
    keys.allow("restrict,new ssh-ed25519 CCCC rbee-queen-1")
    assert file.read_text() == mine + "\nrestrict,new ssh-ed25519 CCCC rbee-queen-1\n"
    assert keys.forbid("rbee-queen-1") == {"removed": True}
    assert file.read_text() == mine + "\n"
    file.write_text("")
    keys.allow("x y rbee-queen-1")
    keys.forbid("rbee-queen-1")
    assert not file.exists()


def test_removing_keeps_models_unless_they_are_purged(hermetic: Path) -> None:
    """Every folder goes; a model that rbee downloaded only with purge_models."""
    (hermetic / ".config").mkdir()
    places.begin()
    model = places.cache() / "models/a.gguf"
    model.parent.mkdir(parents=True)
    model.write_bytes(b"x")
    for folder in (places.data(), places.state(), places.config()):
        (folder / "sub").mkdir(parents=True)
    (places.cache() / "wheels").mkdir()
    other = hermetic / "mine.gguf"
    other.write_bytes(b"x")
    manifest = {
        "models": {
            "a": {"path": str(model), "owned": True},
            "b": {"path": str(other), "owned": False},
        }
    }
    (places.data() / "models.json").write_text(json.dumps(manifest))
    assert remove.remove({})["kept_models"] == [str(model)]
    assert sorted(p.name for p in hermetic.rglob("*") if p.is_file()) == ["a.gguf", "mine.gguf"]
    places.begin()
    (places.data() / "models.json").write_text(json.dumps(manifest))
    assert remove.remove({"purge_models": True})["kept_models"] == []
    # What was empty before rbee came is left as it was; .cache was there the second time.
    assert sorted(path.name for path in hermetic.rglob("*")) == [
        ".cache",
        ".config",
        "mine.gguf",
    ]


def test_the_program_needs_nothing_installed(hermetic: Path) -> None:
    """The packed modules run by a bare Python from stdin, with no rbee to import."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-"],
        input=program("look", {"hive_port": 9}),
        capture_output=True,
        env={"HOME": str(hermetic), "PATH": os.environ["PATH"]},
        cwd=hermetic,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])["result"]
    assert said["facts"]["home"] == str(hermetic)
    assert said["hive"] == {"running": False, "kept": None}
