"""Start, stop and find the agents of this user on a host.

Where systemd keeps this user's services running without a login (lingering), a user unit does it;
else a supervisor of our own in a session of its own, which restarts a crashed agent.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from rbee_tui.fleet.onhost import places
from rbee_tui.fleet.onhost.places import Failed

AGENTS = {"hive": ["rbee_agent.hive", "serve"], "queen": ["rbee_agent.queen"]}
_LOOK_S = 0.1
_LINES = 15


def python() -> Path:
    """The Python of the version that is used."""
    return places.current() / "bin" / "python"


def command_of(agent: str) -> list[str]:
    """How an agent is started."""
    return [str(python()), "-P", "-m", *AGENTS[agent]]


def environment(extra: dict[str, str]) -> dict[str, str]:
    """An agent's environment: independent of the login that starts it.

    XDG_RUNTIME_DIR ends with the last login, records must not: so it is left out.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SSH_")}
    kept.pop("XDG_RUNTIME_DIR", None)
    return {**kept, **extra}


def record_of(agent: str) -> dict[str, Any] | None:
    """The record of an agent that lives; None where none does."""
    folders = [places.state() / "run", Path(f"/run/user/{os.getuid()}/rbee")]
    if os.environ.get("XDG_RUNTIME_DIR"):
        folders.append(Path(os.environ["XDG_RUNTIME_DIR"]) / "rbee")
    for folder in folders:
        record = read(folder / f"{agent}.json")
        if record and lives(record.get("pid"), record.get("start_time")):
            return record
    return None


def status(agent: str) -> dict[str, Any]:
    """Whether an agent runs, how it is kept, and where."""
    record = record_of(agent)
    supervisor = read(supervisor_record(agent))
    kept = None
    if unit_path(agent).is_file():
        kept = "systemd"
    elif supervisor and lives(supervisor.get("pid"), supervisor.get("start_time")):
        kept = "supervisor"
    if record is None:
        return {"running": False, "kept": kept}
    return {"running": True, "kept": kept, "stale": stale(record), **record}


def stale(record: dict[str, Any]) -> bool:
    """Whether an agent was started before ``current`` was switched to the version of now."""
    try:
        switched = places.current().lstat().st_mtime
    except OSError:
        return False
    return float(record.get("start_time", switched)) < switched - 1.0


def start(agent: str, env: dict[str, str], timeout: float) -> dict[str, Any]:
    """Start an agent and wait until it listens; where it runs already, say so.

    Raises:
        Failed: nothing is installed, or it did not come up; with its last log lines.
    """
    if not python().exists():
        raise Failed("rbee is not installed here: run `rbee hive install`", "NOT_FOUND")
    found = record_of(agent)
    if found is not None:
        return {**with_token(agent, found), "already": True, "stale": stale(found)}
    log = log_path(agent)
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    offset = log.stat().st_size if log.exists() else 0
    child = None
    if systemd_usable():
        start_unit(agent, env)
    else:
        child = start_supervisor(agent, env)
    deadline = time.monotonic() + timeout
    # The system has no event for "this file is there" that needs no further package.
    while time.monotonic() < deadline:
        found = record_of(agent)
        if found is not None:
            return {**with_token(agent, found), "already": False, "stale": False}
        if child is not None and child.poll() is not None:
            break
        time.sleep(_LOOK_S)
    said = tail(log, offset)
    stop(agent, 5.0)
    raise Failed(f"the {agent} did not start; its log says:\n{said}")


def with_token(agent: str, record: dict[str, Any]) -> dict[str, Any]:
    """The record with the token by which the agent is spoken to."""
    name = "hive.token" if agent == "hive" else "admin.token"
    try:
        token = (places.state() / name).read_text().strip()
    except OSError as error:
        raise Failed(f"the {agent} runs, but its token cannot be read: {error}") from error
    return {**record, "token": token}


def stop(agent: str, timeout: float) -> dict[str, Any]:
    """End an agent and what keeps it; whether it ran, and whether it went by itself."""
    record, supervisor = record_of(agent), read(supervisor_record(agent))
    if unit_path(agent).is_file():
        systemctl("disable", "--now", unit_name(agent))
        unit_path(agent).unlink(missing_ok=True)
        systemctl("daemon-reload")
    gently = True
    for found in (supervisor, record):
        if found and lives(found.get("pid"), found.get("start_time")):
            gently = end(int(found["pid"]), timeout) and gently
    supervisor_record(agent).unlink(missing_ok=True)
    return {"was_running": record is not None, "gently": gently}


def end_workers(timeout: float) -> dict[str, Any]:
    """End the workers that run out of our folders; the next hive starts the wanted ones anew."""
    ended = [pid for pid in own_processes() if not end(pid, timeout) or pid]
    return {"ended": len(ended)}


def own_processes() -> list[int]:
    """This user's processes that run out of our versions' folders."""
    found = []
    folders = {str(places.data()), str(places.data().resolve())}
    marks = tuple(f"{folder}/{part}" for folder in folders for part in ("versions/", "current/"))
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            ours = entry.stat().st_uid == os.getuid()
        except OSError:
            continue
        if ours and int(entry.name) != os.getpid() and any(w.startswith(marks) for w in words[:2]):
            found.append(int(entry.name))
    return found


def end(pid: int, timeout: float) -> bool:
    """SIGTERM, wait, SIGKILL; whether the first was enough."""
    started = start_time(pid)
    try:
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if not lives(pid, started):
                return True
            time.sleep(_LOOK_S)
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return True
    return False


class Left(subprocess.Popen[bytes]):
    """A child that outlives us on purpose: dropping its handle is no mistake to warn of."""

    def __del__(self) -> None:
        return


def start_supervisor(agent: str, env: dict[str, str]) -> Left:
    """Start our own supervisor in a session of its own."""
    with log_path(agent).open("ab") as log:
        return Left(
            [str(python()), "-P", "-m", "rbee_tui.fleet.onhost.supervise", agent],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd=str(places.home()),
            env=environment(env),
        )


# -- systemd -----------------------------------------------------------------------------------


def systemd_usable() -> bool:
    """Whether systemd keeps this user's units running when nobody is logged in."""
    if shutil.which("systemctl") is None or not Path(f"/run/user/{os.getuid()}/bus").exists():
        return False
    if systemctl("is-system-running") not in ("running", "degraded"):
        return False
    user = places.home().name
    return any((Path("/var/lib/systemd/linger") / name).exists() for name in (user, login_name()))


def login_name() -> str:
    """The name of this user."""
    import pwd

    return pwd.getpwuid(os.getuid()).pw_name


def unit_name(agent: str) -> str:
    """The unit of an agent."""
    return f"rbee-{agent}.service"


def unit_path(agent: str) -> Path:
    """The file of an agent's unit."""
    return places.config().parent / "systemd" / "user" / unit_name(agent)


def unit_text(agent: str, env: dict[str, str]) -> str:
    """The unit: restarted when it crashes, started at boot, workers left to live."""
    quoted = [f'Environment="{name}={value}"' for name, value in sorted(env.items())]
    lines = [
        "[Unit]",
        f"Description=rbee {agent}",
        "After=network.target",
        "[Service]",
        "ExecStart=" + " ".join(command_of(agent)),
        *quoted,
        "UnsetEnvironment=XDG_RUNTIME_DIR",
        "KillMode=process",
        "Restart=on-failure",
        "RestartSec=2",
        f"StandardOutput=append:{log_path(agent)}",
        f"StandardError=append:{log_path(agent)}",
        "[Install]",
        "WantedBy=default.target",
    ]
    return "\n".join(lines) + "\n"


def start_unit(agent: str, env: dict[str, str]) -> None:
    """Write the unit, enable and start it."""
    path = unit_path(agent)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(unit_text(agent, env))
    path.chmod(0o600)
    systemctl("daemon-reload")
    systemctl("enable", "--now", unit_name(agent))


def systemctl(*words: str) -> str:
    """Run ``systemctl --user``; its stdout, stripped."""
    bus = f"/run/user/{os.getuid()}"
    done = subprocess.run(
        ["systemctl", "--user", *words],
        capture_output=True,
        text=True,
        env={**os.environ, "XDG_RUNTIME_DIR": bus},
        timeout=30,
        check=False,
    )
    return done.stdout.strip()


# -- records, processes, logs ------------------------------------------------------------------


def supervisor_record(agent: str) -> Path:
    """Who supervises an agent."""
    return places.state() / "run" / f"{agent}-supervisor.json"


def log_path(agent: str) -> Path:
    """The log of an agent."""
    return places.state() / "logs" / f"{agent}.log"


def read(path: Path) -> dict[str, Any] | None:
    """A JSON object from a file; None where there is none."""
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def start_time(pid: int) -> float | None:
    """When a process began, in Unix seconds; None where that cannot be told."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = next(
            int(line.split()[1])
            for line in Path("/proc/stat").read_text().splitlines()
            if line.startswith("btime")
        )
    except (OSError, StopIteration, IndexError, ValueError):
        return None
    if fields[0] == "Z":
        return None
    return boot + int(fields[19]) / os.sysconf("SC_CLK_TCK")


def lives(pid: Any, started: Any) -> bool:
    """Whether the process of a record still is that one."""
    if not isinstance(pid, int):
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return False
    now = start_time(pid)
    if now is None:
        return not Path("/proc/self/stat").exists()
    return not isinstance(started, (int, float)) or abs(now - started) < 2.0


def tail(path: Path, offset: int = 0, lines: int = _LINES) -> str:
    """The last lines of a log."""
    try:
        with path.open("rb") as file:
            file.seek(max(offset, path.stat().st_size - 65536))
            text = file.read().decode(errors="replace")
    except OSError:
        return "(nothing)"
    return "\n".join(text.splitlines()[-lines:]) or "(nothing)"


def main(arguments: dict[str, Any]) -> int:
    """``do``: start, stop or status of ``agent``."""
    agent, timeout = str(arguments["agent"]), float(arguments.get("timeout", 20.0))
    env = {str(name): str(value) for name, value in arguments.get("env", {}).items()}
    work = {
        "start": lambda: start(agent, env, timeout),
        "stop": lambda: stop(agent, timeout),
        "status": lambda: status(agent),
        "end_workers": lambda: end_workers(timeout),
    }[str(arguments["do"])]
    return places.perform(work)
