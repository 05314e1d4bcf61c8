"""Keys: who may do what. Stored as SHA-256, compared in constant time, logged by six digits."""

from __future__ import annotations

import hmac
import json
from dataclasses import dataclass
from hashlib import sha256

from rbee_agent.contracts.keys import KeyInfo, Role
from rbee_agent.errors import Conflict, NotFound, Refused
from rbee_agent.runtime.clock import Clock
from rbee_agent.settings.secret import Secret
from rbee_agent.store.base import Store

KIND = "key"
MIN_TOKEN = 16
LOCAL = "local"
"""Owner of what is handed in without a key, on loopback."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a request comes from."""

    id: str
    roles: frozenset[Role]
    node: str | None = None
    """The hive that it is: it speaks for this node and for no other."""

    @property
    def admin(self) -> bool:
        """Whether it may do everything."""
        return Role.ADMIN in self.roles

    def may(self, role: Role) -> bool:
        """Whether it has a role; an admin has all of them."""
        return self.admin or role in self.roles

    def may_read(self, owner: str) -> bool:
        """Whether it may see what `owner` handed in."""
        return self.admin or self.id == owner

    def require_admin(self, what: str) -> None:
        """Refuse unless it is an admin.

        Raises:
            Refused: FORBIDDEN, naming what it is needed for.
        """
        if not self.admin:
            raise Refused(f"{what} needs a key with the role admin", code="FORBIDDEN")


LOCAL_ADMIN = Identity(LOCAL, frozenset({Role.ADMIN}))
"""Everybody on loopback who shows no key: the machine's own users."""


class KeyRing:
    """All keys of one queen, in memory; the store keeps their hashes."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._keys: dict[str, KeyInfo] = {}
        """By the SHA-256 of the token."""

    async def load(self) -> None:
        """Read the keys that were made before."""
        for digest, value in (await self._store.documents(KIND)).items():
            self._keys[digest] = KeyInfo.read_json(value)

    def add_static(self, token: Secret, name: str, roles: list[Role]) -> None:
        """Accept a token from a file or the environment, as long as this process lives.

        Raises:
            Refused: it is too short to be a secret.
        """
        if len(token.reveal()) < MIN_TOKEN:
            raise Refused(f"the token of {name} has less than {MIN_TOKEN} characters")
        self._keys[token.digest()] = KeyInfo(
            id=token.hint, name=name, roles=roles, created_at=self._clock.utc()
        )

    async def create(self, name: str, roles: list[Role]) -> tuple[KeyInfo, Secret]:
        """Make a key; its secret exists in the answer only.

        Raises:
            Conflict: a living key has that name.
        """
        if any(key.name == name and key.revoked_at is None for key in self._keys.values()):
            raise Conflict(f"there is a key named {name} already")
        secret = Secret.new()
        info = KeyInfo(id=secret.hint, name=name, roles=roles, created_at=self._clock.utc())
        await self._store.put(KIND, secret.digest(), info.dump_json())
        self._keys[secret.digest()] = info
        return info, secret

    async def revoke(self, key_id: str) -> KeyInfo:
        """Revoke a key by its id or name, at once and for good.

        Raises:
            NotFound: there is no such key.
        """
        for digest, info in self._keys.items():
            if key_id in (info.id, info.name) and info.revoked_at is None:
                revoked = info.model_copy(update={"revoked_at": self._clock.utc()})
                await self._store.put(KIND, digest, revoked.dump_json())
                self._keys[digest] = revoked
                return revoked
        raise NotFound("there is no such key")

    def list(self) -> list[KeyInfo]:
        """Every key, oldest first, without secrets."""
        return sorted(self._keys.values(), key=lambda key: key.created_at)

    def knows(self, token: str) -> bool:
        """Whether this token is or was a key of ours."""
        return Secret(token).digest() in self._keys

    def identify(self, token: str) -> Identity:
        """Who presents this token.

        Raises:
            Refused: BAD_TOKEN, also for a revoked key.
        """
        presented = sha256(token.encode()).hexdigest()
        found: KeyInfo | None = None
        for digest, info in self._keys.items():
            # All are compared, so that the time tells nothing.
            if hmac.compare_digest(digest, presented):
                found = info
        if found is None or found.revoked_at is not None:
            raise Refused("the token is not (or no longer) valid", code="BAD_TOKEN")
        return Identity(found.id, frozenset(found.roles))


def key_document(info: KeyInfo, secret: Secret) -> dict[str, object]:
    """The answer to making a key: the only place where its secret ever stands."""
    return {**json.loads(info.dump_json()), "token": secret.reveal()}
