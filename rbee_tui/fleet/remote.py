"""One host over SSH: what can be done there, step by step, each failure a sentence."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from typing import Any, Protocol

from rbee_agent.errors import CODES, EXIT_CONFLICT, RbeeError, Refused
from rbee_agent.ssh.shell import Shell
from rbee_tui.fleet.hosts_file import Host
from rbee_tui.fleet.program import program

LOOK_S = 60.0
INSTALL_S = 3600.0
START_S = 60.0
REMOVE_S = 120.0


class Tell(Protocol):
    """Shows what goes on with one host."""

    def __call__(self, text: str, detail: str = "", /, *, lasting: bool = False) -> None:
        """Say what is done now, and how far it is; `lasting` words must not be overlooked."""


_FIND = """
for name in {names}; do
  path=$(command -v "$name" 2>/dev/null) || continue
  version=$("$path" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue
  echo "$version $path"
done; for path in "$HOME"/.local/bin/python3.* "$HOME"/.pyenv/versions/*/bin/python3 \
  /opt/homebrew/bin/python3; do
  [ -x "$path" ] || continue
  version=$("$path" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue
  echo "$version $path"
done; true
"""
_NAMES = ("python3.14", "python3.13", "python3.12", "python3.11", "python3", "python")
_OLDEST = (3, 11)
_RELEASE = '''"$HOME/.local/share/rbee/current/bin/python"'''


@dataclass(frozen=True, slots=True)
class Found:
    """A Python on a host."""

    version: tuple[int, int]
    path: str


class Remote:
    """A host with an open shell. What it prints about itself is not trusted, only shown."""

    def __init__(self, host: Host, shell: Shell, tell: Tell) -> None:
        self.host = host
        self.shell = shell
        self.tell = tell
        self._python: str | None = None

    async def look(self) -> dict[str, Any]:
        """What the doctor judges by."""
        return await self.call("look", {"hive_port": self.host.hive_port}, timeout=LOOK_S)

    async def start(self, agent: str, env: dict[str, str]) -> dict[str, Any]:
        """Start an agent there; its record with its token."""
        arguments = {"do": "start", "agent": agent, "env": env, "timeout": START_S / 2}
        return await self.call("daemon", arguments, timeout=START_S)

    async def stop(self, agent: str) -> dict[str, Any]:
        """Stop an agent there."""
        return await self.call("daemon", {"do": "stop", "agent": agent}, timeout=START_S)

    async def status(self, agent: str) -> dict[str, Any]:
        """Whether an agent runs there."""
        return await self.call("daemon", {"do": "status", "agent": agent}, timeout=LOOK_S)

    async def remove(self, *, purge_models: bool) -> dict[str, Any]:
        """Take rbee off the host."""
        return await self.call("remove", {"purge_models": purge_models}, timeout=REMOVE_S)

    async def allow_key(self, line: str) -> None:
        """Put a line into authorized_keys there."""
        await self.call("keys", {"allow": line}, timeout=LOOK_S)

    async def forbid_key(self, comment: str) -> None:
        """Take a line out of authorized_keys there."""
        await self.call("keys", {"forbid": comment}, timeout=LOOK_S)

    async def call(
        self, module: str, arguments: dict[str, Any], *, timeout: float
    ) -> dict[str, Any]:
        """Run one of `onhost`'s modules there.

        Raises:
            RbeeError: it failed there; the host's name and its sentence.
        """
        python = await self.python()
        result: list[dict[str, Any]] = []

        def on_line(line: bytes) -> None:
            try:
                said = json.loads(line)
            except ValueError:
                return
            if isinstance(said, dict) and "step" in said:
                self.tell(str(said["step"]), str(said.get("detail", "")))
            elif isinstance(said, dict):
                result.append(said)

        ran = await self.shell.run(
            f"exec {shlex.quote(python)} -",
            stdin=program(module, arguments),
            timeout=timeout,
            on_line=on_line,
        )
        if not result:
            last = ran.err.strip().splitlines()[-1:] or ["it said nothing"]
            raise RbeeError(
                f"{self.host.name}: {python} ended with {ran.code} and said: {last[0]}; "
                f"look with `rbee hive doctor {self.host.name}`"
            )
        if "failed" in result[-1]:
            code = str(result[-1].get("code"))
            raise RbeeError(
                f"{self.host.name}: {result[-1]['failed']}",
                code=code if code in CODES else "INTERNAL",
            )
        answer = result[-1].get("result")
        return answer if isinstance(answer, dict) else {}

    async def agent(self, module: str, words: list[str], *, timeout: float) -> str:
        """Run a command line of the installed rbee there; its stdout. Its stderr is told.

        Raises:
            RbeeError: it is not installed, or the command failed; with what it said.
        """
        line = " ".join(shlex.quote(word) for word in words)
        # Records lie where agents started without a login keep them.
        script = f"unset XDG_RUNTIME_DIR; exec {_RELEASE} -P -m {module} {line}"
        ran = await self.shell.run(
            script,
            timeout=timeout,
            on_error=self._pass_on,
        )
        if ran.code == 127:
            raise Refused(
                f"{self.host.name}: rbee is not installed there: "
                f"run `rbee hive install {self.host.name}`",
                code="NOT_FOUND",
            )
        if ran.code != 0:
            said = "\n".join(ran.err.strip().splitlines()[-5:]) or f"it ended with {ran.code}"
            raise _coded(ran.code, f"{self.host.name}: {said}")
        return ran.out.decode(errors="replace")

    def _pass_on(self, line: bytes) -> None:
        """Tell what an agent's command says of its progress; its error is told at its end."""
        text = line.decode(errors="replace").strip()
        if text and not text.startswith("rbee-"):
            self.tell(text)

    async def python(self) -> str:
        """The Python to use there: the one named for it, else the newest that will do.

        Raises:
            Refused: none will do; names those found.
        """
        if self._python is None:
            self._python = await self._find_python()
        return self._python

    async def _find_python(self) -> str:
        names = [self.host.python] if self.host.python else list(_NAMES)
        script = _FIND.format(names=" ".join(shlex.quote(name) for name in names))
        ran = await self.shell.run(script, timeout=LOOK_S)
        found = parse_pythons(ran.out.decode(errors="replace"))
        if self.host.python:
            found = [each for each in found if each.path == self.host.python] or [
                each for each in found if each.path.endswith("/" + self.host.python)
            ]
        good = [each for each in found if each.version >= _OLDEST]
        if good:
            return max(good, key=lambda each: each.version).path
        raise no_python(self.host, found)


def no_python(host: Host, found: list[Found]) -> Refused:
    """The refusal of a host whose Pythons are all too old, or none."""
    there = ", ".join(f"{each.version[0]}.{each.version[1]} ({each.path})" for each in found)
    asked = f" {host.python} was asked for." if host.python else ""
    return Refused(
        f"{host.name}: Python 3.11 or later is needed.{asked} Found: {there or 'none'}. Install a "
        f"newer one (`sudo apt-get install python3 python3-venv`), or name one that lies "
        f"elsewhere: `rbee hive add {host.name} --python PATH`",
        code="CONFLICT",
    )


def parse_pythons(text: str) -> list[Found]:
    """Pythons from ``VERSION PATH`` lines, each path once."""
    found: dict[str, Found] = {}
    for line in text.splitlines():
        version, _, path = line.strip().partition(" ")
        parts = version.split(".")
        if len(parts) == 2 and all(part.isdigit() for part in parts) and path.startswith("/"):
            found.setdefault(path, Found((int(parts[0]), int(parts[1])), path))
    return list(found.values())


def _coded(exit_code: int, message: str) -> RbeeError:
    """An error that ends our command with the code that the host's command ended with."""
    codes = {2: "INVALID_PARAMS", 3: "NOT_FOUND", 4: "FORBIDDEN", 5: "UNREACHABLE"}
    codes |= {6: "DEADLINE_EXCEEDED", EXIT_CONFLICT: "CONFLICT"}
    return RbeeError(message, code=codes.get(exit_code, "INTERNAL"))
