"""Whether two versions of rbee may talk, and what to type when they may not."""

from __future__ import annotations

from collections.abc import Mapping

from rbee_agent import __version__
from rbee_agent.contracts.routes import PROTOCOL_HEADER, VERSION_HEADER
from rbee_agent.contracts.versions import OLDEST_PROTOCOL, PROTOCOL_VERSION
from rbee_agent.errors import Refused


def version_headers() -> dict[str, str]:
    """The headers by which every request and answer of ours says its version."""
    return {PROTOCOL_HEADER: str(PROTOCOL_VERSION), VERSION_HEADER: __version__}


def check_peer(headers: Mapping[str, str], *, peer: str, mend: str) -> None:
    """Refuse a peer whose protocol we do not speak. A peer that says nothing is no agent of ours.

    Args:
        headers: those of its request or answer.
        peer: what to call it in the message, such as ``hive on pi4``.
        mend: the command that brings both to one version.

    Raises:
        Refused: with code VERSION_SKEW, naming both versions and the command.
    """
    said = headers.get(PROTOCOL_HEADER)
    if said is None:
        return
    protocol = int(said) if said.isdigit() else -1
    if OLDEST_PROTOCOL <= protocol <= PROTOCOL_VERSION:
        return
    age = "newer" if protocol > PROTOCOL_VERSION else "older"
    raise Refused(
        f"the {peer} runs {age} rbee {headers.get(VERSION_HEADER, '?')} (protocol {said}), "
        f"this is {__version__} (protocol {PROTOCOL_VERSION}): run `{mend}`",
        code="VERSION_SKEW",
    )
