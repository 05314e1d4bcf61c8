"""Who may do what, and who decides where: keys and the policy script."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rbee_agent.client.calls import Calls, listed, parsed, segment

if TYPE_CHECKING:
    from rbee_agent.contracts.keys import KeyInfo, NewKey, Role
    from rbee_agent.contracts.policy import PolicyInForce, PolicyTrial


class RuleCalls(Calls):
    """Policy and keys."""

    async def policy(self) -> PolicyInForce:
        """The policy script in force, if any, and the built-in strategy."""
        from rbee_agent.contracts.policy import PolicyInForce

        return parsed(PolicyInForce, await self.raw("GET", "/v2/policy"))

    async def check_policy(
        self, name: str, source: str, snapshot: dict[str, Any] | None = None
    ) -> PolicyTrial:
        """What a script would answer; nothing changes.

        Args:
            name: of the script.
            source: the script.
            snapshot: a recorded fleet (see `snapshot`), whose tasks are decided anew.
        """
        from rbee_agent.contracts.policy import PolicyTrial

        body: dict[str, Any] = {"name": name, "source": source}
        if snapshot is not None:
            body["snapshot"] = snapshot
        return parsed(PolicyTrial, await self.raw("POST", "/v2/policy/check", json=body))

    async def put_policy(self, name: str, source: str) -> PolicyInForce:
        """Let a script decide; refused with its place where it does not load."""
        from rbee_agent.contracts.policy import PolicyInForce

        body = {"name": name, "source": source}
        return parsed(PolicyInForce, await self.raw("PUT", "/v2/policy", json=body))

    async def drop_policy(self) -> None:
        """Go back to the built-in policy."""
        await self.raw("DELETE", "/v2/policy")

    async def keys(self) -> list[KeyInfo]:
        """The API keys, without their secrets."""
        from rbee_agent.contracts.keys import KeyInfo

        return listed(KeyInfo, await self.raw("GET", "/v2/keys"), "keys")

    async def create_key(self, name: str, roles: list[Role]) -> NewKey:
        """Make a key; the answer holds its secret, once."""
        from rbee_agent.contracts.keys import NewKey

        body = {"name": name, "roles": [str(role) for role in roles]}
        return parsed(NewKey, await self.raw("POST", "/v2/keys", json=body))

    async def revoke_key(self, key_id: str) -> None:
        """Revoke a key at once."""
        await self.raw("DELETE", f"/v2/keys/{segment(key_id)}")
