"""The control center: one Textual app on one live feed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import tzinfo
from pathlib import Path
from typing import ClassVar

from textual import work
from textual.app import App
from textual.binding import Binding, BindingType
from textual.screen import Screen

from rbee_agent.contracts.tasks import Message, TaskRequest
from rbee_agent.errors import EXIT_FAILED, EXIT_OK, RbeeError
from rbee_tui.feed.live import LiveFeed, Timing
from rbee_tui.feed.source import QueenLink
from rbee_tui.screens.base import FleetScreen
from rbee_tui.screens.help import HelpScreen
from rbee_tui.screens.overview import Overview
from rbee_tui.state.clean import clean
from rbee_tui.state.view import View
from rbee_tui.theming.files import Found, bundled_folder, choose, find_themes
from rbee_tui.verbs.verb import Danger, Target, Verb
from rbee_tui.widgets.dialog import Answer, Question

TICK_S = 1.0
"""How often ages and the clock are drawn again when nothing else happens."""
PROMPT_MAX_TOKENS = 512


@dataclass(frozen=True, slots=True)
class Setup:
    """What the control center is opened with."""

    url: str = ""
    first_prompt: TaskRequest | None = None
    read_only: bool = False
    owns_agents: bool = False
    """The agents were started for this session: leaving asks what becomes of them."""
    theme: str | None = None
    no_color: bool = False
    theme_folders: tuple[Path, ...] = ()
    """The user's own, read after rbee's."""
    now: Callable[[], float] = time.time
    """Unix seconds."""
    zone: tzinfo | None = None
    live: bool = True
    """False: show `view` and connect to nothing (pictures, tests)."""
    view: View | None = None


class ExitCode(int):
    """The exit code of the command, and what the operator wants to become of his agents."""

    leave_agents: bool = False


class RbeeApp(App[ExitCode]):
    """Holds the newest view and hands it to the screen that is seen."""

    TITLE = "rbee"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    FleetScreen { background: $background; }
    #headline { background: $panel; }
    LiveTable, TokenView {
        border-top: solid $border-blurred;
        border-title-color: $text-muted;
        border-title-style: bold;
        padding: 0 1;
    }
    LiveTable:focus, TokenView:focus {
        border-top: solid $border;
        border-title-color: $text-accent;
    }
    Toast { padding: 0 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("question_mark", "help", "help", id="app.help", tooltip="The keys that work here"),
        Binding("q", "ask_to_quit", "quit", id="app.quit", tooltip="Leave the control center"),
        Binding("ctrl+q", "ask_to_quit", show=False, id="app.quit2",
                tooltip="Leave, also while typing"),
        Binding("ctrl+r", "reconnect", show=False, id="app.reconnect",
                tooltip="Try to reach the queen now"),
        Binding("ctrl+t", "next_theme", show=False, id="app.theme", tooltip="The next theme"),
    ]  # fmt: skip

    def __init__(self, link: QueenLink | None, setup: Setup) -> None:
        super().__init__()
        self.link = link
        self.setup = setup
        self.read_only = setup.read_only
        self.text_shown = not setup.read_only
        self.view = setup.view or View(now=setup.now())
        self.view = replace(self.view, zone=setup.zone)
        self.feed: LiveFeed | None = None
        self.themes: Found = find_themes((bundled_folder(), *setup.theme_folders))
        for theme_file in self.themes.themes.values():
            self.register_theme(theme_file.theme())
        name = choose(setup.theme, self.themes, no_color=setup.no_color)
        if name:
            self.theme = name

    def get_default_screen(self) -> Screen[None]:
        """The overview is what opens."""
        return Overview()

    def on_mount(self) -> None:
        """Connect, and keep the ages moving."""
        for problem in self.themes.problems:
            self.notify(problem, title="theme not used", severity="warning", markup=False)
        asked = self.setup.theme
        if asked is not None and asked not in self.themes.themes:
            known = ", ".join(self.themes.themes)
            self.notify(f"{asked}: there are {known}", title="no such theme", markup=False)
        if not self.setup.live or self.link is None:
            return
        timing = Timing(now=self.setup.now)
        self.feed = LiveFeed(self.link, self.publish, timing, url=self.setup.url)
        self.view = replace(self.feed.view, zone=self.setup.zone)
        self.run_worker(self.feed.run(), name="feed")
        self.set_interval(TICK_S, self._tick)
        if self.setup.first_prompt is not None:
            self._submit(self.link, self.setup.first_prompt)

    def publish(self, view: View) -> None:
        """Take the newest view and show it where it is seen."""
        self.view = replace(view, zone=self.setup.zone)
        self._show()

    def _tick(self) -> None:
        self.view = replace(self.view, now=self.setup.now())
        self._show()

    def _show(self) -> None:
        for screen in reversed(self.screen_stack):
            if isinstance(screen, FleetScreen):
                screen.refresh_view()
                return

    def send_prompt(self, model: str, prompt: str) -> None:
        """Send one prompt as a chat of one turn."""
        if (link := self._link_to_act()) is None:
            return
        message = Message(role="user", content=prompt)
        request = TaskRequest(
            model=model, messages=[message], workload="chat", max_tokens=PROMPT_MAX_TOKENS
        )
        self._submit(link, request)

    @work(group="actions", exit_on_error=False)
    async def _submit(self, link: QueenLink, request: TaskRequest) -> None:
        try:
            accepted = await link.submit(request)
        except RbeeError as error:
            self.report(error)
            self._restore_prompt(request)
            return
        if accepted.queue_position:
            self.notify(f"{accepted.job_id} waits at {accepted.queue_position}", markup=False)

    def _restore_prompt(self, request: TaskRequest) -> None:
        """What was typed is not lost when sending it failed."""
        screen = self.screen
        if isinstance(screen, Overview) and request.messages:
            screen.restore_prompt(request.messages[-1].text())

    def perform(self, verb: Verb, target: Target) -> None:
        """Show what the verb would do, ask where it must be asked, and do it."""
        if (link := self._link_to_act()) is None:
            return
        reason = verb.refuses(target)
        if reason is not None:
            self.notify(clean(reason), severity="warning", markup=False)
            return
        self._perform(link, verb, target)

    @work(group="actions", exit_on_error=False)
    async def _perform(self, link: QueenLink, verb: Verb, target: Target) -> None:
        if verb.danger is not Danger.NONE:
            do = Answer("do", verb.title, "y", danger=verb.danger is Danger.DESTROYS)
            lines = (
                *((line, "") for line in verb.plan(target)),
                ("", ""),
                (f"$ {verb.command(target)}", "muted"),
            )
            question = Question(
                f"{verb.title} {target.id}?",
                [(line,) for line in lines],
                (do, Answer("keep", "do nothing", "n")),
            )
            if await self.push_screen_wait(question) != "do":
                return
        try:
            said = await verb.run(link, target)
        except RbeeError as error:
            self.report(error)
        else:
            self.notify(clean(said), markup=False)

    def report(self, error: RbeeError) -> None:
        """An error as a toast: what happened, and its code to look it up by."""
        again = " (may work later)" if error.retriable else ""
        self.notify(
            clean(error.message), title=f"{error.code}{again}", severity="error", timeout=10,
            markup=False,
        )  # fmt: skip

    def _link_to_act(self) -> QueenLink | None:
        """The link to act through; None, and said so, where acting is not allowed."""
        if self.read_only:
            self.notify("This control center is read-only.", severity="warning", markup=False)
            return None
        return self.link

    def action_help(self) -> None:
        """The keys that work on this screen now."""
        bindings = self.screen.active_bindings.values()
        _ = self.push_screen(HelpScreen(type(self.screen).__name__.lower(), bindings))

    def action_toggle_text(self) -> None:
        """Hide or show what streams say."""
        self.text_shown = not self.text_shown
        self._show()

    def action_reconnect(self) -> None:
        """Do not wait for the next try."""
        if self.feed is not None:
            self.feed.retry()

    def action_next_theme(self) -> None:
        """The next theme in the order of their names."""
        names = sorted(self.themes.themes)
        if names:
            at = names.index(self.theme) if self.theme in names else -1
            self.theme = names[(at + 1) % len(names)]
            self.notify(self.themes.themes[self.theme].title or self.theme, markup=False, timeout=2)

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
    import os

    from rbee_agent.client.queen import QueenClient
    from rbee_agent.settings.places import Places

    setup = Setup(
        url=url,
        first_prompt=first_prompt,
        read_only=read_only,
        owns_agents=owns_agents,
        theme=theme or os.environ.get("RBEE_THEME"),
        no_color="NO_COLOR" in os.environ,
        theme_folders=(Places.of_user().config / "themes",),
    )
    app = RbeeApp(QueenClient(url, token), setup)
    result = app.run()
    if result is None:
        # Textual closed without our leave: an error it has shown, or ctrl+c from outside.
        result = ExitCode(app.return_code or EXIT_FAILED)
    return result
