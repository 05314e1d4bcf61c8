"""The models that the queen knows by name: built in, added, or lying on a host."""

from __future__ import annotations

import difflib
from typing import Any

from rbee_agent.contracts.models import CatalogModel, GgufFacts
from rbee_agent.errors import NotFound, RbeeError
from rbee_agent.models.references import is_reference, parse
from rbee_agent.queen.feed import Feed
from rbee_agent.queen.registry import Registry
from rbee_agent.security.keys import Identity
from rbee_agent.store.base import Store

KIND = "catalog"


class Catalog:
    """Names to models. Entries of one's own are kept in the store; built-in ones are code."""

    def __init__(
        self, store: Store, feed: Feed, registry: Registry, builtin: list[CatalogModel]
    ) -> None:
        self._store = store
        self._feed = feed
        self._registry = registry
        self._models = {model.id: model for model in builtin}
        self._unsaved: dict[str, CatalogModel] = {}
        feed.source("model", self._data)

    async def load(self) -> None:
        """Read the entries that were added."""
        for model_id, value in (await self._store.documents(KIND)).items():
            self._models[model_id] = CatalogModel.read_json(value)

    def resolve(self, name: str, who: Identity) -> str:
        """The id under which workers have the model that a request names.

        Raises:
            NotFound: MODEL_NOT_FOUND with the nearest names, and how to get it.
            Refused: a reference that does not parse.
            RbeeError: MODEL_DEPRECATED; FORBIDDEN for a reference that only an admin may use.
        """
        model = self._models.get(name)
        if model is not None:
            if model.state == "Retired":
                raise RbeeError(f"{name} is retired", code="MODEL_DEPRECATED")
            return name
        if any(worker.info.model == name for worker in self._registry.workers.values()):
            return name
        if any(name in node.models for node in self._registry.nodes.values()):
            return name
        if is_reference(name):
            who.require_admin("a model reference outside the catalog")
            entry = parse(name)
            if entry.id not in self._models:
                self._models[entry.id] = entry
                self._unsaved[entry.id] = entry
                self._feed.changed("model", entry.id)
            return entry.id
        raise self._not_found(name)

    async def save(self) -> None:
        """Keep the entries that references made: workers are known by their ids."""
        while self._unsaved:
            _, entry = self._unsaved.popitem()
            await self._store.put(KIND, entry.id, entry.dump_json())

    def get(self, model_id: str) -> CatalogModel:
        """One entry.

        Raises:
            NotFound: there is none of that id.
        """
        model = self._models.get(model_id)
        if model is None:
            raise self._not_found(model_id)
        return self._with_facts(model)

    def find(self, model_id: str) -> CatalogModel | None:
        """One entry, if there is one."""
        return self._models.get(model_id)

    def all(self) -> list[CatalogModel]:
        """Every entry, and every model that lies on a host without being in the catalog."""
        known = dict(self._models)
        for node in self._registry.nodes.values():
            for file in node.models.values():
                if file.id not in known:
                    known[file.id] = CatalogModel(
                        id=file.id,
                        sources=[file.source] if file.source else [],
                        sha256=file.sha256,
                        size=file.size,
                        facts=file.facts,
                        fingerprint=file.fingerprint,
                    )
        return [self._with_facts(model) for _, model in sorted(known.items())]

    def facts(self, model_id: str) -> GgufFacts | None:
        """What the model's file says of itself, where any host has read it."""
        for node in self._registry.nodes.values():
            file = node.models.get(model_id)
            if file is not None:
                return file.facts
        model = self._models.get(model_id)
        return model.facts if model is not None else None

    def where(self, model_id: str) -> list[str]:
        """The nodes that have the file."""
        return [node.id for node in self._registry.nodes.values() if model_id in node.models]

    async def put(self, model: CatalogModel) -> CatalogModel:
        """Add or replace an entry, durably."""
        await self._store.put(KIND, model.id, model.dump_json())
        self._models[model.id] = model
        self._feed.changed("model", model.id)
        return model

    async def remove(self, model_id: str) -> None:
        """Drop an entry; files stay where they are.

        Raises:
            NotFound: there is none of that id.
        """
        if model_id not in self._models:
            raise self._not_found(model_id)
        await self._store.delete(KIND, model_id)
        del self._models[model_id]
        self._feed.changed("model", model_id)

    def _with_facts(self, model: CatalogModel) -> CatalogModel:
        if model.facts is not None:
            return model
        for node in self._registry.nodes.values():
            file = node.models.get(model.id)
            if file is not None:
                return model.model_copy(
                    update={
                        "facts": file.facts,
                        "fingerprint": file.fingerprint,
                        "size": model.size or file.size,
                    }
                )
        return model

    def _not_found(self, name: str) -> NotFound:
        known = sorted({model.id for model in self.all()})
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or known[:3]
        hint = f"; the nearest names are {', '.join(near)}" if near else ""
        return NotFound(
            f"no model of that name{hint}. `rbee model ls` lists them; `rbee model pull "
            "hf:ORG/REPO:QUANT` gets one from Hugging Face",
            code="MODEL_NOT_FOUND",
            details={"nearest": near},
        )

    def _data(self, model_id: str) -> dict[str, Any] | None:
        model = self._models.get(model_id)
        return None if model is None else self._with_facts(model).dump()
