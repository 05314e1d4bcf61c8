"""Streams: the token river. Many streams at once, or one followed whole."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.widgets import Input

from rbee_tui.panes.noun import no_rows, selected
from rbee_tui.panes.status import TASK, status
from rbee_tui.panes.stream_wall import StreamWall
from rbee_tui.screens.base import FleetScreen
from rbee_tui.state.select import Filter
from rbee_tui.state.streams import Stream, Streams
from rbee_tui.state.units import rate
from rbee_tui.state.view import View
from rbee_tui.verbs.registry import CANCEL
from rbee_tui.verbs.verb import Target
from rbee_tui.widgets.filter_input import FilterInput
from rbee_tui.widgets.live_table import LiveTable
from rbee_tui.widgets.rows import Column, Row, Rows
from rbee_tui.widgets.tones import content

COLUMNS = (
    Column("state", "", 1),
    Column("task", "TASK", 17),
    Column("model", "MODEL", 10, grow=1),
    Column("worker", "WORKER", 12, drop=2),
    Column("tokens", "TOK", 5, right=True),
    Column("speed", "T/S", 5, right=True),
    Column("tail", "SAYS", 10, grow=4, tail=True, drop=1),
)


COUNT_S = 0.25
"""How often the numbers of the table are drawn anew."""


class StreamsScreen(FleetScreen):
    """A table of all streams over a wall of their text."""

    NAME = "streams"
    DEFAULT_CSS = """
    StreamsScreen #panes { height: 1fr; }
    StreamsScreen #table { height: auto; max-height: 40%; }
    StreamsScreen #wall { height: 1fr; min-height: 5; }
    StreamsScreen.-wide #table { dock: left; width: 46%; height: 100%; max-height: 100%; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f", "follow", "follow one", id="streams.follow",
                tooltip="Follow one stream alone; again: all"),
        Binding("space", "pause", "pause", id="streams.pause",
                tooltip="Hold the text to read it; nothing is lost"),
        Binding("t", "app.toggle_text", "text", id="streams.text",
                tooltip="Hide or show the text of streams"),
        Binding("slash", "filter", "filter", id="streams.filter", tooltip="Filter the streams"),
        Binding("x", "cancel", "cancel", id="streams.cancel", tooltip=CANCEL.help),
        Binding("w", "why", "why", id="streams.why", tooltip="Why it runs where it runs"),
        Binding("c", "copy", "copy", show=False, id="streams.copy", tooltip="Copy the text"),
    ]  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self._filter = ""
        self._alone: str | None = None
        self._frozen: Streams | None = None
        self._wanted_id: str | None = None
        self._states: object = None
        self._counted_at = 0.0

    @property
    def crumbs(self) -> str:
        """What is followed, and whether it is paused."""
        alone = f" › {self._alone}" if self._alone else ""
        return f"streams{alone}{' (paused)' if self._frozen else ''}"

    def body(self) -> ComposeResult:
        """Table and wall."""
        with Container(id="panes"):
            yield LiveTable(COLUMNS, empty="no stream yet", id="table")
            yield StreamWall(id="wall")
        yield FilterInput(id="filter")

    def show(self, view: View) -> None:
        """Draw the view; while paused, the streams as they were."""
        super().show(view)
        streams = self._frozen if self._frozen is not None else view.streams
        order = streams.focus_order()
        rows = Rows([one.job_id for one in order], lambda at: self._row(view, order[at]))
        shown = selected(rows, Filter.parse(self._filter))
        table = self.query_one("#table", LiveTable)
        states = (shown.keys, [one.state for one in order], view.link, self.center.text_shown)
        if states != self._states or view.now - self._counted_at >= COUNT_S:
            # Text flows ten times a second; nobody reads counters that fast.
            self._states, self._counted_at = states, view.now
            table.set_rows(shown)
        table.say_empty(no_rows(view, self._filter, "no stream yet: p sends a prompt"))
        if self._wanted_id is not None and table.select(self._wanted_id):
            self._wanted_id = None
        lost = streams.dropped + streams.dropped_here
        wanted = f" /{self._filter}" if self._filter else ""
        dropped = f" · {lost} characters dropped" if lost else ""
        table.border_title = content(f"streams {len(shown)}/{len(rows)}{wanted}{dropped}")
        chosen = set(shown.keys) if self._alone is None else {self._alone}
        kept = {job: stream for job, stream in streams.by_job.items() if job in chosen}
        wall_view = replace(view, streams=replace(streams, by_job=kept))
        self.query_one(StreamWall).show(wall_view, shown=self.center.text_of)

    def _row(self, view: View, stream: Stream) -> Row:
        state = status(TASK, stream.state)
        shown = self.center.text_of(stream.job_id) and stream.readable
        tail = stream.text[-200:].replace("\n", " ").strip() if shown else "·····"
        return Row(
            stream.job_id,
            (
                ((state.symbol, state.tone),),
                stream.job_id,
                stream.model,
                stream.worker_id or "",
                str(stream.tokens_out),
                rate(stream.tokens_per_s) if stream.running else "",
                ((tail, "muted"),),
            ),
            dim=not view.link.live,
            about=("stream", stream.job_id),
        )

    def select_id(self, id: str) -> None:
        """Go to that stream."""
        self._wanted_id = id
        self.refresh_view()

    @property
    def _job(self) -> str | None:
        wall = self.query_one(StreamWall)
        if self.focused is not None and wall in self.focused.ancestors:
            return wall.focused_job
        row = self.query_one("#table", LiveTable).cursor
        return row.key if row is not None else None

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filter while one types."""
        if event.input.id == "filter":
            self._filter = event.value
            self.refresh_view()

    def on_filter_input_done(self) -> None:
        """Back to the table."""
        self.query_one("#table", LiveTable).focus()

    def on_live_table_opened(self, event: LiveTable.Opened) -> None:
        """Enter follows the stream alone."""
        event.stop()
        self.action_follow()

    def action_follow(self) -> None:
        """One stream alone, or all again."""
        self._alone = None if self._alone else self._job
        self.refresh_view()

    def action_pause(self) -> None:
        """Hold still, or go on."""
        self._frozen = None if self._frozen is not None else self.center.view.streams
        self.refresh_view()

    def action_filter(self) -> None:
        """Type a filter."""
        self.query_one(FilterInput).open()

    def action_cancel(self) -> None:
        """Cancel the stream under the cursor, or in the pane that has the focus."""
        if (job := self._job) is not None:
            self.center.actions.perform(CANCEL, Target(self.center.view, "stream", job))

    def action_why(self) -> None:
        """Why it runs where it runs."""
        if (job := self._job) is not None:
            self.center.actions.why("task", job)

    def action_copy(self) -> None:
        """Copy the text that is held of the stream."""
        stream = self.center.view.streams.by_job.get(self._job or "")
        if stream is not None:
            self.app.copy_to_clipboard(stream.text)
            self.app.notify("copied", timeout=2)

    def action_back(self) -> None:
        """One step: clear the filter, leave the one, go on, go to the overview."""
        if self._filter:
            self.query_one(FilterInput).clear_filter()
        elif self._alone is not None:
            self.action_follow()
        elif self._frozen is not None:
            self.action_pause()
        else:
            self.center.show_screen("overview")
