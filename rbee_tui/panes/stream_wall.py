"""The stream wall: the text of several streams at once, each in its own pane.

Panes are made once and given to streams: mounting widgets at the pace of tasks would flicker. A
running stream keeps its pane until it ends; an ended one gives way to the next that runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from textual.app import ComposeResult
from textual.containers import Vertical

from rbee_agent.contracts.tasks import TaskState
from rbee_tui.panes.status import TASK, status
from rbee_tui.state.streams import Stream
from rbee_tui.state.units import rate
from rbee_tui.state.view import View
from rbee_tui.widgets.token_view import TokenView
from rbee_tui.widgets.tones import Piece, content

MOST_PANES: Final = 8
PANE_HEIGHT: Final = 6
"""Lines that a pane needs at least, its title included."""
HIDDEN: Final = "text is hidden (t shows it)"
NOTHING: Final = "no stream runs: p sends a prompt"


class StreamPane(TokenView):
    """One stream; remembers which and how much of it is shown."""

    def __init__(self, id: str) -> None:
        super().__init__(id=id, notice=NOTHING)
        self.job_id: str | None = None
        self._seen = 0
        self._drawn: tuple[Piece, ...] = ()
        self._hidden = False

    def show(self, view: View, stream: Stream | None, *, hidden: bool) -> None:
        """Show the stream, or nothing; only what is new is written."""
        if stream is None:
            self._assign(None, hidden=hidden)
            self._say(coming(view))
            self._title((("streams", "title"),))
            return
        if stream.job_id != self.job_id or hidden != self._hidden:
            self._assign(stream.job_id, hidden=hidden)
        self._say(HIDDEN if hidden else "…" if stream.readable else "your key may not read it")
        if not hidden:
            text, lost = stream.since(self._seen)
            if lost and self._seen:
                text = f"\n… {lost} characters were dropped …\n{text}"
            elif lost:
                text = f"… {text}"
            self._seen = stream.written
            if text:
                self.append(text)
        self._title(_title(view, stream))

    def _say(self, notice: str) -> None:
        if notice != self.notice:
            self.notice = notice
            self.refresh()

    def _assign(self, job_id: str | None, *, hidden: bool) -> None:
        if job_id != self.job_id or hidden != self._hidden:
            self.job_id, self._hidden, self._seen = job_id, hidden, 0
            self.notice = NOTHING
            self.set_text("")

    def _title(self, pieces: tuple[Piece, ...]) -> None:
        if pieces != self._drawn:
            self._drawn = pieces
            self.border_title = content(pieces)


class StreamWall(Vertical):
    """As many panes as there is room and need for."""

    DEFAULT_CSS = """
    StreamWall { height: 1fr; }
    StreamWall StreamPane { height: 1fr; display: none; }
    StreamWall StreamPane.-used { display: block; }
    """

    def __init__(self, *, most: int = MOST_PANES, id: str | None = None) -> None:
        super().__init__(id=id)
        self._panes = [StreamPane(f"stream-{at}") for at in range(most)]

    def compose(self) -> ComposeResult:
        """All panes; the unused ones are hidden."""
        yield from self._panes

    @property
    def focused_job(self) -> str | None:
        """The stream of the pane that has the focus, else of the first."""
        for pane in self._panes:
            if pane.has_focus and pane.job_id:
                return pane.job_id
        return self._panes[0].job_id

    def show(self, view: View, *, shown: Callable[[str], bool]) -> None:
        """Give streams to panes and let each draw what is new.

        Args:
            view: the newest view.
            shown: whether the text of a stream may be seen.
        """
        room = max(1, min(len(self._panes), self.size.height // PANE_HEIGHT))
        chosen = choose([pane.job_id for pane in self._panes[:room]], view, room)
        for pane, stream in zip(self._panes, chosen, strict=False):
            pane.show(view, stream, hidden=not shown(stream.job_id))
            pane.set_class(True, "-used")
        for pane in self._panes[max(1, len(chosen)) :]:
            pane.set_class(False, "-used")
            if pane.job_id:
                pane.show(view, None, hidden=False)
        if not chosen:
            self._panes[0].show(view, None, hidden=False)
            self._panes[0].set_class(True, "-used")


def coming(view: View) -> str:
    """What is said where no stream runs: what waits and for what, else how one begins."""
    queued = [t for t in view.fleet.tasks.values() if t.state is TaskState.QUEUED]
    if not queued:
        return NOTHING
    first = min(queued, key=lambda task: task.queue_position or 0)
    why = first.waiting_for or "a worker"
    more = f" (and {len(queued) - 1} more in the queue)" if len(queued) > 1 else ""
    return f"{first.job_id} waits for {why}{more}"


def choose(before: list[str | None], view: View, room: int) -> list[Stream]:
    """Which streams to show, in the order of the panes.

    A stream that has a pane keeps it while it runs; free panes go to other running streams, then
    to the ones that ended last.
    """
    by_job = view.streams.by_job
    wanted = view.streams.focus_order()
    running = [stream for stream in wanted if stream.running]
    kept: list[Stream | None] = []
    for job_id in before:
        stream = by_job.get(job_id or "")
        kept.append(stream if stream is not None and (stream.running or not running) else None)
    taken = {stream.job_id for stream in kept if stream is not None}
    ended_kept = [by_job[job] for job in before if job and job in by_job and job not in taken]
    rest = [s for s in running if s.job_id not in taken]
    rest += [s for s in ended_kept if s not in rest]
    rest += [s for s in wanted if s.job_id not in taken and s not in rest]
    count = min(room, len(wanted))
    while len(kept) < count:
        kept.append(None)
    filled = [stream if stream is not None else (rest.pop(0) if rest else None) for stream in kept]
    return [stream for stream in filled if stream is not None][:count]


def _title(view: View, stream: Stream) -> tuple[Piece, ...]:
    state = status(TASK, stream.state)
    task = view.fleet.tasks.get(stream.job_id)
    resumed = f" ↻{task.timings.resumed}" if task and task.timings.resumed else ""
    speed = f" {rate(stream.tokens_per_s)} tok/s" if stream.running else f" {state.word}"
    return (
        (f"{state.symbol} ", state.tone),
        (stream.job_id, "strong"),
        (f" {stream.model}", "title"),
        (f" @{stream.worker_id}" if stream.worker_id else "", "muted"),
        (f" {stream.tokens_out} tok{speed}{resumed}", ""),
    )
