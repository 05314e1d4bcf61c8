"""A screen for each noun that is a table: find, sort, read, act. All nouns, the same keys."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.widgets import Input

from rbee_agent.errors import NotFound
from rbee_tui.feed.source import QueenLink
from rbee_tui.panes import events, hosts, models, sessions, tasks, workers
from rbee_tui.panes.noun import NounPane, no_rows, selected
from rbee_tui.panes.prompt_bar import offered
from rbee_tui.screens.base import FleetScreen
from rbee_tui.state.clean import clean_json
from rbee_tui.state.select import Filter
from rbee_tui.state.view import View
from rbee_tui.verbs.registry import SPAWN, by_name, verbs_for
from rbee_tui.verbs.verb import Target, Verb
from rbee_tui.widgets.facts import Facts
from rbee_tui.widgets.filter_input import FilterInput
from rbee_tui.widgets.live_table import LiveTable
from rbee_tui.widgets.rows import Row
from rbee_tui.widgets.tones import content, plain

MOST_ASKED = 50
"""Sessions that the queen is asked about."""
FEW = 0.42
"""Share of the height that the rows may take for the details to be open from the start."""


def verb_bindings(noun: str) -> list[BindingType]:
    """A key for each verb of the noun, as the registry has it."""
    return [
        Binding(verb.key, f"verb('{verb.name}')", verb.title, id=f"{noun}.{verb.name}",
                tooltip=verb.help)
        for verb in verbs_for(noun)
    ]  # fmt: skip


class TableScreen(FleetScreen):
    """One noun as a table with its facts beside it."""

    PANE: ClassVar[NounPane]
    DEFAULT_CSS = """
    TableScreen #panes { height: 1fr; }
    TableScreen #table { height: 1fr; }
    TableScreen #facts { display: none; height: 1fr; }
    TableScreen.-facts #facts { display: block; }
    TableScreen.-facts #facts { dock: right; width: 42%; height: 100%; }
    TableScreen.-facts.-below #facts { dock: bottom; width: 100%; height: 60%; }
    TableScreen.-facts.-brief #facts { height: 7; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "facts", "details", id="rows.facts", tooltip="Show or hide the details"),
        Binding("slash", "filter", "filter", id="rows.filter",
                tooltip="Filter: words that must be there, !words that must not"),
        Binding("w", "why", "why", id="rows.why", tooltip="Why it is as it is"),
        Binding("left", "sort(-1)", "sort left", show=False, id="rows.sortleft",
                tooltip="Sort by the column to the left"),
        Binding("right", "sort(1)", "sort right", show=False, id="rows.sortright",
                tooltip="Sort by the column to the right"),
        Binding("R", "reverse", "reverse", show=False, id="rows.reverse",
                tooltip="Reverse the order"),
        Binding("c", "copy", "copy", show=False, id="rows.copy", tooltip="Copy the id"),
        Binding("C", "copy_json", "copy as JSON", show=False, id="rows.copyjson",
                tooltip="Copy everything known of it as JSON"),
    ]  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self._filter = ""
        self._sort: tuple[str, bool] | None = self.PANE.sort
        self._facts_wanted: bool | None = None
        self._wanted_id: str | None = None

    @property
    def crumbs(self) -> str:
        """The screen's name, and where one is in it."""
        row = self._cursor
        if row is None or not self._facts_open:
            return self.PANE.title
        name = row.key if self.PANE.keys_are_names else row.about[1] if row.about else ""
        return f"{self.PANE.title} › {name}" if name else self.PANE.title

    def body(self) -> ComposeResult:
        """Table and facts."""
        with Container(id="panes"):
            yield LiveTable(self.PANE.columns, empty=self.PANE.empty, id="table")
            facts = Facts(id="facts")
            facts.border_title = "details"
            yield facts
        yield FilterInput(id="filter")

    @property
    def table(self) -> LiveTable:
        """The noun's table."""
        return self.query_one("#table", LiveTable)

    @property
    def _cursor(self) -> Row | None:
        tables = self.query("#table")
        return tables.first(LiveTable).cursor if tables else None

    @property
    def _facts_open(self) -> bool:
        """As asked for; else where there is room for them beside or below the rows."""
        if self._facts_wanted is not None:
            return self._facts_wanted
        if self.PANE.details_below:
            return self.size.height >= self.VERTICAL_BREAKPOINTS[1][0]
        return self._wide or self._few

    @property
    def _wide(self) -> bool:
        """Whether table and details have room side by side."""
        return self.size.width >= self.HORIZONTAL_BREAKPOINTS[1][0]

    @property
    def _few(self) -> bool:
        """Whether all rows are seen with the details below them."""
        tables = self.query("#table")
        return bool(tables) and 0 < len(tables.first(LiveTable).rows) <= FEW * self.size.height - 3

    def show(self, view: View) -> None:
        """Draw the view."""
        super().show(view)
        rows = self.PANE.rows(view)
        shown = selected(rows, Filter.parse(self._filter), self._sort_at())
        table = self.table
        table.sort = self._sort
        at_end = not table.rows or table.cursor_at == len(table.rows) - 1
        table.set_rows(shown)
        table.say_empty(no_rows(view, self._filter, self.PANE.empty))
        if self.PANE.newest_last and at_end and self._sort is None:
            table.action_edge(-1)
        if self._wanted_id is not None and self._select(self._wanted_id):
            self._wanted_id = None
        count = f"{len(shown)}" if len(shown) == len(rows) else f"{len(shown)}/{len(rows)}"
        wanted = f" /{self._filter}" if self._filter else ""
        table.border_title = content(f"{self.PANE.title} {count}{wanted}")
        self.set_class(self._facts_open, "-facts")
        self.set_class(self._few or not self._wide or self.PANE.details_below, "-below")
        self.set_class(self.PANE.details_below, "-brief")
        if self._facts_open:
            self._show_facts(view)

    def _show_facts(self, view: View) -> None:
        row = self._cursor
        facts = self.PANE.facts(view, self._about(row)) if row is not None else []
        self.query_one("#facts", Facts).show_facts(facts, dim=not view.link.live)

    def _about(self, row: Row) -> str:
        """What the row is about: a device's row is about its host."""
        if self.PANE.noun == "event" or row.about is None:
            return row.key
        return row.about[1]

    def select_id(self, id: str) -> None:
        """Go to the one with that id, now or as soon as it is there."""
        self._filter = ""
        if self.is_mounted:
            self.query_one(FilterInput).clear_filter()
        self._wanted_id = id
        self.refresh_view()

    def _select(self, id: str) -> bool:
        if self.table.select(id):
            return True
        for row in self.table.rows:
            if id in (row.key, self._about(row)):
                return self.table.select(row.key)
        return False

    def set_filter(self, text: str) -> None:
        """Filter as if it had been typed."""
        field = self.query_one(FilterInput)
        field.value = text
        field.set_class(bool(text), "-open")

    def on_live_table_moved(self, event: LiveTable.Moved) -> None:
        """Facts follow the cursor."""
        if event.table.id == "table":
            self.refresh_view()

    def on_live_table_opened(self, event: LiveTable.Opened) -> None:
        """Enter on an event goes to what it is about; elsewhere it opens the details."""
        event.stop()
        if event.table.id == "table" and self.PANE.noun == "event" and event.row.about:
            self.center.go(*event.row.about)
        else:
            self.action_facts()

    def on_live_table_sort_asked(self, event: LiveTable.SortAsked) -> None:
        """A click on a title sorts by it; again, the other way round."""
        if event.table.id != "table":
            return
        again = self._sort is not None and self._sort[0] == event.column
        self._sort = (event.column, not self._sort[1] if again and self._sort else False)
        self.refresh_view()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filter while one types."""
        if event.input.id == "filter":
            self._filter = event.value
            self.refresh_view()

    def on_filter_input_done(self) -> None:
        """Back to the table."""
        self.table.focus()

    def _sort_at(self) -> tuple[int, bool] | None:
        if self._sort is None:
            return None
        keys = [column.key for column in self.PANE.columns]
        return keys.index(self._sort[0]), self._sort[1]

    def action_filter(self) -> None:
        """Type a filter."""
        self.query_one(FilterInput).open()

    def action_facts(self) -> None:
        """Show or hide the details."""
        self._facts_wanted = not self._facts_open
        self.refresh_view()

    def action_sort(self, step: int) -> None:
        """Sort by a neighbour of the column; past the ends there is the natural order."""
        keys: list[str | None] = [None, *(column.key for column in self.PANE.columns)]
        at = keys.index(self._sort[0] if self._sort else None)
        key = keys[(at + step) % len(keys)]
        self._sort = None if key is None else (key, self._sort[1] if self._sort else False)
        self.refresh_view()

    def action_reverse(self) -> None:
        """The other way round."""
        if self._sort is not None:
            self._sort = (self._sort[0], not self._sort[1])
            self.refresh_view()

    def action_verb(self, name: str) -> None:
        """Do it to the one under the cursor."""
        row, verb = self._cursor, by_name(name)
        if verb is None:
            return
        if row is None:
            self.without_row(verb)
            return
        self.center.actions.perform(
            verb, Target(self.center.view, self.PANE.noun, self._about(row))
        )

    def without_row(self, verb: Verb) -> None:
        """A verb was asked for and there is nothing under the cursor."""
        self.app.notify(f"nothing to {verb.title} here", severity="warning", markup=False)

    def action_why(self) -> None:
        """Why it is as it is."""
        if (row := self._cursor) is not None:
            self.center.actions.why(*(row.about or (self.PANE.noun, row.key)))

    def action_copy(self) -> None:
        """Copy the id to the terminal's clipboard (OSC 52)."""
        if (row := self._cursor) is not None:
            self.app.copy_to_clipboard(self._about(row))
            self.app.notify(f"copied {self._about(row)}", markup=False, timeout=2)

    def action_copy_json(self) -> None:
        """Copy everything that is known of it as JSON."""
        if (row := self._cursor) is not None:
            facts = self.PANE.facts(self.center.view, self._about(row))
            text = json.dumps([[label, plain(fact)] for label, fact in facts], ensure_ascii=False)
            self.app.copy_to_clipboard(text)
            self.app.notify("copied as JSON", timeout=2)

    def action_back(self) -> None:
        """One step: clear the filter, close what was opened, go to the overview."""
        if self._filter:
            self.query_one(FilterInput).clear_filter()
        elif self._facts_wanted:
            self.action_facts()
        else:
            self.center.show_screen("overview")


class Hosts(TableScreen):
    """Hosts and their devices."""

    NAME = "hosts"
    PANE = hosts.PANE
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a", "add_host", "add host", id="node.add", tooltip="Add a host over SSH"),
        *verb_bindings("node"),
    ]

    def action_add_host(self) -> None:
        """Add a host over SSH."""
        self.center.actions.add_host()


class Workers(TableScreen):
    """Workers."""

    NAME = "workers"
    PANE = workers.PANE
    BINDINGS: ClassVar[list[BindingType]] = [
        *verb_bindings("worker"),
        Binding(
            "l", "logs", "logs", id="worker.logs", tooltip="The worker's log, and what comes to it"
        ),
    ]

    def without_row(self, verb: Verb) -> None:
        """The first worker is of a model that is asked for."""
        if verb is SPAWN:
            self.center.actions.spawn_any(offered(self.center.view))
        else:
            super().without_row(verb)

    def action_logs(self) -> None:
        """The log of the worker under the cursor."""
        if (row := self.table.cursor) is not None:
            self.center.actions.logs(row.key)


class Tasks(TableScreen):
    """Tasks and the queue."""

    NAME = "tasks"
    PANE = tasks.PANE
    BINDINGS: ClassVar[list[BindingType]] = verb_bindings("task")


class Models(TableScreen):
    """The catalog."""

    NAME = "models"
    PANE = models.PANE
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a", "add_model", "add model", id="model.add", tooltip="Fetch a new model"),
        *verb_bindings("model"),
    ]

    def action_add_model(self) -> None:
        """Fetch a model that the catalog need not know."""
        self.center.actions.add_model()


class Events(TableScreen):
    """What happened."""

    NAME = "events"
    PANE = events.PANE


class Sessions(TableScreen):
    """Conversations; the feed does not tell of them, so the queen is asked when their tasks do."""

    NAME = "sessions"
    PANE = sessions.PANE
    BINDINGS: ClassVar[list[BindingType]] = verb_bindings("session")

    def __init__(self) -> None:
        super().__init__()
        self._told: dict[str, tuple[float, Mapping[str, Any]]] = {}
        self._asked: dict[str, tuple[int, int]] = {}

    def show(self, view: View) -> None:
        """Draw what is known, and ask for what is new."""
        wanted = {
            name: fingerprint
            for name in sessions.names(view)[-MOST_ASKED:]
            if (fingerprint := sessions.fingerprint(view, name)) != self._asked.get(name)
        }
        if wanted and view.link.live and self.center.link is not None:
            self._asked |= wanted
            self.center.actions.do(self._ask(self.center.link, list(wanted)))
        super().show(sessions.with_told(view, self._told))

    async def _ask(self, link: QueenLink, names: list[str]) -> None:
        for name in names:
            try:
                answer = clean_json((await link.session(name)).dump())
            except NotFound:
                answer = {}
            self._told[name] = (self.center.setup.now(), answer)
        self.refresh_view()
