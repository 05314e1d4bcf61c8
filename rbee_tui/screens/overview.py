"""The overview: the whole fleet on one screen, and a prompt."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical

from rbee_tui.panes import events, hosts, workers
from rbee_tui.panes.noun import no_rows
from rbee_tui.panes.prompt_bar import PromptBar, PromptInput, offered
from rbee_tui.panes.stream_wall import StreamWall
from rbee_tui.screens.base import FleetScreen
from rbee_tui.state.fleet import Fleet
from rbee_tui.state.link import Link
from rbee_tui.state.view import View
from rbee_tui.verbs.registry import CANCEL, SPAWN, STOP
from rbee_tui.verbs.verb import Target, Verb
from rbee_tui.widgets.live_table import LiveTable

NO_HOST = "no host yet: 2, then a, adds one over SSH"


class Overview(FleetScreen):
    """Hosts, workers, streams, events, prompt."""

    NAME = "overview"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("p,i", "prompt", "prompt", id="overview.prompt", tooltip="Send a prompt"),
        Binding("t", "app.toggle_text", "text", show=False, id="overview.text",
                tooltip="Hide or show the text of streams"),
        Binding("x", "cancel", "cancel", id="overview.cancel", tooltip=CANCEL.help),
        Binding("s", "stop", "stop", id="overview.stop", tooltip=STOP.help),
        Binding("n", "spawn", "new worker", id="overview.spawn", tooltip=SPAWN.help),
        Binding("w", "why", "why", show=False, id="overview.why",
                tooltip="Why the one under the cursor is as it is"),
    ]  # fmt: skip
    DEFAULT_CSS = """
    Overview #panes { height: 1fr; }
    Overview #hosts { height: auto; max-height: 5; }
    Overview #workers { height: auto; max-height: 6; }
    Overview #streams { height: 1fr; min-height: 5; }
    Overview #events { height: 4; }
    Overview.-tall #hosts { max-height: 12; }
    Overview.-tall #workers { max-height: 14; }
    Overview.-tall #events { height: 9; }
    Overview.-wide #streams { dock: right; width: 44%; height: 100%; }
    Overview #events > .table--cursor-blurred { background: $background; text-style: none; }
    Overview.-wide #hosts { max-height: 40%; }
    Overview.-wide #workers { height: auto; max-height: 45%; }
    Overview.-wide #events { height: 1fr; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._seen: tuple[Fleet | None, Link | None, int] = (None, None, 0)

    def body(self) -> ComposeResult:
        """The panes from the metal upwards."""
        with Vertical(id="panes"):
            table = LiveTable(hosts.COLUMNS, empty=NO_HOST, id="hosts")
            table.border_title = "hosts"
            yield table
            table = LiveTable(workers.COLUMNS, empty=workers.PANE.empty, id="workers")
            table.border_title = "workers"
            yield table
            yield StreamWall(id="streams")
            table = LiveTable(
                events.COLUMNS, empty="nothing happened yet", header=False, id="events"
            )
            table.border_title = "events"
            yield table
        yield PromptBar(id="prompt")

    def show(self, view: View) -> None:
        """Draw the view."""
        super().show(view)
        self.query_one(StreamWall).show(view, shown=self.center.text_of)
        self.query_one(PromptBar).show(view)
        # Tokens come ten times a second; the tables have nothing new of them.
        seen = (view.fleet, view.link, int(view.now))
        if seen[0] is self._seen[0] and seen[1:] == self._seen[1:]:
            return
        self._seen = seen
        for name, rows, empty in (
            ("#hosts", hosts.rows(view), NO_HOST),
            ("#workers", workers.rows(view), workers.PANE.empty),
        ):
            table = self.query_one(name, LiveTable)
            table.set_rows(rows)
            table.say_empty(no_rows(view, "", empty))
        table = self.query_one("#events", LiveTable)
        follow = not table.has_focus
        table.set_rows(events.rows(view, last=200))
        if follow:
            table.action_edge(-1)

    def action_prompt(self) -> None:
        """Go to the prompt line."""
        self.query_one(PromptInput).focus()

    def on_prompt_bar_sent(self, event: PromptBar.Sent) -> None:
        """Send it."""
        event.stop()
        self.center.actions.prompt(
            event.model, event.prompt, on_refused=lambda: self._restore(event.prompt)
        )

    def _restore(self, prompt: str) -> None:
        """Put a prompt that could not be sent back where it was typed."""
        self.query_one(PromptBar).restore(prompt)

    def action_cancel(self) -> None:
        """Cancel the stream in the pane that has the focus."""
        wall = self.query_one(StreamWall)
        self._do(CANCEL, "stream", wall.focused_job)

    def action_stop(self) -> None:
        """Stop the worker under the cursor."""
        row = self.query_one("#workers", LiveTable).cursor
        self._do(STOP, "worker", row.key if row else None)

    def action_spawn(self) -> None:
        """One more worker: of the model of the one under the cursor, else of one to be chosen."""
        table = self.query_one("#workers", LiveTable)
        if table.has_focus and table.cursor is not None:
            self._do(SPAWN, "worker", table.cursor.key)
        else:
            self.center.actions.spawn_any(offered(self.center.view))

    def on_live_table_opened(self, event: LiveTable.Opened) -> None:
        """Enter goes to the screen of what the row is about."""
        event.stop()
        if event.row.about is not None:
            self.center.go(*event.row.about)

    def action_why(self) -> None:
        """Why the one under the cursor, or the stream with the focus, is as it is."""
        wall = self.query_one(StreamWall)
        focused = self.focused
        if isinstance(focused, LiveTable) and focused.cursor and focused.cursor.about:
            self.center.actions.why(*focused.cursor.about)
        elif wall.focused_job is not None:
            self.center.actions.why("task", wall.focused_job)

    def _do(self, verb: Verb, noun: str, id: str | None) -> None:
        if id is None:
            self.app.notify(f"nothing to {verb.title} here", severity="warning", markup=False)
            return
        self.center.actions.perform(verb, Target(self.center.view, noun, id))
