"""A whole rbee of its own: real daemons, free ports, a home that nobody else has.

Everything is done through the ``rbee`` command as a person would, so that what is tested is what is
shipped. The folders, ports and processes of other fleets on the machine are never touched.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil

MODEL = "smollm2-135m"
_KEPT = ("PATH", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH", "VIRTUAL_ENV", "LD_LIBRARY_PATH")
_OURS = ("rbee_agent.queen", "rbee_agent.hive", "rbee_agent.worker")


class LiveFleet:
    """One user's rbee below one folder."""

    def __init__(self, root: Path, *, worker_port: int = 18001, **env: str) -> None:
        """Prepare folders; nothing is started.

        Args:
            root: becomes HOME and holds all XDG folders.
            worker_port: first port that the hive tries for workers.
            env: further environment.
        """
        self.root = root
        scripts = str(Path(sys.executable).parent)
        self.env = {name: os.environ[name] for name in _KEPT if name in os.environ} | {
            "HOME": str(root),
            "PATH": scripts + os.pathsep + os.environ.get("PATH", os.defpath),
            "XDG_CONFIG_HOME": str(root / ".config"),
            "XDG_DATA_HOME": str(root / ".local/share"),
            "XDG_STATE_HOME": str(root / ".local/state"),
            "XDG_CACHE_HOME": str(root / ".cache"),
            "XDG_RUNTIME_DIR": str(root / "run"),
            "RBEE_QUEEN_PORT": "0",
            "RBEE_HIVE_PORT": "0",
            "RBEE_HIVE_WORKER_PORT_FIRST": str(worker_port),
            "HF_HUB_OFFLINE": "1",
            **env,
        }
        (root / "run").mkdir(mode=0o700, parents=True, exist_ok=True)

    def run(
        self, *words: str, stdin: str = "", timeout: float = 120.0, **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a program of ours in this fleet's environment.

        Raises:
            subprocess.TimeoutExpired: it took longer than `timeout` seconds.
        """
        return subprocess.run(
            words,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            env=self.env | env,
            cwd=self.root,
            check=False,
        )

    def rbee(
        self, *args: str, stdin: str = "", timeout: float = 120.0, **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Run ``rbee ARGS``; the caller looks at the exit code."""
        return self.run(
            sys.executable, "-m", "rbee_tui", *args, stdin=stdin, timeout=timeout, **env
        )

    def ok(self, *args: str, stdin: str = "", timeout: float = 120.0) -> str:
        """Run ``rbee ARGS``, which must end well; returns its stdout.

        Raises:
            AssertionError: it did not end with 0; holds both outputs.
        """
        done = self.rbee(*args, stdin=stdin, timeout=timeout)
        if done.returncode != 0:
            raise AssertionError(
                f"rbee {' '.join(args)} ended with {done.returncode}\n"
                f"stdout: {done.stdout}\nstderr: {done.stderr}"
            )
        return done.stdout

    def document(self, *args: str, timeout: float = 120.0) -> Any:
        """Run ``rbee ARGS --json``, which must end well; returns the document."""
        return json.loads(self.ok(*args, "--json", timeout=timeout))

    def register_model(self, path: Path, name: str = MODEL) -> None:
        """Let this fleet's hive know a model file that lies on the disk already.

        Raises:
            AssertionError: the hive refused the file.
        """
        done = self.run(
            sys.executable, "-m", "rbee_agent.hive", "models", "register", name, str(path)
        )
        if done.returncode != 0:
            raise AssertionError(f"register: {done.stdout}{done.stderr}")

    def record(self, agent: str) -> dict[str, Any]:
        """What the queen or the hive wrote about itself."""
        value: dict[str, Any] = json.loads((self.root / f"run/rbee/{agent}.json").read_text())
        return value

    def processes(self) -> list[psutil.Process]:
        """Every living process of this fleet."""
        found = []
        for process in psutil.process_iter(["cmdline"]):
            words = process.info["cmdline"] or []
            if not any(word.startswith(_OURS) for word in words):
                continue
            try:
                if process.environ().get("HOME") == str(self.root):
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def end(self) -> None:
        """Take everything down; what does not go is killed."""
        if self.processes():
            self.rbee("down", timeout=60.0)
        left = self.processes()
        for process in left:
            process.kill()
        psutil.wait_procs(left, timeout=5.0)
