"""Addresses to listen on and to call: which are this machine's, and which may speak plain text."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from rbee_agent.errors import Refused


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def check_plain(host: str, *, tls: str) -> None:
    """Refuse to speak plain text where others can listen.

    Args:
        host: the address to listen on.
        tls: how a person opens a port that others may reach.

    Raises:
        Refused: says which address, and what to do.
    """
    if not is_loopback(host):
        raise Refused(
            f"what is said on {host} could be read by others: listen on 127.0.0.1, and open a "
            f"port with a certificate beside it: {tls}",
            code="FORBIDDEN",
        )


def check_peer_url(url: str, *, what: str) -> None:
    """Refuse to send tokens to another machine in plain text.

    Raises:
        Refused: it is neither https nor on this machine.
    """
    parts = urlsplit(url)
    if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
        raise Refused(
            f"{what}: a token sent to http://{parts.netloc} could be read by others; give an "
            "https address, or one on this machine",
            code="FORBIDDEN",
        )


def listen_address(said: str, *, port: int, what: str) -> tuple[str, int]:
    """Where to open a port that others reach, from ``ADDRESS[:PORT]``.

    Args:
        said: an address or a name of this machine; IPv6 with a port in brackets.
        port: where none is said.
        what: the setting, for the refusal.

    Raises:
        Refused: it is no address, or one that names no machine.
    """
    bare = said.count(":") > 1 and "[" not in said
    try:
        parts = urlsplit(f"//[{said}]" if bare else f"//{said}")
        host, found, rest = parts.hostname, parts.port, parts.path or parts.username
    except ValueError:
        host, found, rest = None, None, None
    if not host or rest:
        raise Refused(f"{what}: write it as ADDRESS:PORT, such as 10.0.0.5:{port}")
    if host in ("0.0.0.0", "::"):  # noqa: S104 - told apart, not bound
        raise Refused(f"{what}: {host} tells nobody where to call; say the address itself")
    return host, port if found is None else found


def url_of(scheme: str, host: str, port: int) -> str:
    """An agent's address as callers write it."""
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
