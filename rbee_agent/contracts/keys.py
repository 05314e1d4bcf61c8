"""API keys and what their roles may do."""

from __future__ import annotations

from enum import StrEnum

from rbee_agent.contracts.base import Contract


class Role(StrEnum):
    """What the holder of a key may do; admin includes all others."""

    ADMIN = "admin"
    SUBMIT = "submit"
    NODE = "node"
    READ = "read"


class KeyInfo(Contract):
    """A key without its secret."""

    id: str
    """First six hex digits of the token's SHA-256: what logs show."""
    name: str
    roles: list[Role]
    created_at: float
    revoked_at: float | None = None


class NewKey(KeyInfo):
    """The answer to making a key: the only time that its secret is told."""

    token: str
