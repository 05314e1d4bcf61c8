"""Every key of the overview does what it says, on a queen who answers over real HTTP."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import web
from textual.widgets import Input

from rbee_agent.contracts.tasks import TaskInfo, TaskRequest, TaskState
from rbee_tui.panes.prompt_bar import PromptBar, PromptInput
from rbee_tui.panes.stream_wall import StreamPane, StreamWall
from rbee_tui.screens.help import HelpScreen, help_lines
from rbee_tui.screens.overview import Overview
from rbee_tui.verbs.tasks import AGAIN
from rbee_tui.verbs.verb import Target
from rbee_tui.widgets.dialog import Question
from rbee_tui.widgets.line import Line
from rbee_tui.widgets.live_table import LiveTable
from rbee_tui.widgets.picker import Picker
from rbee_tui.widgets.sheet import Sheet
from rbee_tui.widgets.tones import plain


def headline(live: Any) -> str:
    return plain(live.app.screen.query_one("#headline", Line).cell)


async def ask(live: Any, text: str) -> str:
    """Send a prompt from the keyboard and return its job id once its stream is seen."""
    await live.pilot.press("p", *text.replace(" ", "_"), "enter", "escape")
    known = len(live.app.view.streams.by_job)
    await live.until(lambda: len(live.app.view.streams.by_job) > known or known > 0)
    await live.until(lambda: live.app.view.streams.by_job)
    return next(reversed(live.app.view.streams.by_job))


async def test_a_prompt_becomes_a_stream_on_the_screen(open_center: Any) -> None:
    """p, a prompt, Enter: the task is sent and its tokens are seen."""
    async with open_center() as live:
        job = await ask(live, "hello")
        pane = live.app.screen.query(StreamPane).first()
        await live.until(lambda: "bees" in pane.text)

        (task,) = live.queen.submitted
        assert task.messages[0].text() == "hello"
        assert live.app.screen.query_one(PromptBar).model == task.model
        assert job == pane.job_id
        await live.until(lambda: "1 running" in headline(live))


async def test_tab_takes_another_model_and_the_past_comes_back(open_center: Any) -> None:
    """Tab changes the model, Up brings the prompt before."""
    async with open_center() as live:
        bar = live.app.screen.query_one(PromptBar)
        await live.pilot.press("i")
        before = bar.model
        await live.pilot.press("tab")
        assert before != bar.model
        await live.pilot.press("shift+tab")
        assert before == bar.model
        await live.pilot.press("a", "enter", "b", "enter", "up", "up")
        assert live.app.screen.query_one(PromptInput).value == "a"
        await live.pilot.press("down", "down")
        assert live.app.screen.query_one(PromptInput).value == ""


async def test_a_refused_prompt_is_not_lost(open_center: Any) -> None:
    """The queen refuses: a toast says why and the prompt is back in its field."""
    async with open_center() as live:
        live.queen.refuse = web.json_response(
            {"error": {"code": "MODEL_NOT_FOUND", "message": "no model \x1b[31mx"}}, status=404
        )
        await live.pilot.press("p", *"hey", "enter")
        field = live.app.screen.query_one(PromptInput)
        await live.until(lambda: field.value == "hey")
        await live.until(lambda: any(live.app._notifications))
        (toast,) = live.app._notifications

        assert toast.title.startswith("MODEL_NOT_FOUND")
        assert toast.message == "no model x"


async def test_cancel_asks_and_cancels(open_center: Any) -> None:
    """X shows the plan and the command; y cancels, n does not."""
    async with open_center() as live:
        job = await ask(live, "hello")
        await live.pilot.press("x")
        await live.until(lambda: isinstance(live.app.screen, Question))
        await live.pilot.press("n")
        assert live.queen.cancelled == []
        await live.pilot.press("x")
        await live.until(lambda: isinstance(live.app.screen, Question))
        await live.pilot.press("y")
        await live.until(lambda: live.queen.cancelled)

        assert [job] == live.queen.cancelled
        await live.until(lambda: live.app.view.streams.by_job[job].state == "cancelled")


async def test_stop_asks_and_stops_the_worker_under_the_cursor(open_center: Any) -> None:
    """S on a worker stops that worker, and it leaves the table when the queen says so."""
    async with open_center() as live:
        table = live.app.screen.query_one("#workers", LiveTable)
        table.focus()
        await live.pilot.press("down")
        worker = table.cursor.key
        await live.pilot.press("s")
        await live.until(lambda: isinstance(live.app.screen, Question))
        await live.pilot.press("y")
        await live.until(lambda: all(row.key != worker for row in table.rows))

        assert [worker] == live.queen.stopped


async def test_new_worker_starts_where_the_cursor_is(open_center: Any) -> None:
    """N on a worker's row asks where, shows the plan, and wishes for one more of its model."""
    async with open_center() as live:
        table = live.app.screen.query_one("#workers", LiveTable)
        table.focus()
        model = live.app.view.fleet.workers[table.cursor.key].model
        await live.pilot.press("n")
        await live.until(lambda: isinstance(live.app.screen, Picker))
        await live.pilot.press(*"laptop", "enter")
        await live.until(lambda: isinstance(live.app.screen, Question))
        await live.pilot.press("y")
        await live.until(lambda: live.queen.spawned)

        (wish,) = live.queen.spawned
        assert (model, "laptop", "cpu") == (wish["model"], wish["node_id"], wish["device"])


async def test_text_can_be_hidden(open_center: Any) -> None:
    """T shows what all streams say, hides all of it, and shows all of it again."""
    async with open_center() as live:
        await ask(live, "hello")
        pane = live.app.screen.query(StreamPane).first()
        await live.until(lambda: "bees" in pane.text)
        await live.pilot.press("t", "t")
        assert pane.text == ""
        await live.pilot.press("t")
        await live.until(lambda: pane.text.startswith("the bees"))


async def test_read_only_changes_nothing(open_center: Any) -> None:
    """On a wall display neither prompts nor verbs reach the queen, and text is hidden."""
    async with open_center(read_only=True) as live:
        await live.pilot.press("p", "x", "enter", "escape", "s", "n", "x")
        await live.pilot.pause()

        assert isinstance(live.app.screen, Overview)
        assert live.queen.submitted + live.queen.stopped + live.queen.spawned == []
        assert not live.app.text_shown
        assert "read-only" in headline(live)


async def test_a_lost_queen_is_said_and_found_again(open_center: Any) -> None:
    """When the feed breaks the headline says stale; it becomes live again by itself."""
    async with open_center() as live:
        states: list[str] = []
        publish = live.app.publish
        live.app.feed._publish = lambda view: (states.append(view.link.state), publish(view))
        live.queen.break_feeds()
        await live.until(lambda: "stale" in states)
        await live.pilot.press("ctrl+r")
        await live.until(lambda: live.app.view.link.live)


async def test_events_appear_and_are_followed(open_center: Any) -> None:
    """What the queen narrates is the last line of the events within a moment."""
    async with open_center() as live:
        live.queen.narrate("the night is warm")
        table = live.app.screen.query_one("#events", LiveTable)
        await live.until(lambda: plain(table.rows[-1].cells[3]) == "the night is warm")
        assert table.rows[-1] is table.cursor


async def test_help_has_every_key_of_the_screen(open_center: Any) -> None:
    """? lists every binding that works here, each with a sentence."""
    async with open_center() as live:
        bindings = list(live.app.screen.active_bindings.values())
        await live.pilot.press("question_mark")
        assert isinstance(live.app.screen, HelpScreen)
        lines = [plain(line) for line in help_lines(bindings)]
        for key, words in (("i p", "Send a prompt"), ("x", "Cancel"), ("q", "Leave")):
            assert any(line.strip().startswith(key) and words in line for line in lines)
        await live.pilot.press("escape")
        assert isinstance(live.app.screen, Overview)


async def test_every_binding_can_be_explained(open_center: Any) -> None:
    """Each of our bindings has an id and a sentence; ids are unique."""
    async with open_center() as live:
        await live.pilot.press("p")
        ids: dict[str, str] = {}
        for active in live.app.screen.active_bindings.values():
            binding = active.binding
            if type(active.node).__module__.startswith("rbee_tui") and binding.id:
                assert binding.tooltip, binding
                assert ids.setdefault(binding.id, binding.action) == binding.action


async def test_leaving_asks_only_where_something_would_be_lost(open_center: Any) -> None:
    """Agents of someone else run on without a question."""
    async with open_center() as live:
        await live.pilot.press("q")
        await live.until(lambda: live.app._exit)

        assert live.app.return_value == 0
        assert live.app.return_value.leave_agents


@pytest.mark.parametrize(("key", "leave"), [("s", False), ("l", True)])
async def test_leaving_says_what_becomes_of_own_agents(
    open_center: Any, key: str, leave: bool
) -> None:
    """Agents started for this session are stopped, or left where asked."""
    async with open_center(owns_agents=True) as live:
        await live.pilot.press("q")
        await live.until(lambda: isinstance(live.app.screen, Question))
        await live.pilot.press("escape")
        await live.until(lambda: isinstance(live.app.screen, Overview))
        await live.pilot.press("q")
        await live.until(lambda: isinstance(live.app.screen, Question))
        await live.pilot.press(key)
        await live.until(lambda: live.app._exit)

        assert leave is live.app.return_value.leave_agents


async def test_a_first_prompt_is_sent_when_it_opens(open_center: Any) -> None:
    """`make run` opens with a stream."""
    first = TaskRequest(model="qwen2.5-14b", prompt="hello")
    async with open_center(first_prompt=first) as live:
        await live.until(lambda: live.queen.submitted)
        assert live.queen.submitted[0].prompt == "hello"


async def test_a_running_stream_keeps_its_pane(open_center: Any) -> None:
    """When another stream ends, the panes of those that run do not move."""
    async with open_center(size=(200, 60)) as live:
        for name in ("one", "two", "three"):
            await live.app.link.submit(TaskRequest(model="qwen2.5-14b", prompt=name, task_id=name))
        panes = list(live.app.screen.query(StreamPane))
        await live.until(lambda: [p.job_id for p in panes[:3]] == ["one", "two", "three"])
        await live.app.link.cancel("one")
        await live.until(lambda: live.app.view.streams.by_job["one"].state == "cancelled")
        await live.pilot.pause()

        assert [p.job_id for p in panes[1:3]] == ["two", "three"]
        assert live.app.screen.query_one(StreamWall).focused_job is not None


async def test_typing_is_never_taken_for_a_verb(open_center: Any) -> None:
    """Letters and digits in the prompt are text, whatever they mean elsewhere."""
    async with open_center() as live:
        await live.pilot.press("p", *"qxsnt?:1")

        assert live.app.screen.query_one(Input).value == "qxsnt?:1"
        assert isinstance(live.app.screen, Overview)


async def test_only_own_streams_are_read_without_asking(open_center: Any) -> None:
    """What others ask and are told is hidden until t; what was sent from here is shown."""
    async with open_center(size=(200, 60)) as live:
        await ask(live, "mine")
        live.queen.begin(
            TaskInfo(job_id="theirs", state=TaskState.RUNNING, model="m", created_at=1.0)
        )
        await live.until(lambda: "theirs" in live.app.view.streams.by_job)
        await live.until(lambda: live.app.view.streams.by_job["theirs"].text)
        panes = {pane.job_id: pane for pane in live.app.screen.query(StreamPane)}
        mine = next(pane for job, pane in panes.items() if job not in ("theirs", None))
        await live.until(lambda: "bees" in mine.text)
        assert panes["theirs"].text == ""
        assert "hidden" in panes["theirs"].notice
        await live.pilot.press("t")
        await live.until(lambda: "bees" in panes["theirs"].text)


async def test_an_error_can_be_read_in_full(open_center: Any) -> None:
    """A toast goes by; ! tells it again, with its details."""
    async with open_center() as live:
        live.queen.refuse = web.json_response(
            {"error": {"code": "CONFLICT", "message": "it does not fit",
                       "details": {"needed": "9.1G", "free": "2.0G"}}}, status=409
        )  # fmt: skip
        await live.pilot.press("p", *"hey", "enter", "escape")
        await live.until(lambda: live.app.actions.errors)
        await live.pilot.press("exclamation_mark")
        await live.until(lambda: isinstance(live.app.screen, Sheet))
        text = "\n".join(plain(line) for line in live.app.screen._lines)

    assert "CONFLICT" in text
    assert "needed: 9.1G" in text


async def test_a_prompt_of_ours_is_sent_again(open_center: Any) -> None:
    """R on an ended task of ours sends the same again; a task of others is refused with the why."""
    async with open_center() as live:
        job = await ask(live, "again")
        await live.app.link.cancel(job)
        await live.until(lambda: live.app.view.fleet.tasks[job].state.final)
        await live.pilot.press("5", "r")
        await live.until(lambda: isinstance(live.app.screen, Question))
        await live.pilot.press("y")
        await live.until(lambda: len(live.queen.submitted) == 2)

        first, second = live.queen.submitted
        assert first.messages == second.messages
        theirs = Target(live.app.view, "task", "task-of-others")
        assert "nobody else" in (AGAIN.refuses(theirs) or "")


async def test_the_first_steps_of_a_new_fleet(open_center: Any, empty_snapshot: Any) -> None:
    """Just started and empty: pick a model, add a host, or look around; asked once."""
    async with open_center(just_started=True, snapshot=empty_snapshot) as live:
        await live.until(lambda: isinstance(live.app.screen, Question))
        await live.pilot.press("m")
        await live.until(lambda: isinstance(live.app.screen, Picker))
        await live.pilot.press("escape")
        await live.pilot.pause()
        assert isinstance(live.app.screen, Overview)
