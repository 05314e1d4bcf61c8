"""The catalog: models by name, where they lie, having them fetched and checked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rbee_agent.client.calls import Calls, listed, parsed, segment

if TYPE_CHECKING:
    from rbee_agent.contracts.models import Availability, CatalogModel, PullBegun, VerifyReport


class CatalogCalls(Calls):
    """Models."""

    async def models(self) -> list[CatalogModel]:
        """The models that the queen knows by name."""
        from rbee_agent.contracts.models import CatalogModel

        body = await self.raw("GET", "/v2/catalog/models")
        return listed(CatalogModel, body, "models")

    async def model(self, model_id: str) -> CatalogModel:
        """One model of the catalog."""
        from rbee_agent.contracts.models import CatalogModel

        return parsed(
            CatalogModel, await self.raw("GET", f"/v2/catalog/models/{segment(model_id)}")
        )

    async def add_model(self, model: CatalogModel) -> CatalogModel:
        """Put a model into the catalog."""
        from rbee_agent.contracts.models import CatalogModel

        return parsed(CatalogModel, await self.raw("POST", "/v2/catalog/models", json=model))

    async def remove_model(self, model_id: str) -> None:
        """Take a model out of the catalog; files stay where they are."""
        await self.raw("DELETE", f"/v2/catalog/models/{segment(model_id)}")

    async def retire_model(self, model_id: str, *, retired: bool = True) -> CatalogModel:
        """Let new tasks use a model no more; or again."""
        from rbee_agent.contracts.models import CatalogModel

        path = f"/v2/catalog/models/{segment(model_id)}/state"
        body = {"state": "Retired" if retired else "Active"}
        return parsed(CatalogModel, await self.raw("POST", path, json=body))

    async def availability(self) -> Availability:
        """Which host has which model."""
        from rbee_agent.contracts.models import Availability

        return parsed(Availability, await self.raw("GET", "/v2/catalog/availability"))

    async def pull(self, model_id: str, *, node_id: str | None = None) -> PullBegun:
        """Have a model fetched onto a host; progress comes in the event feed."""
        from rbee_agent.contracts.models import PullBegun

        path = f"/v2/catalog/models/{segment(model_id)}/pull"
        body = {} if node_id is None else {"node_id": node_id}
        return parsed(PullBegun, await self.raw("POST", path, json=body))

    async def verify_model(self, model_id: str, *, timeout: float | None = None) -> VerifyReport:
        """Have the bytes of a model hashed wherever it lies."""
        from rbee_agent.contracts.models import VerifyReport

        path = f"/v2/catalog/models/{segment(model_id)}/verify"
        return parsed(VerifyReport, await self.raw("POST", path, json={}, timeout=timeout))
