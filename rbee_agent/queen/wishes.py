"""The wishes for workers: owner of the list, in memory and on the disk."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rbee_agent.contracts.pools import Deployment
from rbee_agent.errors import RbeeError
from rbee_agent.queen.feed import Feed
from rbee_agent.store.base import Store

KIND = "deployment"


class Wishes:
    """Every wish by its id; a change is durable when it returns."""

    def __init__(self, store: Store, feed: Feed) -> None:
        self._store = store
        self._feed = feed
        self._kept: dict[str, Deployment] = {}
        feed.source("deployment", self._data)

    async def load(self) -> None:
        """Read the wishes of the queen before."""
        for wish_id, value in (await self._store.documents(KIND)).items():
            self._kept[wish_id] = Deployment.read_json(value)

    def __iter__(self) -> Iterator[Deployment]:
        """All of them, as they are now: they may change while one is looked at."""
        return iter(list(self._kept.values()))

    def __len__(self) -> int:
        """How many there are."""
        return len(self._kept)

    def __contains__(self, wish_id: str) -> bool:
        return wish_id in self._kept

    def get(self, wish_id: str) -> Deployment | None:
        """One wish, if it was not withdrawn."""
        return self._kept.get(wish_id)

    def of_model(self, model: str) -> list[Deployment]:
        """The wishes for a model."""
        return [wish for wish in self._kept.values() if wish.model == model]

    def behind(self, worker_id: str) -> Deployment | None:
        """The wish that a worker was started for."""
        return next((w for w in self._kept.values() if worker_id in w.worker_ids), None)

    async def keep(self, wish: Deployment, **changes: Any) -> Deployment:
        """Keep a new wish, or a known one with `changes`.

        Raises:
            Unavailable: the store cannot be written; nothing has changed then.
        """
        if changes:
            wish = wish.model_copy(update=changes)
        before = self._kept.get(wish.id)
        # Known at once: what is withdrawn while it is written must not come back by its writing.
        self._kept[wish.id] = wish
        try:
            await self._store.put(KIND, wish.id, wish.dump_json())
        except RbeeError:
            if self._kept.get(wish.id) is wish:
                del self._kept[wish.id]
                if before is not None:
                    self._kept[wish.id] = before
            raise
        self._feed.changed("deployment", wish.id)
        return wish

    async def drop(self, wish: Deployment) -> None:
        """Withdraw a wish.

        Raises:
            Unavailable: the store cannot be written; it stays then.
        """
        kept = self._kept.pop(wish.id, None)
        try:
            await self._store.delete(KIND, wish.id)
        except RbeeError:
            if kept is not None:
                self._kept[wish.id] = kept
            raise
        self._feed.changed("deployment", wish.id)

    def _data(self, id: str) -> dict[str, Any] | None:
        wish = self._kept.get(id)
        return None if wish is None else wish.dump()
