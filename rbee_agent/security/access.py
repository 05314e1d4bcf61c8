"""Who may use which route: the bind policy and the check of every request."""

from __future__ import annotations

from dataclasses import dataclass

from rbee_agent.contracts.keys import Role
from rbee_agent.errors import Refused
from rbee_agent.security.keys import LOCAL_ADMIN, MIN_TOKEN, Identity, KeyRing
from rbee_agent.wire.addresses import is_loopback


def check_bind(host: str, token: str | None) -> None:
    """Refuse to listen where others can reach us without a token.

    Raises:
        Refused: says which address, and how to give a token.
    """
    if not is_loopback(host) and len(token or "") < MIN_TOKEN:
        raise Refused(
            f"{host} can be reached from other machines: give a token of at least {MIN_TOKEN} "
            "characters with --token-file or LLORCH_API_TOKEN, or listen on 127.0.0.1",
            code="FORBIDDEN",
        )


@dataclass(frozen=True, slots=True)
class Access:
    """Decides who a request comes from, and whether that is enough."""

    keys: KeyRing
    open: bool
    """On loopback nobody needs a token."""

    def identify(
        self, token: str | None, *, placeholder: bool = False, secure: bool = False
    ) -> Identity:
        """Who presents this token, or none.

        Args:
            token: as it was sent.
            placeholder: the caller's library cannot do without a token: where nobody needs one,
                a token that was never ours counts as none.
            secure: it came over TLS, from anywhere: there everybody needs one.

        Raises:
            Refused: MISSING_TOKEN or BAD_TOKEN.
        """
        open_ = self.open and not secure
        if placeholder and open_ and token is not None and not self.keys.knows(token):
            return LOCAL_ADMIN
        if token is not None:
            return self.keys.identify(token)
        if open_:
            return LOCAL_ADMIN
        raise Refused("send Authorization: Bearer TOKEN", code="MISSING_TOKEN")

    def authorize(
        self,
        token: str | None,
        roles: frozenset[Role],
        *,
        placeholder: bool = False,
        secure: bool = False,
    ) -> Identity:
        """The identity, if it has one of `roles` (none named: anybody known).

        Raises:
            Refused: as `identify`, or FORBIDDEN.
        """
        who = self.identify(token, placeholder=placeholder, secure=secure)
        if roles and not any(who.may(role) for role in roles):
            need = " or ".join(sorted(role.value for role in roles))
            raise Refused(f"this needs a key with the role {need}", code="FORBIDDEN")
        return who
