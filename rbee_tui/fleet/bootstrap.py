"""From a bare checkout to an installed rbee: makes ``.venv``, installs, says what it does.

Standard library only, in syntax that an old Python reads: `make` calls it with the system's Python
as ``python3 -m rbee_tui.fleet.bootstrap``. The second time it does nothing: a stamp in ``.venv``
says what was installed from what.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

from rbee_tui.fleet import preflight

_STEP = re.compile(r"\[(\d+)/(\d+)\]")
_QUIET_INTERVAL_S = 15.0


class Progress:
    """One line that says what goes on: rewritten on a terminal, now and then elsewhere."""

    def __init__(self, out: IO[str]) -> None:
        self._out = out
        self._tty = out.isatty()
        self._began = time.monotonic()
        self._last = 0.0
        self._phase = ""

    def say(self, phase: str, detail: str = "") -> None:
        """Show where it stands; a new phase is always shown."""
        now = time.monotonic()
        fresh = phase != self._phase
        if not fresh and now - self._last < (0.2 if self._tty else _QUIET_INTERVAL_S):
            return
        self._last, self._phase = now, phase
        took = int(now - self._began)
        line = f"[{took // 60}:{took % 60:02d}] {phase} {detail}".rstrip()
        if self._tty:
            self._out.write("\r\033[K" + line[:78])
        else:
            self._out.write(line + "\n")
        self._out.flush()

    def end(self) -> None:
        """Leave the line."""
        if self._tty:
            self._out.write("\r\033[K")
            self._out.flush()


def fingerprint(root: Path) -> str:
    """What an installation depends on: the project file, the tested versions, the Python."""
    digest = hashlib.sha256(sys.version.encode())
    for name in ("pyproject.toml", "rbee_agent/constraints.txt"):
        digest.update((root / name).read_bytes())
    return digest.hexdigest()


def installed_extras(root: Path, stamp: Path) -> set[str]:
    """Extras that are installed already from just these files; empty where none are."""
    try:
        said = json.loads(stamp.read_text())
    except (OSError, ValueError):
        return set()
    if said.get("fingerprint") != fingerprint(root) or said.get("root") != str(root):
        return set()
    return set(said.get("extras", ()))


def install(root: Path, extras: set[str], progress: Progress) -> int:
    """Make ``.venv`` and install rbee with `extras` into it.

    Returns:
        pip's exit code; where it is not 0 its last lines are on stderr.
    """
    venv = root / ".venv"
    python = venv / "bin" / "python"
    if not python.exists():
        progress.say("making .venv")
        made = subprocess.run([sys.executable, "-m", "venv", str(venv)], check=False)
        if made.returncode != 0:
            return made.returncode
    target = f"{root}[{','.join(sorted(extras))}]" if extras else str(root)
    command = [str(python), "-m", "pip", "install", "--verbose", "--no-input"]
    command += ["--disable-pip-version-check", "--progress-bar", "off"]
    command += ["--constraint", str(root / "rbee_agent" / "constraints.txt"), "--editable", target]
    log = venv / "install.log"
    code = _run_shown(command, log, progress)
    if code != 0:
        progress.end()
        tail = log.read_text(errors="replace").splitlines()[-25:]
        sys.stderr.write("\n".join(tail) + f"\n\ninstalling failed; all of it is in {log}\n")
    return code


def _run_shown(command: list[str], log: Path, progress: Progress) -> int:
    """Run pip, keep all it prints in `log`, show the gist of it."""
    with log.open("w") as sink:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        assert child.stdout is not None  # noqa: S101 - Popen was given a pipe
        try:
            for line in child.stdout:
                sink.write(line)
                shown = gist(line)
                if shown:
                    progress.say(*shown)
        except BaseException:
            # pip's compilers are its children: the whole group goes.
            os.killpg(child.pid, signal.SIGTERM)
            raise
        finally:
            child.wait()
    return child.returncode


def gist(line: str) -> tuple[str, str] | None:
    """Phase and detail that a line of pip's means for a person; None for all the rest."""
    text = line.strip()
    step = _STEP.match(text)
    if step:
        return "compiling llama.cpp (a few minutes)", f"{step[1]} of {step[2]}"
    for start, phase in (
        ("Collecting ", "downloading packages:"),
        ("Building wheel for llama", "compiling llama.cpp (a few minutes)"),
        ("Installing collected", "installing packages"),
    ):
        if text.startswith(start):
            name = re.split("[<>=!~ ]", text[len(start) :])[0]
            return phase, name if phase.endswith(":") else ""
    return None


def main() -> int:
    """Install what is missing; exit code 0, 1 (a check or pip failed) or 130 (interrupted)."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--extras", default="llama", help="comma list: llama, test")
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parents[2])
    args = parser.parse_args()
    root: Path = args.root.resolve()
    newer = preflight.find_python() if sys.version_info[:2] < preflight.OLDEST_PYTHON else None
    if newer:
        os.execv(newer, [newer, "-m", "rbee_tui.fleet.bootstrap", *sys.argv[1:]])  # noqa: S606
    wanted = {name for name in args.extras.split(",") if name}
    stamp = root / ".venv" / "rbee-installed.json"
    have = installed_extras(root, stamp)
    if wanted <= have and (root / ".venv" / "bin" / "rbee").exists():
        return 0
    engine = "llama" in wanted and "llama" not in have
    checks = preflight.run_checks(str(root), engine)
    if not all(check.ok for check in checks):
        sys.stderr.write("rbee cannot be installed here yet:\n" + preflight.report(checks) + "\n")
        return 1
    progress = Progress(sys.stdout)
    try:
        code = install(root, wanted | have, progress)
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted; run the same command again to go on\n")
        return 130
    if code == 0:
        done = {
            "fingerprint": fingerprint(root),
            "root": str(root),
            "extras": sorted(wanted | have),
        }
        stamp.write_text(json.dumps(done))
        progress.end()
    return 1 if code else 0


if __name__ == "__main__":
    sys.exit(main())
