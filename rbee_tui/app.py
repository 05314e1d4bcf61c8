"""The control center: one Textual app on one live feed."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

from rich.text import Text
from textual import work
from textual.app import App
from textual.binding import Binding, BindingType
from textual.events import Event, InputEvent
from textual.screen import Screen
from textual.theme import Theme

from rbee_agent.contracts.tasks import TaskRequest
from rbee_agent.errors import EXIT_FAILED, EXIT_OK
from rbee_tui.feed.live import LiveFeed, Timing
from rbee_tui.feed.source import QueenLink
from rbee_tui.garbage import Garbage
from rbee_tui.screens.actions import Actions
from rbee_tui.screens.base import FleetScreen
from rbee_tui.screens.chat import Chat
from rbee_tui.screens.commands import options, typed
from rbee_tui.screens.commands import run as run_command
from rbee_tui.screens.crash import write_crash
from rbee_tui.screens.help import HelpScreen
from rbee_tui.screens.names import NOUN_SCREENS, SCREENS
from rbee_tui.screens.overview import Overview
from rbee_tui.screens.policy import PolicyScreen
from rbee_tui.screens.shell import is_loopback, rbee_command
from rbee_tui.screens.streams import StreamsScreen
from rbee_tui.screens.table import Events, Hosts, Models, Sessions, TableScreen, Tasks, Workers
from rbee_tui.setup import ExitCode, Setup
from rbee_tui.state.link import LinkState
from rbee_tui.state.view import View
from rbee_tui.terminal_end import end_with_terminal
from rbee_tui.theming.files import bundled_folder, choose
from rbee_tui.theming.live import LiveThemes
from rbee_tui.theming.remembered import remember, remembered
from rbee_tui.widgets.dialog import Answer, Question
from rbee_tui.widgets.picker import Picker

TICK_S = 1.0
"""How often ages and the clock are drawn again when nothing else happens."""
BUILDING_S = 0.05
"""How long nothing is drawn when a screen is shown for the first time and comes into being."""
BUILT_S = 0.005
"""The same when it was there already and only has to be brought up to date."""


class RbeeApp(App[ExitCode]):
    """Holds the newest view and hands it to the screen that is seen."""

    TITLE = "rbee"
    ENABLE_COMMAND_PALETTE = False
    DEFAULT_MODE = "overview"
    MODES: ClassVar[dict[str, str | Callable[[], Screen[Any]]]] = {
        "overview": Overview,
        "hosts": Hosts,
        "workers": Workers,
        "streams": StreamsScreen,
        "tasks": Tasks,
        "models": Models,
        "events": Events,
        "chat": Chat,
        "sessions": Sessions,
        "policy": PolicyScreen,
    }
    CSS = """
    FleetScreen { background: $background; }
    #headline { background: $panel; }
    FleetScreen LiveTable, FleetScreen TokenView {
        border-top: solid $border-blurred;
        border-title-color: $text-muted;
        border-title-style: bold;
        padding: 0 1;
    }
    FleetScreen LiveTable:focus, FleetScreen TokenView:focus {
        border-top: solid $border;
        border-title-color: $text-accent;
    }
    FleetScreen.-tiny #tabs { display: none; }
    ToastRack { margin-bottom: 2; }
    Toast { padding: 0 1; max-width: 100%; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("colon", "command", "command", id="app.command",
                tooltip="Type a command: a screen, a verb, a name"),
        Binding("ctrl+p", "palette", "palette", show=False, id="app.palette",
                tooltip="Search everything that can be gone to or done"),
        Binding("question_mark", "help", "help", id="app.help", tooltip="The keys that work here"),
        Binding("q", "ask_to_quit", "quit", id="app.quit", tooltip="Leave the control center"),
        Binding("ctrl+q", "ask_to_quit", show=False, id="app.quit2",
                tooltip="Leave, also while typing"),
        Binding("ctrl+r", "reconnect", show=False, id="app.reconnect",
                tooltip="Try to reach the queen now"),
        Binding("exclamation_mark", "errors", show=False, id="app.errors",
                tooltip="What went wrong lately, in full"),
        Binding("ctrl+t", "next_theme", show=False, id="app.theme", tooltip="The next theme"),
        *(
            Binding(one.key, f"show_screen('{name}')", name, show=False,
                    id=f"app.screen-{name}", tooltip=one.help)
            for name, one in SCREENS.items()
        ),
    ]  # fmt: skip

    def __init__(self, link: QueenLink | None, setup: Setup) -> None:
        super().__init__()
        self.link = link
        self.setup = setup
        self.read_only = setup.read_only
        self.text_shown: bool | None = setup.text_shown or None
        """What streams say: of all, of none, or (None) of what was sent from here."""
        self.view = setup.view or View(now=setup.now())
        self.view = replace(self.view, zone=setup.zone)
        self.feed: LiveFeed | None = None
        self.actions = Actions(self, link)
        self._built = {self.DEFAULT_MODE}
        self._hold_s = BUILDING_S
        self._offered = False
        self._shown_at = 0.0
        self.garbage = Garbage(time.monotonic)
        self.themes = LiveThemes(self, (bundled_folder(), *setup.theme_folders))
        last = remembered(setup.theme_file) if setup.theme_file is not None else None
        name = choose(setup.theme, self.themes.found, no_color=setup.no_color, remembered=last)
        if name:
            self.theme = name

    def on_mount(self) -> None:
        """Connect, and keep the ages moving."""
        self.theme_changed_signal.subscribe(self, self._theme_chosen)
        self.themes.tell_problems()
        asked = self.setup.theme
        if asked is not None and asked not in self.themes.found.themes:
            known = ", ".join(self.themes.found.themes)
            self.notify(f"{asked}: there are {known}", title="no such theme", markup=False)
        if not self.setup.live or self.link is None:
            return
        timing = Timing(now=self.setup.now)
        self.feed = LiveFeed(self.link, self.publish, timing, url=self.setup.url)
        self.view = replace(self.feed.view, zone=self.setup.zone)
        self.run_worker(self.feed.run(), name="feed")
        if threading.current_thread() is threading.main_thread():
            # The terminal is put in order before the process goes.
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.exit)
        self.set_interval(TICK_S, self._tick)
        if self.setup.first_prompt is not None:
            self.actions.submit(self.setup.first_prompt)

    async def on_event(self, event: Event) -> None:
        """Note that somebody is there."""
        if isinstance(event, InputEvent):
            self.garbage.typed()
        await super().on_event(event)

    def _theme_chosen(self, theme: Theme) -> None:
        """Keep it for the next start."""
        if self.setup.theme_file is not None:
            try:
                remember(self.setup.theme_file, theme.name)
            except OSError as error:
                self.actions.say(f"the theme is not kept: {error}", severe=True)

    def publish(self, view: View) -> None:
        """Take the newest view and show it where it is seen."""
        self.view = replace(view, zone=self.setup.zone)
        self._shown_at = self.setup.now()
        self.actions.fleet_changed()
        self._show()
        self._offer_start()
        self._offer_first_steps()

    def _offer_start(self) -> None:
        """The first time that nobody answers, ask what to do about it."""
        link = self.view.link
        alone = link.state is LinkState.CONNECTING and link.attempts > 0
        if alone and self.setup.may_start and not self._offered and not self.read_only:
            self._offered = True
            self.actions.first_run()

    def _offer_first_steps(self) -> None:
        """A fleet that has just begun: ask once what it is to do, as soon as its host is there."""
        begun = self.setup.just_started and self.view.link.live and bool(self.view.fleet.nodes)
        if begun and not self._offered:
            self._offered = True
            if not self.view.fleet.workers:
                self.actions.first_steps()

    def _tick(self) -> None:
        """Ages go on also while nothing comes."""
        self.garbage.tick()
        if self.setup.now() - self._shown_at < 0.9 * TICK_S:
            return
        self.view = replace(self.view, now=self.setup.now())
        self._show()

    def _show(self) -> None:
        for screen in reversed(self.screen_stack):
            if isinstance(screen, FleetScreen):
                screen.refresh_view()
                return

    def action_help(self) -> None:
        """The keys that work on this screen now."""
        bindings = self.screen.active_bindings.values()
        _ = self.push_screen(HelpScreen(getattr(self.screen, "NAME", ""), bindings))

    def action_prompt(self) -> None:
        """Write a prompt on the overview."""
        self.show_screen("overview")
        if isinstance(self.screen, Overview):
            self.screen.action_prompt()

    def action_show_screen(self, name: str) -> None:
        """Go to a screen."""
        self.show_screen(name)

    def show_screen(self, name: str, words: str = "") -> None:
        """Go to a screen, its table filtered by the words if there are any."""
        self._switch(name)
        if words and isinstance(self.screen, TableScreen):
            self.call_after_refresh(self.screen.set_filter, words)

    def _switch(self, name: str) -> None:
        self._hold_s = BUILT_S if name in self._built else BUILDING_S
        self._built.add(name)
        _ = self.switch_mode(name)

    def delay_update(self, delay: float = 0.05) -> None:
        """Hold what is drawn while screens change; Textual's time is for screens not built yet."""
        super().delay_update(min(delay, self._hold_s))

    def go(self, noun: str, id: str) -> None:
        """Go to one thing of the fleet."""
        name = NOUN_SCREENS.get(noun)
        if name is None:
            return
        self._switch(name)
        screen = self.screen
        if isinstance(screen, TableScreen | StreamsScreen):
            screen.select_id(id)

    @work(group="palette", exclusive=True)
    async def action_command(self) -> None:
        """The `:` line at the bottom."""
        self.themes.refresh()
        await self._pick(
            Picker("command", options(self), placeholder="a screen, a verb, a name",
                   typed=lambda text: typed(self, text), docked=True)
        )  # fmt: skip

    @work(group="palette", exclusive=True)
    async def action_palette(self) -> None:
        """The palette in the middle."""
        self.themes.refresh()
        await self._pick(
            Picker("everything", options(self), placeholder="search",
                   typed=lambda text: typed(self, text))
        )  # fmt: skip

    async def _pick(self, picker: Picker) -> None:
        picked = await self.push_screen_wait(picker)
        if picked is not None:
            run_command(self, picked)

    def action_toggle_text(self) -> None:
        """Hide or show what streams say."""
        self.text_shown = self.text_shown is not True
        self._show()

    def text_of(self, job_id: str) -> bool:
        """Whether what that stream says is shown."""
        return job_id in self.actions.sent if self.text_shown is None else self.text_shown

    def action_errors(self) -> None:
        """What went wrong lately."""
        self.actions.show_errors()

    def action_reconnect(self) -> None:
        """Do not wait for the next try."""
        if self.feed is not None:
            self.feed.retry()

    def action_next_theme(self) -> None:
        """The next theme in the order of their names."""
        self.notify(self.themes.next(), markup=False, timeout=2)

    @work(group="quit", exclusive=True)
    async def action_ask_to_quit(self) -> None:
        """Leave; where the agents were started for this session, ask what becomes of them."""
        if not self.setup.owns_agents:
            self.leave(leave_agents=True)
            return
        running = self.view.fleet.totals().running
        busy = f"{running} task{'' if running == 1 else 's'} run. " if running else ""
        answer = await self.push_screen_wait(
            Question(
                "leave rbee?",
                [
                    f"{busy}Queen, hive and workers on this machine belong to this session.",
                    (("Stopping them ends what runs; rbee up starts them again.", "muted"),),
                ],
                (
                    Answer("stop", "stop all", "s", danger=True),
                    Answer("leave", "leave running", "l"),
                    Answer("stay", "stay", "n"),
                ),
            )
        )
        if answer != "stay":
            self.leave(leave_agents=answer == "leave")

    def start_here(self) -> None:
        """Leave for the moment that it takes to start the agents of this machine."""
        result = ExitCode(EXIT_OK)
        result.start_here = True
        self.exit(result)

    def _fatal_error(self) -> None:
        """A bug of ours: the traceback goes to a file, and a sentence to the terminal.

        Textual would print the local variables too, and they may hold keys and prompts.
        """
        self.bell()
        told = "rbee: the control center has a bug and had to close"
        if self.setup.crash_file is not None:
            told += f"; {write_crash(self.setup.crash_file, self.setup.now())}"
        self._exit_renderables.append(Text(f"{told}. rbee --no-tui works without it."))
        self._close_messages_no_wait()

    def leave(self, *, leave_agents: bool, code: int = EXIT_OK) -> None:
        """End the app with that result."""
        result = ExitCode(code)
        result.leave_agents = leave_agents
        self.exit(result)


def run(
    url: str,
    token: str | None,
    *,
    first_prompt: TaskRequest | None = None,
    read_only: bool = False,
    owns_agents: bool = False,
    theme: str | None = None,
) -> ExitCode:
    """Open the control center on a queen and return when it is left.

    Args:
        url: the queen's address.
        token: the key to show her, if she asks for one.
        first_prompt: a task to send as soon as the center is open.
        read_only: offer nothing that changes anything; stream text is hidden until asked for.
        owns_agents: ask at the end whether queen, hive and workers are to stop.
        theme: a theme's name.

    Returns:
        The exit code; its `leave_agents` says whether the agents are to go on.
    """
    from rbee_agent.client.locate import find_queen
    from rbee_agent.client.queen import QueenClient
    from rbee_agent.settings.config import load
    from rbee_agent.settings.places import Places

    places = Places.of_user()
    keeper = load(places.config_file).settings.keeper
    by_itself = find_queen(places).url == url
    setup = Setup(
        url=url,
        queen_option=() if by_itself else ("--queen", url),
        first_prompt=first_prompt,
        read_only=read_only or keeper.read_only,
        owns_agents=owns_agents,
        theme=theme or os.environ.get("RBEE_THEME") or keeper.theme,
        theme_file=places.state / "theme",
        no_color="NO_COLOR" in os.environ,
        theme_folders=(places.config / "themes",),
        may_start=by_itself and is_loopback(url),
        crash_file=places.logs / "control-center.log",
    )
    end_with_terminal()
    while True:
        app = RbeeApp(QueenClient(url, token), setup)
        app.garbage.take_over()
        try:
            result = app.run()
        finally:
            app.garbage.give_back()
        if result is None:
            # Textual closed without our leave: a bug it has told of, or a signal.
            return ExitCode(app.return_code or EXIT_FAILED)
        if not result.start_here:
            return result
        _ = subprocess.run([*rbee_command(), "up"], check=False)
        here = find_queen(places)
        url, token = here.url, here.token
        setup = replace(setup, url=url, may_start=False, just_started=True)
