"""Acting on the fleet: ask, show the plan, do it, and say what came of it.

Nothing here changes what is shown: the truth comes back as an event.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from rbee_agent.contracts.tasks import Message, TaskRequest
from rbee_agent.errors import RbeeError
from rbee_tui.feed.source import QueenLink
from rbee_tui.panes.models import hosts_of
from rbee_tui.panes.prompt_bar import offered
from rbee_tui.panes.why import (
    why_event,
    why_model,
    why_node,
    why_policy,
    why_session,
    why_task,
    why_worker,
)
from rbee_tui.screens.add_host import add_host
from rbee_tui.screens.add_model import FORMS, add_model, model_typed
from rbee_tui.screens.log import LogScreen
from rbee_tui.state.clean import clean
from rbee_tui.state.units import millis, size
from rbee_tui.state.view import View
from rbee_tui.verbs.registry import SPAWN
from rbee_tui.verbs.verb import Danger, Target, Verb
from rbee_tui.widgets.dialog import Answer, Question
from rbee_tui.widgets.picker import Option, Picker
from rbee_tui.widgets.sheet import Sheet
from rbee_tui.widgets.tones import Cell

if TYPE_CHECKING:
    from rbee_tui.app import RbeeApp

PROMPT_MAX_TOKENS: Final = 512
MOVE_TIMEOUT_S: Final = 600.0
"""How long a verb waits for the fleet to follow: as long as a large model may load."""
LOG_LINES: Final = 200
SENT_KEPT: Final = 200
ERRORS_KEPT: Final = 50


class Actions:
    """What the operator asks for, one worker of the app each."""

    def __init__(self, app: RbeeApp, link: QueenLink | None) -> None:
        self._app = app
        self._link = link
        self._watchers: set[asyncio.Event] = set()
        self.sent: dict[str, TaskRequest] = {}
        """What was sent from here, by task: its text is ours to see, and to send again."""
        self.errors: deque[tuple[float, RbeeError]] = deque(maxlen=ERRORS_KEPT)
        """Newest last, with our time of each."""

    def fleet_changed(self) -> None:
        """A new view is there: verbs that wait for one look again."""
        for event in self._watchers:
            event.set()

    def do(self, work: Coroutine[Any, Any, None]) -> None:
        """Run it beside the screen; what the queen refuses is told."""
        self._start(work)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run as a worker of the app: an error of the queen is told, a bug of ours ends the app."""
        self._app.run_worker(self._told(work), group="actions")

    async def _told(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except RbeeError as error:
            self.report(error)

    def _may_act(self) -> QueenLink | None:
        """The link to act through; None, and said so, where acting is not allowed."""
        if self._app.read_only:
            self.say("This control center is read-only.", severe=True)
            return None
        return self._link

    def say(self, text: str, *, severe: bool = False) -> None:
        """A short line that goes by itself."""
        severity = "warning" if severe else "information"
        self._app.notify(clean(text), severity=severity, markup=False)  # type: ignore[arg-type]

    def report(self, error: RbeeError) -> None:
        """An error as a toast: what happened, and its code to look it up by."""
        self.errors.append((self._app.setup.now(), error))
        again = " (may work later)" if error.retriable else ""
        self._app.notify(
            clean(error.message),
            title=f"{error.code}{again} · ! tells more",
            severity="error",
            timeout=10,
            markup=False,
        )

    def prompt(self, model: str, text: str, *, on_refused: Callable[[], None]) -> None:
        """Send one prompt as a chat of one turn."""
        if (link := self._may_act()) is None:
            return
        message = Message(role="user", content=text)
        request = TaskRequest(
            model=model, messages=[message], workload="chat", max_tokens=PROMPT_MAX_TOKENS
        )
        self._start(self._submit(link, request, on_refused))

    def submit(self, request: TaskRequest) -> None:
        """Send a task as it is."""
        if (link := self._may_act()) is not None:
            self._start(self._submit(link, request, lambda: None))

    async def _submit(
        self, link: QueenLink, request: TaskRequest, on_refused: Callable[[], None]
    ) -> None:
        try:
            accepted = await link.submit(request)
        except RbeeError:
            on_refused()
            raise
        self.remember(accepted.job_id, request)
        if accepted.queue_position:
            self.say(f"{accepted.job_id} waits at {accepted.queue_position}")

    def remember(self, job_id: str, request: TaskRequest) -> None:
        """Keep what was sent; the oldest of many is forgotten."""
        self.sent[job_id] = request
        while len(self.sent) > SENT_KEPT:
            del self.sent[next(iter(self.sent))]

    def perform(self, verb: Verb, target: Target) -> None:
        """Ask what the verb needs to know, show what it would do, and do it."""
        if (link := self._may_act()) is None:
            return
        target = replace(target, sent=self.sent, remember=self.remember)
        reason = verb.refuses(target)
        if reason is not None:
            self.say(reason, severe=True)
            return
        self._start(self._perform(link, verb, target))

    def spawn_any(self, models: Sequence[str]) -> None:
        """Start a worker of a model that is asked for."""
        if self._may_act() is not None:
            self._start(self._spawn_any(models))

    async def _spawn_any(self, models: Sequence[str]) -> None:
        view = self._app.view
        options = [_model_option(view, name) for name in models]
        picked = await self._app.push_screen_wait(
            Picker("a worker of which model?", options, placeholder=FORMS, typed=model_typed)
        )
        if picked is not None:
            self.perform(SPAWN, Target(self._app.view, "model", picked))

    def add_model(self) -> None:
        """Have a model fetched that the catalog need not know."""
        if self._may_act() is not None:
            self._start(add_model(self._app))

    async def _perform(self, link: QueenLink, verb: Verb, target: Target) -> None:
        if verb.ask is not None and verb.ask.argument not in target.arguments:
            choices = verb.ask.choices(target)
            if not choices:
                self.say(f"there is no place to {verb.title} to", severe=True)
                return
            options = [Option(c.value, c.name, c.help) for c in choices]
            title = f"{verb.title} {verb.about(target)}: {verb.ask.title}"
            picked = await self._app.push_screen_wait(Picker(title, options))
            if picked is None:
                return
            target = target.having(verb.ask.argument, picked)
        if verb.danger is not Danger.NONE and not await self._confirmed(verb, target):
            return
        target = replace(target, until=self._until)
        self.say(await verb.run(link, target))

    async def _confirmed(self, verb: Verb, target: Target) -> bool:
        """Show the plan and the equal command; whether it is to be done."""
        lines: list[Cell] = [*verb.plan(target)]
        command = verb.command(target)
        if command is not None:
            lines += [" ", ((f"$ {self._app.setup.typed(command)}", "muted"),)]
        harmful = verb.danger in (Danger.DESTROYS, Danger.ERASES)
        question = Question(
            f"{verb.title} {verb.about(target)}?",
            lines,
            (
                Answer("do", verb.title, "y", danger=harmful),
                Answer("keep", "do nothing", "n"),
            ),
            type_this=target.id if verb.danger is Danger.ERASES else None,
        )
        return await self._app.push_screen_wait(question) == "do"

    async def _until(self, wanted: Callable[[View], bool]) -> View:
        """Wait for a view in which something is so.

        Raises:
            RbeeError: it did not come so in time.
        """
        changed = asyncio.Event()
        self._watchers.add(changed)
        try:
            async with asyncio.timeout(MOVE_TIMEOUT_S):
                while not wanted(self._app.view):
                    changed.clear()
                    await changed.wait()
        except TimeoutError:
            raise RbeeError("it did not come so in time", code="DEADLINE_EXCEEDED") from None
        finally:
            self._watchers.discard(changed)
        return self._app.view

    def first_run(self) -> None:
        """Nobody answers: start a queen here, add a host, or wait."""
        self._start(self._first_run())

    async def _first_run(self) -> None:
        link = self._app.view.link
        answer = await self._app.push_screen_wait(
            Question(
                "welcome to rbee",
                [
                    f"No queen answers at {link.url} yet.",
                    " ",
                    (
                        "She is the one who gives work to your machines. Starting her here also "
                        "starts a hive, which serves models on this machine; both go on when "
                        "you leave."
                    ),
                    (("Is yours elsewhere? rbee --queen URL", "muted"),),
                    " ",
                    (("$ rbee up", "muted"),),
                ],
                (Answer("start", "start here", "s"), Answer("wait", "wait for her", "w")),
            )
        )
        if answer == "start":
            self._app.start_here()

    def first_steps(self) -> None:
        """The queen was just started: pick a model, add a host, or look around."""
        self._start(self._first_steps())

    async def _first_steps(self) -> None:
        nodes = ", ".join(self._app.view.fleet.nodes)
        answer = await self._app.push_screen_wait(
            Question(
                "the queen is here",
                [
                    f"She has one host: {nodes}. No model is loaded yet.",
                    " ",
                    "Pick a model: a worker of it starts, and p sends it a prompt.",
                    "Add a host: another machine that you reach over SSH.",
                    (
                        (
                            "Both are possible at any time: n on workers (3), a on hosts (2).",
                            "muted",
                        ),
                    ),
                ],
                (
                    Answer("model", "pick a model", "m"),
                    Answer("host", "add a host", "a"),
                    Answer("look", "look around", "l"),
                ),
            )
        )
        if answer == "model":
            self.spawn_any(offered(self._app.view))
        elif answer == "host":
            self.add_host()

    def add_host(self) -> None:
        """Add a host over SSH: whom, then the command has the terminal for its questions."""
        if self._may_act() is not None:
            self._start(add_host(self._app, self.say))

    def why(self, noun: str, id: str) -> None:
        """Say why something is as it is."""
        view = self._app.view
        if noun in ("task", "stream"):
            if self._link is not None:
                self._start(self._explain(self._link, id))
            return
        answers = {"worker": why_worker, "node": why_node, "model": why_model,
                   "session": why_session, "policy": why_policy, "event": why_event}  # fmt: skip
        answer = answers.get(noun)
        if answer is None:
            self.say(f"there is no why of a {noun}", severe=True)
        else:
            self.show(f"why: {id}", answer(view, id))

    async def _explain(self, link: QueenLink, job_id: str) -> None:
        self.show(f"why: {job_id}", why_task((await link.explain(job_id)).dump()))

    def logs(self, worker_id: str) -> None:
        """Show a worker's log, and what comes to it."""
        if (link := self._link) is None:
            return

        async def ask() -> list[str]:
            return [clean(line) for line in await link.worker_logs(worker_id, lines=LOG_LINES)]

        _ = self._app.push_screen(LogScreen(f"log of {worker_id}", ask))

    def show_errors(self) -> None:
        """What went wrong lately, newest first, with all that is known of it."""
        clock = self._app.view.clock
        lines = [line for at, one in reversed(self.errors) for line in told_error(clock(at), one)]
        problem = self._app.view.link.problem
        if problem is not None and not self._app.view.link.live:
            lines = [(("the queen: ", "muted"), (clean(problem), "bad")), " ", *lines]
        self.show("what went wrong", lines or ["nothing went wrong since this center opened"])

    def show(self, title: str, lines: list[Cell]) -> None:
        """Lines over the screen."""
        _ = self._app.push_screen(Sheet(title, lines))


def _model_option(view: View, name: str) -> Option:
    """A model to choose, with what helps to choose it."""
    model = view.fleet.models.get(name)
    hosts = hosts_of(view.fleet, name)
    where = f"on {', '.join(hosts)}" if hosts else "is fetched first"
    about = f", {model.description}" if model is not None and model.description else ""
    return Option(name, name, f"{size(model.size if model else None)}, {where}{about}")


def told_error(at: str, error: RbeeError) -> list[Cell]:
    """An error in full: when, which, what, and the details that came with it."""
    lines: list[Cell] = [
        ((f"{at} ", "muted"), (f"✖ {error.code}", "bad")),
        f"  {clean(error.message)}",
    ]
    if error.retriable:
        wait = "" if error.retry_after_ms is None else f", in {millis(error.retry_after_ms)}"
        lines.append(((f"  The same may work later{wait}.", "muted"),))
    for name, value in (error.details or {}).items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        lines.append(((f"  {clean(name)}: ", "muted"), (clean(text), "")))
    return [*lines, " "]
