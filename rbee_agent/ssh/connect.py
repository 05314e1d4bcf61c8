"""SSH connections: opened, or refused in a sentence."""

from __future__ import annotations

import asyncio

import asyncssh

from rbee_agent.errors import RbeeError, Refused
from rbee_agent.ssh import host_key
from rbee_agent.ssh.dial import arguments_of, explain, options_of, resolve
from rbee_agent.ssh.public_key import line_of
from rbee_agent.ssh.target import Target

CONNECT_TIMEOUT_S = 10.0
LOGIN_TIMEOUT_S = 20.0
KEEPALIVE_S = 15.0
KEEPALIVE_COUNT = 3


async def connect(
    target: Target,
    *,
    password: str | None = None,
    tunnel: asyncssh.SSHClientConnection | None = None,
    connect_timeout: float = CONNECT_TIMEOUT_S,
    keepalive: float = KEEPALIVE_S,
    keepalive_count: int = KEEPALIVE_COUNT,
    config: bool = True,
) -> asyncssh.SSHClientConnection:
    """Open a connection; the caller closes it (it is an async context manager).

    Args:
        target: where to.
        password: tried where keys do not do; never stored.
        tunnel: go through this connection rather than through the target's own jump.
        connect_timeout: seconds for TCP.
        keepalive: seconds of silence after which the peer is asked for a sign of life.
        keepalive_count: unanswered asks after which the connection counts as lost.
        config: whether ~/.ssh/config counts; the queen goes by her own records only.

    Raises:
        Refused: the host or its key is not trusted, or it does not let us in.
        Unreachable: nobody answered there.
    """
    more = arguments_of(target, config=config) | {
        "connect_timeout": connect_timeout,
        "login_timeout": LOGIN_TIMEOUT_S,
        "keepalive_interval": keepalive,
        "keepalive_count_max": keepalive_count,
    }
    if password is not None:
        more |= {"password": password, "client_keys": None, "agent_path": None}
    if tunnel is not None:
        more["tunnel"] = tunnel
    options_of(target, config=config)
    try:
        async with asyncio.timeout(connect_timeout + LOGIN_TIMEOUT_S):
            return await asyncssh.connect(**more)
    except asyncssh.HostKeyNotVerifiable as error:
        raise await _key_refusal(target, tunnel, error) from error
    except (OSError, asyncssh.Error, TimeoutError) as error:
        raise explain(error, target, resolve(target)) from error


async def _key_refusal(
    target: Target, tunnel: asyncssh.SSHClientConnection | None, error: Exception
) -> RbeeError:
    """Which key was shown, and whether another one was known."""
    if tunnel is not None:
        return Refused(
            f"the host key of {target.name} is not the pinned one ({error}); "
            f"`rbee hive doctor {target.name}` says more",
            code="FORBIDDEN",
        )
    where = resolve(target)
    verdict = await host_key.look(target)
    if verdict.known:
        return Refused(
            f"a host on the way to {target.name} (jump {where.jump}) is unknown or has changed "
            f"its key: {error}; log in there once with ssh to see and accept it",
            code="FORBIDDEN",
        )
    trusted = (
        target.host_key.splitlines()
        if target.host_key
        else [line_of(key) for key in host_key.known_keys(where)]
    )
    if verdict.changed:
        return host_key.changed(target, verdict, trusted)
    return host_key.unknown(target, verdict)
