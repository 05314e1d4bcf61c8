"""``config.toml``: read, checked, with flag > environment > file > default, and where from.

An unknown key is an error that names the file, the key and the nearest known key: a typo in a
limit must not become the default in silence.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rbee_agent.contracts.routes import HIVE_PORT, QUEEN_PORT, WORKER_PORT_FIRST
from rbee_agent.errors import Refused


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class QueenSettings(_Section):
    """``[queen]``: where it listens and how much it takes on."""

    host: str = "127.0.0.1"
    port: int = Field(QUEEN_PORT, ge=0, le=65535)
    url: str | None = None
    """Where the keeper finds the queen; None: the one this user runs, else host and port."""
    listen: str | None = None
    """ADDRESS[:PORT] of a further port, with TLS: for hives that send heartbeats."""
    token: str | None = None
    queue_limit: int = Field(256, ge=1, le=1_000_000)
    queue_policy: Literal["reject", "drop-lru"] = "reject"
    strategy: Literal["affinity", "round-robin", "least-loaded", "vram-aware"] = "affinity"
    promote_after_s: float = Field(300.0, gt=0)
    reconnect_grace_ms: int = Field(10_000, ge=0)
    retention_s: float = Field(7 * 24 * 3600.0, gt=0)
    session_ttl_s: float = Field(600.0, gt=0)
    idle_unload_s: float = Field(900.0, gt=0)
    policy_fail_closed: bool = False


class HiveSettings(_Section):
    """``[hive]``: this host."""

    host: str = "127.0.0.1"
    port: int = Field(HIVE_PORT, ge=0, le=65535)
    listen: str | None = None
    """ADDRESS[:PORT] of a further port, with TLS: for a queen who does not come by SSH."""
    queen: str | None = None
    """A queen to register with and to send heartbeats to: https, or on this machine."""
    queen_certificate: str | None = Field(None, pattern="^[0-9a-f]{64}$")
    """SHA-256 of the only certificate that she may show; None: one that the system trusts."""
    worker_port_first: int = Field(WORKER_PORT_FIRST, ge=1, le=65535)
    keep_disk_free: int = Field(5 * 1024**3, ge=0)
    labels: dict[str, str] = {}
    region: str | None = None


class WorkerSettings(_Section):
    """``[worker]``: defaults for workers spawned on this host."""

    slots: int = Field(4, ge=1, le=256)
    context: int | None = Field(None, ge=64)
    threads: int | None = Field(None, ge=1)


class KeeperSettings(_Section):
    """``[keeper]``: the control center and the commands."""

    theme: str | None = None
    read_only: bool = False


class Settings(_Section):
    """All of ``config.toml``."""

    queen: QueenSettings = QueenSettings()
    hive: HiveSettings = HiveSettings()
    worker: WorkerSettings = WorkerSettings()
    keeper: KeeperSettings = KeeperSettings()


@dataclass(frozen=True, slots=True)
class Loaded:
    """The effective settings, and for each ``section.key`` where its value came from."""

    settings: Settings
    origin: dict[str, str]


ORIGINAL_ENV = {
    "LLORCH_API_TOKEN": "queen.token",
}
"""Names that users of the original know, and what they set here. ORCHD_BIND_ADDR sets two."""


def load(
    path: Path,
    *,
    env: Mapping[str, str] | None = None,
    flags: Mapping[str, Any] | None = None,
) -> Loaded:
    """Merge file, environment and flags over the defaults.

    Args:
        path: ``config.toml``; it need not exist.
        env: the environment; ``RBEE_QUEEN_PORT`` sets ``queen.port``.
        flags: ``section.key`` to value; None values are no flags.

    Raises:
        Refused: the file is no TOML, or a key or value is not known; names the nearest key.
    """
    env = os.environ if env is None else env
    merged: dict[str, dict[str, Any]] = {}
    origin: dict[str, str] = {}

    def put(dotted: str, value: Any, source: str) -> None:
        section, _, key = dotted.partition(".")
        merged.setdefault(section, {})[key] = value
        origin[dotted] = source

    for section, values in _read_toml(path).items():
        for key, value in values.items():
            put(f"{section}.{key}", value, str(path))
    for dotted, value, name in _from_env(env):
        put(dotted, value, f"environment {name}")
    for dotted, value in (flags or {}).items():
        if value is not None:
            put(dotted, value, "flag")
    try:
        return Loaded(Settings.model_validate(merged), origin)
    except ValidationError as error:
        item = error.errors(include_url=False)[0]
        dotted = ".".join(str(part) for part in item["loc"][:2])
        raise Refused(f"{origin.get(dotted, path)}: {dotted}: {item['msg']}") from error


def known_keys() -> dict[str, Any]:
    """Every ``section.key`` with its default value."""
    defaults = Settings()
    return {
        f"{section}.{key}": getattr(getattr(defaults, section), key)
        for section in Settings.model_fields
        for key in type(getattr(defaults, section)).model_fields
    }


def _read_toml(path: Path) -> dict[str, dict[str, Any]]:
    try:
        data = tomllib.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Refused(f"{path}: not TOML: {error}") from error
    known = known_keys()
    for section, values in data.items():
        if not isinstance(values, dict):
            _unknown(path, section, list(known))
        for key in values:
            if f"{section}.{key}" not in known:
                _unknown(path, f"{section}.{key}", list(known))
    return data


def _unknown(path: Path, key: str, known: list[str]) -> None:
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.4)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise Refused(f"{path}: unknown key {key}{hint}")


def _from_env(env: Mapping[str, str]) -> list[tuple[str, Any, str]]:
    found: list[tuple[str, Any, str]] = []
    bind = env.get("ORCHD_BIND_ADDR")
    if bind:
        host, _, port = bind.rpartition(":")
        found += [("queen.host", host or bind, "ORCHD_BIND_ADDR")]
        found += [("queen.port", port, "ORCHD_BIND_ADDR")] if host else []
    found += [(dotted, env[name], name) for name, dotted in ORIGINAL_ENV.items() if env.get(name)]
    for dotted, default in known_keys().items():
        name = "RBEE_" + dotted.replace(".", "_").upper()
        if env.get(name) and not isinstance(default, dict):
            found.append((dotted, env[name], name))
    return found
