"""Getting models onto this host: the sources of a model in order, checked, registered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from rbee_agent.contracts.models import CatalogModel, ModelFile, PullProgress, Source
from rbee_agent.errors import RbeeError, Refused, Unreachable
from rbee_agent.hive.shelf import Shelf, sha256_of
from rbee_agent.hive.sources import Fetch, Fetched, fetch
from rbee_agent.runtime.clock import Clock
from rbee_agent.settings.places import Places

TELL_EVERY_S = 0.1

OnProgress = Callable[[PullProgress], None]


class Puller:
    """Owner of the downloads of this host; two pulls of one model are one download."""

    def __init__(
        self,
        places: Places,
        shelf: Shelf,
        clock: Clock,
        *,
        keep_disk_free: int,
        env: Mapping[str, str],
    ) -> None:
        """Pull into the model folder of `places` and register on `shelf`."""
        self._folder = places.models
        self._shelf = shelf
        self._clock = clock
        self._keep_free = keep_disk_free
        self._env = env
        self._under_way: dict[str, asyncio.Lock] = {}

    async def pull(self, model: CatalogModel, on_progress: OnProgress) -> ModelFile:
        """Have a model on this host.

        Args:
            model: its catalog entry.
            on_progress: told each change of phase, and bytes ten times a second, on this loop.

        Raises:
            RbeeError: no source had it; names each with its reason.
        """
        lock = self._under_way.setdefault(model.id, asyncio.Lock())
        async with lock:
            # Whoever waited finds it here.
            known = self._shelf.get(model.id)
            if known is not None:
                return known
            return await self._pull(model, on_progress)

    async def _pull(self, model: CatalogModel, on_progress: OnProgress) -> ModelFile:
        problems: list[RbeeError] = []
        loop = asyncio.get_running_loop()

        def tell(progress: PullProgress) -> None:
            # Sources work in threads; their news belong on the loop.
            loop.call_soon_threadsafe(on_progress, progress)

        for source in model.sources:
            teller = _Teller(model.id, source, tell, self._clock)
            teller("resolve", 0, model.size)
            want = Fetch(self._folder, self._keep_free, self._env, teller)
            try:
                fetched = await fetch(source, want, size=model.size)
                return await asyncio.to_thread(self._check, model, source, fetched, teller)
            except RbeeError as error:
                problems.append(error)
        raise _all_failed(model, problems)

    def _check(
        self, model: CatalogModel, source: Source, fetched: Fetched, teller: _Teller
    ) -> ModelFile:
        """Thread: hold the bytes against the pinned hash, then put them on the shelf."""
        if model.sha256 is not None:
            teller("verify", 0, model.size)
            found = sha256_of(fetched.path)
            if found != model.sha256:
                if fetched.owned:
                    fetched.path.unlink(missing_ok=True)
                raise Refused(
                    f"the bytes are others: sha256 {found[:16]}…, expected {model.sha256[:16]}…",
                    code="UNTRUSTED_ARTIFACT",
                )
        teller("register", model.size or 0, model.size)
        return self._shelf.register(
            model.id,
            fetched.path,
            source=source,
            sha256=model.sha256,
            owned=fetched.owned,
        )


class _Teller:
    """Thins progress out: every change of phase, and bytes ten times a second."""

    def __init__(self, model: str, source: Source, tell: OnProgress, clock: Clock) -> None:
        self._model = model
        self._source = f"{source.kind}:{source.location}"
        self._tell = tell
        self._clock = clock
        self._phase = ""
        self._last = 0.0
        self._began = (clock.monotonic(), 0)

    def __call__(self, phase: str, done: int, total: int | None) -> None:
        now = self._clock.monotonic()
        fresh = phase != self._phase
        if not fresh and now - self._last < TELL_EVERY_S:
            return
        if fresh:
            self._began = (now, done)
        self._phase, self._last = phase, now
        took = now - self._began[0]
        rate = (done - self._began[1]) / took if took > 0.5 else None
        self._tell(
            PullProgress.model_validate(
                {
                    "model": self._model,
                    "phase": phase,
                    "source": self._source,
                    "done": done,
                    "total": total,
                    "bytes_per_s": rate,
                }
            )
        )


def _all_failed(model: CatalogModel, problems: list[RbeeError]) -> RbeeError:
    if not model.sources:
        return Refused(f"{model.id} has no source to get it from", code="MODEL_NOT_FOUND")
    if len(problems) == 1:
        return problems[0]
    lines = "; ".join(
        f"{source.kind}:{source.location}: {problem.message}"
        for source, problem in zip(model.sources, problems, strict=True)
    )
    # A full disk or wrong bytes say more than a hub that is out of reach.
    telling = next((p for p in problems if not isinstance(p, Unreachable)), problems[-1])
    return RbeeError(f"{model.id} could not be got: {lines}", code=telling.code)
