"""Public keys as text: one line each, without a comment."""

from __future__ import annotations

import asyncssh

from rbee_agent.errors import Refused


def line_of(key: asyncssh.SSHKey) -> str:
    """A public key as one line without its comment."""
    return " ".join(key.export_public_key("openssh").decode().split()[:2])


def fingerprint(line: str) -> str:
    """``SHA256:…`` as ``ssh-keygen -l`` prints it.

    Raises:
        Refused: the line is no OpenSSH public key.
    """
    return parse(line)[0].get_fingerprint()


def parse(lines: str) -> list[asyncssh.SSHKey]:
    """The keys of a pin.

    Raises:
        Refused: a line is no OpenSSH public key.
    """
    try:
        return [asyncssh.import_public_key(line) for line in lines.splitlines() if line.strip()]
    except (asyncssh.KeyImportError, ValueError) as error:
        raise Refused(f"the pinned host key is no OpenSSH public key: {error}") from error
