"""Getting models onto this host: the sources of a model in order, checked, registered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from rbee_agent.contracts.models import CatalogModel, ModelFile, PullProgress, Source
from rbee_agent.errors import Conflict, RbeeError, Refused, Unreachable
from rbee_agent.hive.download import sha256_of
from rbee_agent.hive.fetching import Fetch, Fetched
from rbee_agent.hive.shelf import Shelf, discard
from rbee_agent.hive.sources import fetch
from rbee_agent.models.parts import parts
from rbee_agent.models.references import model_slug
from rbee_agent.runtime.clock import Clock
from rbee_agent.runtime.locks import held
from rbee_agent.settings.places import Places

TELL_EVERY_S = 0.1
PULL_TIMEOUT_S = 24 * 3600.0

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
        self._locks = places.state / "pulls"
        self._shelf = shelf
        self._clock = clock
        self._keep_free = keep_disk_free
        self._env = env
        self._under_way: dict[str, asyncio.Lock] = {}
        self._listeners: dict[str, list[OnProgress]] = {}

    async def pull(self, model: CatalogModel, on_progress: OnProgress) -> ModelFile:
        """Have a model on this host.

        Args:
            model: its catalog entry.
            on_progress: told each change of phase, and bytes ten times a second, on this loop.

        Raises:
            Conflict: another model of that name is on this host.
            RbeeError: no source had it; names each with its reason.
        """
        listeners = self._listeners.setdefault(model.id, [])
        listeners.append(on_progress)
        lock = self._under_way.setdefault(model.id, asyncio.Lock())
        file = self._locks / f"{model_slug(model.id)}.lock"
        try:
            async with lock, held(file, timeout=PULL_TIMEOUT_S, what=f"the download of {model.id}"):
                # Whoever waited, also for another process, finds it here.
                known = self._shelf.get(model.id)
                if known is not None:
                    return _the_same(known, model)
                return await self._pull(model, listeners)
        finally:
            listeners.remove(on_progress)

    async def _pull(self, model: CatalogModel, listeners: list[OnProgress]) -> ModelFile:
        problems: list[RbeeError] = []
        loop = asyncio.get_running_loop()

        def tell_all(progress: PullProgress) -> None:
            for listener in list(listeners):
                listener(progress)

        def tell(progress: PullProgress) -> None:
            # Sources work in threads; their news belong on the loop.
            loop.call_soon_threadsafe(tell_all, progress)

        for source in model.sources:
            teller = _Teller(model.id, source, tell, self._clock)
            teller("resolve", 0, model.size)
            want = Fetch(model.id, self._folder, self._keep_free, self._env, teller)
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
        try:
            if model.sha256 is not None and fetched.sha256 != model.sha256:
                teller("verify", 0, model.size)
                found = sha256_of(*parts(fetched.path))
                if found != model.sha256:
                    raise Refused(
                        f"the bytes are others: sha256 {found[:16]}…, expected "
                        f"{model.sha256[:16]}…",
                        code="UNTRUSTED_ARTIFACT",
                    )
            teller("register", model.size or 0, model.size)
            return self._shelf.register(
                model.id,
                fetched.path,
                source=source,
                sha256=model.sha256 or fetched.sha256,
                brought=fetched.brought,
            )
        except Refused:
            # Whatever came is no model: it must not lie about, nor be found again as one.
            discard(fetched.brought)
            raise


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


def _the_same(known: ModelFile, model: CatalogModel) -> ModelFile:
    """The file that is here, unless its name stands for another model by now.

    Raises:
        Conflict: it does; says where the one here is from.
    """
    if model.sha256 is not None and known.sha256 is not None:
        same = model.sha256 == known.sha256
    else:
        # One that was registered by hand is what its owner says it is.
        same = known.source is None or not model.sources or known.source in model.sources
    if not same:
        source = known.source
        whence = f"{source.kind}:{source.location}" if source is not None else known.path
        raise Conflict(
            f"{model.id} on this host is another model, from {whence}; remove it first: "
            f"rbee-hive models remove {model.id}"
        )
    return known


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
