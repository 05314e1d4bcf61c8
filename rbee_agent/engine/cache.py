"""Who holds which tokens: slots with their KV cells, and saved states in host memory.

A cell is *exact* when it was computed by whole prefill chunks from the beginning: only such cells
are bit-equal to what a fresh run of the same prompt computes, so only they serve strict requests.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

from rbee_agent.engine.context import Context

REUSE, COPY, RESTORE = "reuse", "copy", "restore"
"""The shortcuts a profile may have proved: same slot, another slot, host memory."""
ALL_SHORTCUTS = frozenset({REUSE, COPY, RESTORE})


@dataclass(slots=True, eq=False)
class Slot:
    """One sequence id of the context and what its cells hold."""

    seq: int
    tokens: list[int] = field(default_factory=list)
    exact: int = 0
    """Leading tokens that were computed by whole chunks."""
    used_at: int = 0
    busy: bool = False

    def fed(self, tokens: Sequence[int], *, chunk: int | None = None) -> None:
        """Note that `tokens` were computed behind what was there.

        Args:
            tokens: in order.
            chunk: the prefill chunk if they were one call of prefill, else None.
        """
        if chunk is not None and len(tokens) == chunk and self.exact == len(self.tokens):
            self.exact += chunk
        self.tokens.extend(tokens)


@dataclass(frozen=True, slots=True)
class Match:
    """The best place to begin a prompt from."""

    kept: int
    source: Slot | None = None
    saved: bytes | None = None
    tokens: tuple[int, ...] = ()
    """What the saved state holds."""
    exact: int = 0


class KvCache:
    """Gives prompts their slot with as much computed already as may be used."""

    def __init__(self, context: Context, *, chunk: int, host_bytes: int) -> None:
        """Own the sequences of `context`; keep at most `host_bytes` of saved states."""
        self._context = context
        self._chunk = chunk
        self._tick = 0
        self._host = _HostStates(host_bytes)
        self.slots = [Slot(seq) for seq in range(context.sequences)]

    @property
    def free(self) -> bool:
        """Whether a prompt could have a slot now."""
        return any(not slot.busy for slot in self.slots)

    @property
    def usage(self) -> float:
        """Used part of all cells, 0 to 1."""
        used = sum(len(slot.tokens) for slot in self.slots)
        return used / (self._context.context * len(self.slots))

    def assign(
        self,
        prompt: Sequence[int],
        *,
        proved: frozenset[str],
        strict: bool,
        cold: bool = False,
        near: Sequence[int] = (),
    ) -> tuple[Slot, int]:
        """Take a free slot for `prompt`.

        Args:
            prompt: its token ids.
            proved: which of reuse, copy and restore are bit-equal here.
            strict: begin only behind exact cells, at a multiple of the chunk, by what is proved.
            cold: begin from nothing.
            near: sequence ids of the running jobs: beside them llama.cpp batches best.

        Returns:
            The slot, now busy, and how many of the prompt's tokens its cells hold already. At
            least one token is left to compute, since somebody wants its logits.
        """
        shortcuts = frozenset() if cold else proved if strict else ALL_SHORTCUTS
        match = self._best(prompt, shortcuts, strict)
        target = self._target(match, near, may_copy=COPY in shortcuts)
        kept = self._prepare(target, match, proved)
        self._tick += 1
        target.used_at, target.busy = self._tick, True
        return target, kept

    def look_again(
        self,
        slot: Slot,
        prompt: Sequence[int],
        *,
        proved: frozenset[str],
        strict: bool,
        cold: bool = False,
    ) -> int:
        """Take what others have computed of `prompt` since its job got `slot`.

        Requests that come together with one beginning read it once: the first reads, the others
        copy when their turn comes.

        Returns:
            How many of the prompt's tokens the slot holds now.
        """
        shortcuts = frozenset() if cold else proved if strict else ALL_SHORTCUTS
        match = self._best(prompt, shortcuts, strict)
        held = len(slot.tokens)
        if match.source is None or match.source is slot or match.kept < held + self._chunk:
            return held
        self._copy(match.source, slot, proved)
        self._cut(slot, match.kept, keep_state=False)
        return len(slot.tokens)

    def release(self, slot: Slot) -> None:
        """The job is over; its cells stay as a cache."""
        slot.busy = False
        self._tick += 1
        slot.used_at = self._tick

    def move(self, slot: Slot, seq: int, *, proved: frozenset[str]) -> Slot:
        """Let a running job go on in the free sequence `seq`; its new slot."""
        target = self.slots[seq]
        self._save(target)
        self._copy(slot, target, proved)
        target.busy, slot.busy = True, False
        # What stays behind is a copy of what goes on: the first to make room.
        target.used_at, slot.used_at = self._tick, 0
        return target

    def forget(self, slot: Slot) -> None:
        """Empty a slot whose cells are not to be trusted."""
        self._context.keep(slot.seq, 0)
        slot.tokens, slot.exact = [], 0

    def trim(self, slot: Slot) -> None:
        """Throw away cells behind what the slot is known to hold: a call was given up in it."""
        if not self._context.keep(slot.seq, len(slot.tokens)):
            self.forget(slot)

    def forget_all(self) -> None:
        """Empty every slot that no job holds, and the host memory."""
        for slot in self.slots:
            if not slot.busy:
                self.forget(slot)
        self._host.clear()

    def _best(self, prompt: Sequence[int], shortcuts: frozenset[str], strict: bool) -> Match:
        limit = len(prompt) - 1
        best = Match(0)

        def usable(tokens: Sequence[int], exact: int) -> int:
            common = common_prefix(tokens, prompt)
            if strict:
                return min(common, exact, limit) // self._chunk * self._chunk
            return min(common, limit)

        for slot in self.slots:
            needed = COPY if slot.busy else REUSE
            kept = usable(slot.tokens, slot.exact) if needed in shortcuts else 0
            # A busy slot costs a copy: only for a real gain.
            if kept > best.kept + (self._chunk if slot.busy else 0):
                best = Match(kept, source=slot, exact=slot.exact)
        if RESTORE in shortcuts:
            for tokens, exact, state in self._host.entries():
                kept = usable(tokens, exact)
                if kept > best.kept + self._chunk:
                    best = Match(kept, saved=state, tokens=tokens, exact=exact)
        return best

    def _target(self, match: Match, near: Sequence[int], *, may_copy: bool) -> Slot:
        free = [slot for slot in self.slots if not slot.busy]
        source = match.source
        if source is not None and not source.busy:
            wasted = len(source.tokens) - match.kept
            spare = [slot for slot in free if not slot.tokens]
            # A long conversation is not cut down for a short prefix while there is room beside it.
            if wasted <= max(match.kept, self._chunk) or not spare or not may_copy:
                return source

        def distance(slot: Slot) -> int:
            return min((abs(slot.seq - seq) for seq in near), default=slot.seq)

        return min(free, key=lambda slot: (bool(slot.tokens), slot.used_at, distance(slot)))

    def _prepare(self, target: Slot, match: Match, proved: frozenset[str]) -> int:
        if target is match.source:
            self._cut(target, match.kept)
            return len(target.tokens)
        self._save(target)
        if match.source is not None:
            self._copy(match.source, target, proved)
            self._cut(target, match.kept, keep_state=False)
        elif match.saved is not None and self._context.restore(target.seq, match.saved):
            self._host.touch(match.tokens)
            target.tokens = list(match.tokens)
            target.exact = match.exact if RESTORE in proved else 0
            self._cut(target, match.kept, keep_state=False)
        else:
            self.forget(target)
        return len(target.tokens)

    def _copy(self, source: Slot, target: Slot, proved: frozenset[str]) -> None:
        self._context.copy(source.seq, target.seq)
        target.tokens = list(source.tokens)
        target.exact = source.exact if COPY in proved else 0

    def _cut(self, slot: Slot, length: int, *, keep_state: bool = True) -> None:
        if length >= len(slot.tokens):
            return
        # What is cut off is kept where it was the only one; copies are not.
        if keep_state and length and len(slot.tokens) - length > self._chunk:
            self._save(slot)
        if length and self._context.keep(slot.seq, length):
            slot.tokens = slot.tokens[:length]
            slot.exact = min(slot.exact, length // self._chunk * self._chunk)
        else:
            self.forget(slot)

    def _save(self, slot: Slot) -> None:
        if len(slot.tokens) >= 2 * self._chunk:
            self._host.put(slot.tokens, slot.exact, lambda: self._context.save(slot.seq))


class _HostStates:
    """Saved KV states, least recently used first out."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        self._states: OrderedDict[tuple[int, ...], tuple[int, bytes]] = OrderedDict()

    def put(self, tokens: Sequence[int], exact: int, save: object) -> None:
        key = tuple(tokens)
        if not self._limit or key in self._states:
            return
        assert callable(save)  # noqa: S101 - a closure of this file
        state: bytes = save()
        if len(state) > self._limit:
            return
        self._states[key] = (exact, state)
        self._size += len(state)
        while self._size > self._limit:
            _, (_, old) = self._states.popitem(last=False)
            self._size -= len(old)

    def entries(self) -> list[tuple[tuple[int, ...], int, bytes]]:
        return [(tokens, exact, state) for tokens, (exact, state) in self._states.items()]

    def touch(self, tokens: tuple[int, ...]) -> None:
        if tokens in self._states:
            self._states.move_to_end(tokens)

    def clear(self) -> None:
        self._states.clear()
        self._size = 0


def common_prefix(one: Sequence[int], other: Sequence[int]) -> int:
    """How many leading tokens two sequences share."""
    low, high = 0, min(len(one), len(other))
    if list(one[:high]) == list(other[:high]):
        return high
    while high - low > 1:
        middle = (low + high) // 2
        if list(one[low:middle]) == list(other[low:middle]):
            low = middle
        else:
            high = middle
    return low
