"""A secret that never prints."""

from __future__ import annotations

import hashlib
import hmac
import secrets


class Secret:
    """Wraps a token so that no log, error or repr shows it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    @classmethod
    def new(cls) -> Secret:
        """A fresh token of 256 random bits."""
        return cls(secrets.token_urlsafe(32))

    def reveal(self) -> str:
        """The token itself: for headers and 0600 files only."""
        return self._value

    def digest(self) -> str:
        """SHA-256 in hex: what is stored and compared."""
        return hashlib.sha256(self._value.encode()).hexdigest()

    @property
    def hint(self) -> str:
        """The first six hex digits of the digest: what logs may show."""
        return self.digest()[:6]

    def matches(self, other: str) -> bool:
        """Constant-time comparison with a presented token."""
        return hmac.compare_digest(self._value.encode(), other.encode())

    def __repr__(self) -> str:
        return f"Secret({self.hint}…)"

    __str__ = __repr__
