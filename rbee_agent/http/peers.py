"""Calls from agent to agent: which certificate a peer may show, and what broke, in words."""

from __future__ import annotations

import errno

import aiohttp


def pinned(certificate: str | None) -> aiohttp.Fingerprint | bool:
    """What ``ssl`` is of a request to a peer with a certificate of this SHA-256.

    None: one that the system trusts.
    """
    return True if certificate is None else aiohttp.Fingerprint(bytes.fromhex(certificate))


def why(error: BaseException) -> str:
    """What broke a connection, in words that do not quote the HTTP library."""
    if isinstance(error, aiohttp.ServerFingerprintMismatch):
        return (
            f"it shows another certificate (SHA-256 {error.got.hex()[:16]}…) than the pinned one "
            f"({error.expected.hex()[:16]}…)"
        )
    if isinstance(error, aiohttp.ClientPayloadError):
        return "the connection was cut"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "it closed the connection"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, aiohttp.ClientConnectorError):
        return _unconnected(error)
    return str(error) or type(error).__name__


def _unconnected(error: aiohttp.ClientConnectorError) -> str:
    cause, where = error.os_error, f"{error.host}:{error.port}"
    if cause.errno == errno.ECONNREFUSED:
        return f"nothing listens on {where}"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return f"no address is known for {error.host}"
    return f"no connection to {where}: {cause.strerror or cause}"
