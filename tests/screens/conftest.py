"""Fixed views, and a queen on paper who answers over real HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from rbee_agent.client.queen import QueenClient
from rbee_agent.contracts.events import FleetSnapshot
from rbee_agent.contracts.explain import Explanation
from rbee_agent.contracts.models import VerifyReport
from rbee_agent.contracts.policy import PolicyInForce
from rbee_agent.contracts.sessions import SessionInfo
from rbee_agent.testing.paper_queen import PaperQueen
from rbee_tui.app import RbeeApp
from rbee_tui.feed.demo import NOW, URL, demo_messages
from rbee_tui.setup import ExitCode, Setup
from rbee_tui.state.fleet import Fleet
from rbee_tui.state.link import Link, LinkState
from rbee_tui.state.streams import Streams
from rbee_tui.state.view import View
from rbee_tui.tour.picture import demo_view


@pytest.fixture
def view() -> View:
    """The demo fleet."""
    return demo_view()


@pytest.fixture
def empty_view(view: View) -> View:
    """A queen that has just begun: no host, no worker, no task."""
    queen = view.fleet.queen
    return replace(view, fleet=Fleet(queen=queen), streams=Streams())


@pytest.fixture
def stale_view(view: View) -> View:
    """The demo fleet twelve seconds after the queen was lost."""
    link = Link(
        LinkState.STALE, URL, since=NOW, retry_at=NOW + 14, attempts=4, problem="no queen answers"
    )
    return replace(view, link=link, now=NOW + 12)


@pytest.fixture
def connecting_view() -> View:
    """Nobody has answered yet."""
    link = Link(LinkState.CONNECTING, URL, since=NOW - 3, retry_at=NOW + 1, attempts=2,
                problem="no queen answers")  # fmt: skip
    return View(link=link, now=NOW)


Press = Callable[..., Callable[[Pilot[ExitCode]], Awaitable[None]]]


@pytest.fixture
def press() -> Press:
    """Makes a `run_before` that presses keys and stops what blinks."""

    def make(*keys: str) -> Callable[[Pilot[ExitCode]], Awaitable[None]]:
        async def run_before(pilot: Pilot[ExitCode]) -> None:
            await pilot.press(*keys)
            await pilot.pause()
            for field in pilot.app.screen.query(Input):
                field.cursor_blink = False
            await pilot.pause()

        return run_before

    return make


@dataclass
class Live:
    """A control center that runs on a queen on paper."""

    app: RbeeApp
    pilot: Pilot[ExitCode]
    queen: PaperQueen

    async def until(self, wanted: Callable[[], bool], *, tries: int = 400) -> None:
        """Wait until something is so; the app goes on meanwhile."""
        for _ in range(tries):
            if wanted():
                return
            await self.pilot.pause(0.02)
        raise AssertionError("it did not come so")


Open = Callable[..., AbstractAsyncContextManager[Live]]


@pytest.fixture
def empty_snapshot() -> FleetSnapshot:
    """A queen with hosts and models, on whom nothing runs."""
    snapshot = FleetSnapshot.read_json(demo_messages()[0].data)
    return snapshot.model_copy(update={"workers": [], "tasks": [], "deployments": []})


@pytest.fixture
def open_center() -> Open:
    """Opens the control center on a queen on paper, over real HTTP."""

    @asynccontextmanager
    async def opened(
        *, size: tuple[int, int] = (120, 40), link: bool = True,
        snapshot: FleetSnapshot | None = None, **setup: object,
    ) -> AsyncIterator[Live]:  # fmt: skip
        snapshot = snapshot or FleetSnapshot.read_json(demo_messages()[0].data)
        queen = PaperQueen(snapshot.model_copy(update={"tasks": []}))
        async with queen.serve(), QueenClient(queen.url) as client:
            app = RbeeApp(client, Setup(url=queen.url, **setup))  # type: ignore[arg-type]
            app.animation_level = "none"
            async with app.run_test(size=size) as pilot:
                live = Live(app, pilot, queen)
                if link:
                    await live.until(lambda: app.view.link.live)
                yield live

    return opened


class _Silent:
    """As much of a queen as a screen asks for before anything is done."""

    def __init__(self, view: View) -> None:
        self.view = view

    async def policy(self) -> PolicyInForce:
        """The built-in one decides."""
        return PolicyInForce(strategy="affinity")

    async def session(self, session_id: str) -> SessionInfo:
        """Warm, with two minutes left."""
        return SessionInfo(
            session_id=session_id, ttl_ms=120_000, turns=3, kv_warmth=1.0, worker_id="w-7f3k",
            tokens_used=512,
        )  # fmt: skip

    async def worker_logs(self, worker_id: str, *, lines: int | None = None) -> list[str]:
        """One line."""
        return [f"{worker_id} says hello"]

    async def explain(self, job_id: str) -> Explanation:
        """Nothing decided."""
        return Explanation(task=self.view.fleet.tasks[job_id], text=f"{job_id} waits.")

    async def verify_model(self, model_id: str) -> VerifyReport:
        """All well."""
        return VerifyReport(model=model_id)


@pytest.fixture
def acting(view: View, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], RbeeApp]:
    """Makes an app on the demo fleet whose verbs get as far as their plan."""
    ssh = tmp_path / "home" / ".ssh"
    ssh.mkdir(parents=True)
    (ssh / "config").write_text("Host gpu-1 gpu-2\n  User ada\nHost *.lab\n", "utf-8")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))

    def make() -> RbeeApp:
        setup = Setup(url=URL, now=lambda: view.now, zone=view.zone, live=False, view=view)
        app = RbeeApp(_Silent(view), setup)  # type: ignore[arg-type]
        app.animation_level = "none"
        return app

    return make
