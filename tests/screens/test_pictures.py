"""How every screen and dialog looks, on fixed data and clock."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from textual.pilot import Pilot

from rbee_agent.errors import RbeeError
from rbee_tui.panes.why import why_task
from rbee_tui.screens.log import LogScreen
from rbee_tui.screens.names import SCREENS
from rbee_tui.screens.steps import StepsScreen
from rbee_tui.state.view import View
from rbee_tui.tour.picture import picture_app
from rbee_tui.verbs.policy import DROP
from rbee_tui.verbs.verb import Target

Compare = Callable[..., bool]
KEYS = {name: one.key for name, one in SCREENS.items() if name != "overview"}
TABLES = ["hosts", "workers", "tasks", "models", "events", "sessions"]

EXPLAINED: dict[str, Any] = {
    "text": "task-j3vn waits for llama-3.1-8b; nobody is in front of it. Reason: no free slot.\n"
    "Workers of the model looked at (2 of 2):\n  and so on",
    "decision": {
        "workers_of_the_model": 2,
        "candidates": [
            {"worker_id": "w-2m9c", "node_id": "atelier", "slots": 4, "busy": 1, "chosen": True,
             "score": 0.41, "parts": {"busy": 0.25, "memory": 0.2, "warm": -0.04}},
            {"worker_id": "w-x04d", "node_id": "cellar", "slots": 4, "busy": 0, "chosen": False,
             "filter": "ready", "reason": "it is loading: 62%"},
        ],
    },
}  # fmt: skip
SAYS = """import sys
print({"doctor": "✔ Python 3.11\\n▲ no C compiler: apt install gcc",
       "install": "gpu-1: building an environment\\ngpu-1: installing packages"}[sys.argv[2]])"""
"""Stands in for a command that looks at a host."""


def size_id(size: tuple[int, int]) -> str:
    """A size as it is written."""
    return f"{size[0]}x{size[1]}"


@pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=size_id)
@pytest.mark.parametrize("name", KEYS)
def test_a_screen(
    snap_compare: Compare, view: View, press: Any, name: str, size: tuple[int, int]
) -> None:
    """Each screen with the demo fleet."""
    assert snap_compare(picture_app(view), terminal_size=size, run_before=press(KEYS[name]))


@pytest.mark.parametrize("size", [(200, 60), (50, 18)], ids=size_id)
@pytest.mark.parametrize("name", ["hosts", "workers", "streams", "tasks"])
def test_a_main_screen_in_large_and_small(
    snap_compare: Compare, view: View, press: Any, name: str, size: tuple[int, int]
) -> None:
    """Half a screen of a laptop, and a wall."""
    assert snap_compare(picture_app(view), terminal_size=size, run_before=press(KEYS[name]))


@pytest.mark.parametrize("name", [*TABLES, "streams", "chat"])
def test_a_screen_without_anything(
    snap_compare: Compare, empty_view: View, press: Any, name: str
) -> None:
    """An empty fleet: each screen says how something comes into it."""
    assert snap_compare(picture_app(empty_view), run_before=press(KEYS[name]))


@pytest.mark.parametrize("name", ["hosts", "workers", "tasks"])
def test_a_screen_of_old_data(
    snap_compare: Compare, stale_view: View, press: Any, name: str
) -> None:
    """The queen is lost: what is shown is drawn as old."""
    assert snap_compare(picture_app(stale_view), run_before=press(KEYS[name]))


def test_a_screen_before_the_first_word(
    snap_compare: Compare, connecting_view: View, press: Any
) -> None:
    """Nothing came yet: that is not the same as an empty fleet."""
    assert snap_compare(picture_app(connecting_view), run_before=press(KEYS["workers"]))


@pytest.mark.parametrize("theme", ["rbee-light", "rbee-mono"])
@pytest.mark.parametrize("name", ["hosts", "tasks", "policy"])
def test_a_screen_in_other_themes(
    snap_compare: Compare, view: View, press: Any, name: str, theme: str
) -> None:
    """Where colours carry most, in light and without colour."""
    app = picture_app(view, theme=theme)
    assert snap_compare(app, terminal_size=(100, 30), run_before=press(KEYS[name]))


@pytest.mark.parametrize(
    ("name", "keys"),
    {
        "where-to-spawn": ["n"],
        "plan-to-spawn": ["n", *"cuda:0", "enter"],
        "plan-to-stop": ["s"],
        "where-to-move": ["down", "down", "m"],
        "why-a-worker": ["w"],
        "filter": ["slash", *"llama"],
        "sorted": ["right", "right", "R"],
        "command": ["colon", *"stop w"],
        "palette": ["ctrl+p"],
        "help": ["question_mark"],
        "no-details": ["enter"],
    }.items(),
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_on_the_workers_screen(
    snap_compare: Compare, acting: Any, press: Any, name: str, keys: list[str]
) -> None:
    """What opens over a table."""
    assert snap_compare(acting(), run_before=press(KEYS["workers"], *keys))


@pytest.mark.parametrize(
    ("name", "keys"),
    {
        "type-the-name": ["6", "D"],
        "where-to-pull": ["6", "P"],
        "plan-to-drain": ["2", "d"],
        "add-a-host": ["2", "a", *"ada@"],
        "plan-to-add-a-host": ["2", "a", *"gpu-1", "enter"],
        "why-a-host": ["2", "down", "down", "w"],
        "one-stream": ["4", "f"],
        "held": ["4", "space"],
        "cancel": ["5", "x"],
        "model-to-start": ["tab", "tab", "n"],
        "edit-the-policy": ["0", "e", *"# mine"],
    }.items(),
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_dialog(
    snap_compare: Compare, acting: Any, press: Any, name: str, keys: list[str]
) -> None:
    """What opens elsewhere."""
    assert snap_compare(acting(), run_before=press(*keys))


@pytest.mark.parametrize("size", [(80, 24), (50, 18)], ids=size_id)
def test_welcome(
    snap_compare: Compare, connecting_view: View, press: Any, size: tuple[int, int]
) -> None:
    """Nobody answers on a machine where a queen could be started."""
    app = picture_app(connecting_view)

    async def welcome(pilot: Pilot[Any]) -> None:
        app.actions.first_run()
        await press()(pilot)

    assert snap_compare(app, terminal_size=size, run_before=welcome)


@pytest.mark.parametrize("what", ["why-a-task", "error", "leave", "log", "install"])
def test_what_is_told(snap_compare: Compare, view: View, press: Any, what: str) -> None:
    """Explanations, logs, errors and the last question."""
    app = picture_app(view)

    async def tell(pilot: Pilot[Any]) -> None:
        await told[what]()
        await press()(pilot)

    async def why() -> None:
        app.actions.show("why: task-j3vn", why_task(EXPLAINED))

    async def log() -> None:
        async def ask() -> list[str]:
            return [f"line {at} of many" for at in range(40)]

        app.push_screen(LogScreen("log of w-7f3k", ask))

    async def install() -> None:
        steps = [["hive", "doctor", "gpu-1"], ["hive", "install", "gpu-1"]]
        screen = StepsScreen(
            "install gpu-1", (sys.executable, "-c", SAYS), steps, then="Esc goes back"
        )
        app.push_screen(screen)
        await app.workers.wait_for_complete()

    async def error() -> None:
        app.actions.report(
            RbeeError(
                "llama-3.1-8b does not fit on cellar: it takes 11.0G, 9.8G are free",
                code="INSUFFICIENT_RESOURCES",
            )
        )

    async def leave() -> None:
        app.setup = app.setup.__class__(owns_agents=True, now=app.setup.now, live=False)
        app.action_ask_to_quit()

    told: dict[str, Callable[[], Awaitable[None]]] = {
        "why-a-task": why, "log": log, "error": error, "leave": leave, "install": install,
    }  # fmt: skip
    assert snap_compare(app, run_before=tell)


def test_dropping_the_policy_asks_for_its_name(
    snap_compare: Compare, acting: Any, view: View, press: Any
) -> None:
    """What is erased is typed."""
    app = acting()

    async def drop(pilot: Pilot[Any]) -> None:
        app.actions.perform(DROP, Target(view, "policy", "mine.star"))
        await press()(pilot)

    assert snap_compare(app, run_before=drop)
