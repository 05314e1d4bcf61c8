"""Where this user's queen is, and the key that she takes from them.

The common case reads one small file; config.toml is parsed (and pydantic imported) only where
there is one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rbee_agent.contracts.routes import QUEEN_PORT
from rbee_agent.runtime.files import read_json
from rbee_agent.settings.places import Places

_LOOPBACK = ("http://127.0.0.1:", "http://localhost:", "http://[::1]:")


@dataclass(frozen=True, slots=True)
class Address:
    """A queen's URL, the token for it, and where the URL was found."""

    url: str
    token: str | None
    origin: str

    def __repr__(self) -> str:
        return f"Address({self.url}, token={'set' if self.token else None}, from {self.origin})"


def find_queen(
    places: Places | None = None,
    *,
    env: Mapping[str, str] | None = None,
    url: str | None = None,
) -> Address:
    """The queen to talk to.

    In this order: `url`; ``RBEE_QUEEN_URL``; ``queen.url`` of config.toml; the queen that runs
    as this user; the configured host and port. The admin key of this user's own queen is used
    for that queen only, and never sent elsewhere.

    Args:
        places: this user's folders.
        env: the environment.
        url: an address that was given by flag.

    Raises:
        Refused: config.toml is not valid.
    """
    env = os.environ if env is None else env
    places = places or Places.of_user(env)
    token = env.get("RBEE_QUEEN_TOKEN") or env.get("LLORCH_API_TOKEN")
    record = read_json(places.queen_record) or {}
    own = str(record["url"]).rstrip("/") if record.get("url") else None
    url, origin = (url, "flag") if url else (env.get("RBEE_QUEEN_URL"), "RBEE_QUEEN_URL")
    if not url:
        url, token, origin = _from_files(places, env, token, own)
    url = url.rstrip("/")
    if token is None and (url == own or origin == "default"):
        token = _own_key(Path(record.get("token_file") or places.admin_token))
    return Address(url, token, origin)


def _from_files(
    places: Places, env: Mapping[str, str], token: str | None, own: str | None
) -> tuple[str, str | None, str]:
    if places.config_file.exists() or (own is None and _speaks_of_queen(env)):
        from rbee_agent.settings.config import load

        queen = load(places.config_file, env=env).settings.queen
        if queen.url:
            return queen.url, token or queen.token, str(places.config_file)
        if own is None:
            host = "127.0.0.1" if queen.host in ("0.0.0.0", "::") else queen.host  # noqa: S104
            name = f"[{host}]" if ":" in host else host
            return f"http://{name}:{queen.port}", token or queen.token, "default"
        token = token or queen.token
    if own is not None:
        return own, token, str(places.queen_record)
    return f"http://127.0.0.1:{QUEEN_PORT}", token, "default"


def _speaks_of_queen(env: Mapping[str, str]) -> bool:
    return any(name.startswith(("RBEE_QUEEN_", "ORCHD_")) for name in env)


def _own_key(path: Path) -> str | None:
    """The key in a file; a queen elsewhere has one of her own, named by her link's record."""
    try:
        return path.read_text().strip() or None
    except (FileNotFoundError, NotADirectoryError):
        return None


def is_loopback(url: str) -> bool:
    """Whether the URL names this machine by a loopback address."""
    return url.startswith(_LOOPBACK)
