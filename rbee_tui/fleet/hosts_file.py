"""``hives.toml``: the operator's hosts, checked when read, and written without losing a word.

Each host is a table ``[hosts.NAME]``. Changing one host rewrites its table alone: comments and the
other tables stay byte for byte.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import tomli_w

from rbee_agent.contracts.routes import HIVE_PORT
from rbee_agent.errors import Conflict, NotFound, Refused
from rbee_agent.runtime.files import write_atomic
from rbee_agent.ssh.target import Target

NO_PORT = "none"
"""What `listen` says where a hive is to close its port again."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_HEADER = re.compile(r"^\[hosts\.(?P<name>\"[^\"]+\"|[A-Za-z0-9_-]+)(?P<sub>\.[^\]]+)?\]\s*(#.*)?$")


@dataclass(frozen=True, slots=True)
class Host:
    """One host; what is None comes from ~/.ssh/config."""

    name: str
    address: str | None = None
    port: int | None = None
    user: str | None = None
    jump: str | None = None
    host_key: str | None = None
    """Pinned: the only key that it may show."""
    identity: str | None = None
    python: str | None = None
    """The Python that rbee is installed with there."""
    hive_port: int = HIVE_PORT
    listen: str | None = None
    """ADDRESS[:PORT] that its hive opens, with TLS, and the queen calls instead of coming by SSH;
    ``none`` closes it again."""
    backend: str | None = None
    """What llama.cpp is compiled for; None: what the doctor finds."""
    from_git: str | None = None
    """The repository it is installed from; None: this keeper's own wheel."""
    node_id: str | None = None
    """Its hive's id, known since the first start."""
    region: str | None = None
    labels: dict[str, str] = field(default_factory=dict)

    @property
    def target(self) -> Target:
        """What to dial."""
        return Target(
            self.name, self.address, self.port, self.user, self.jump, self.host_key, self.identity
        )


def merged(known: Host, said: Host) -> Host:
    """A known host with what is said of it anew; what is not said stays."""
    fresh = Host(said.name)
    changes = {
        name: getattr(said, name) for name in _KEYS if getattr(said, name) != getattr(fresh, name)
    }
    return replace(known, **changes)


_KINDS: dict[str, tuple[type, ...]] = {"port": (int,), "hive_port": (int,), "labels": (dict,)}
_KEYS = [each.name for each in fields(Host) if each.name != "name"]


def read(path: Path) -> dict[str, Host]:
    """All hosts by name; none where there is no file.

    Raises:
        Refused: no TOML, or a key or value that is not known; names the nearest key.
    """
    return _parse(path, _text(path))


def one(path: Path, name: str) -> Host:
    """One host.

    Raises:
        NotFound: there is none of that name; the error names the near ones.
    """
    hosts = read(path)
    if name in hosts:
        return hosts[name]
    near = difflib.get_close_matches(name, hosts, n=3, cutoff=0.5)
    there = ", ".join(near or list(hosts)[:10])
    hint = f"there are: {there}" if there else f"add it: rbee hive add {name}"
    raise NotFound(f"no host {name} in {path.name}; {hint}")


def put(path: Path, host: Host) -> None:
    """Add a host, or rewrite its table.

    Raises:
        Refused: its name or a value cannot stand there.
    """
    check_name(host.name)
    text = _text(path)
    _parse(path, text)
    before, own, after = _cut(text, host.name)
    table = tomli_w.dumps({"hosts": {host.name: _values(host)}})
    table = table.replace("[hosts]\n", "", 1).lstrip("\n")
    if not own and before and not before.endswith("\n\n"):
        before = before.rstrip("\n") + "\n\n"
    if after and not after.startswith("\n"):
        table += "\n"
    _write(path, before + table + after, _parse(path, text) | {host.name: host})


def remove(path: Path, name: str) -> None:
    """Take a host out.

    Raises:
        NotFound: there is none of that name.
    """
    one(path, name)
    text = _text(path)
    before, _, after = _cut(text, name)
    rest = {key: host for key, host in _parse(path, text).items() if key != name}
    _write(path, (before.rstrip("\n") + "\n\n" + after.lstrip("\n")).strip("\n") + "\n", rest)


def check_name(name: str) -> None:
    """Refuse a name that could not stand in a path, a log line or a command.

    Raises:
        Refused: it could not.
    """
    if not _NAME.fullmatch(name):
        raise Refused("a host's name is letters, digits, dots, dashes, at most 63 of them")


def _write(path: Path, text: str, expected: dict[str, Host]) -> None:
    """Write, after making sure that it reads back as it was meant."""
    if _parse(path, text) != expected:
        raise Conflict(
            f"{path} is laid out in a way that cannot be changed without losing something; "
            f"write each host as a table [hosts.NAME]"
        )
    write_atomic(path, text)


def _cut(text: str, name: str) -> tuple[str, str, str]:
    """The text before a host's table (with its sub-tables), the table, the text behind it."""
    lines = text.splitlines(keepends=True)
    starts = [number for number, line in enumerate(lines) if line.startswith("[")]
    own = []
    for start in starts:
        match = _HEADER.match(lines[start].rstrip("\n"))
        if match and match["name"].strip('"') == name:
            own.append(start)
    if not own:
        return text, "", ""
    later = [start for start in starts if start > own[-1]]
    end = later[0] if later else len(lines)
    # Blank lines and comments in front of the next table belong to that one.
    while end - 1 > own[-1] and (
        not lines[end - 1].strip() or (later and lines[end - 1].lstrip().startswith("#"))
    ):
        end -= 1
    return "".join(lines[: own[0]]), "".join(lines[own[0] : end]), "".join(lines[end:])


def _values(host: Host) -> dict[str, Any]:
    values = asdict(host)
    del values["name"]
    if values["hive_port"] == HIVE_PORT:
        del values["hive_port"]
    return {key: value for key, value in values.items() if value not in (None, {})}


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"cannot read {path}: {error}") from error


def _parse(path: Path, text: str) -> dict[str, Host]:
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Refused(f"{path}: not TOML: {error}") from error
    for key in data:
        if key != "hosts":
            raise Refused(f"{path}: unknown key {key}; did you mean hosts?")
    found = {}
    hosts = data.get("hosts", {})
    for name, values in hosts.items() if isinstance(hosts, dict) else ():
        if not isinstance(values, dict):
            raise Refused(f"{path}: hosts.{name} must be a table")
        for key, value in values.items():
            if key not in _KEYS:
                near = difflib.get_close_matches(key, _KEYS, n=1, cutoff=0.4)
                hint = f"; did you mean {near[0]}?" if near else ""
                raise Refused(f"{path}: unknown key hosts.{name}.{key}{hint}")
            wanted = _KINDS.get(key, (str,))
            if not isinstance(value, wanted) or isinstance(value, bool):
                raise Refused(f"{path}: hosts.{name}.{key} must be a {wanted[0].__name__}")
        found[name] = Host(name=name, **values)
    return found
