"""``rbee demo``: everything at once, from nothing to a streamed answer; what ``make run`` runs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from rbee_agent.errors import EXIT_FAILED
from rbee_tui.cli import session as sessions
from rbee_tui.cli.output import Progress, emit, note

if TYPE_CHECKING:
    from rbee_agent.contracts.tasks import TaskRequest

MODEL = "smollm2-135m"
PROMPT = "Explain in a few sentences how honey bees find their way home."


def demo(
    ctx: typer.Context,
    model: Annotated[str, typer.Option("-m", "--model", help="Model to start.")] = MODEL,
    prompt: Annotated[str, typer.Option("-p", "--prompt", help="First prompt.")] = PROMPT,
    max_tokens: Annotated[int, typer.Option(min=1, help="Length of the answer.")] = 128,
    queen_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port of the queen.")
    ] = None,
    hive_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port of the hive.")
    ] = None,
) -> None:
    """Start queen, hive and a worker, ask a first prompt, and stop what was started.

    On a terminal the control center opens with the answer; else the answer is printed.

    $ rbee --no-tui demo --max-tokens 16
    """
    from rbee_tui.cli.agents import ports
    from rbee_tui.cli.infer import build_request

    session = sessions.of(ctx)
    request = build_request(
        model=model, prompt=prompt, max_tokens=max_tokens, temperature=0.0, seed=1
    )
    extra = ports(queen_port, hive_port)
    if session.screen is None:
        sessions.run(_headless(session, request, extra))
    else:
        _on_screen(session, session.screen, request, extra)


async def _headless(session: sessions.Session, request: TaskRequest, extra: dict[str, str]) -> None:
    from rbee_tui.cli.fleet import print_status
    from rbee_tui.cli.infer import stream_answer

    async with _Running(session, request.model, extra):
        await print_status(session, as_json=False)
        emit("")
        async with session.queen() as queen:
            answer = await stream_answer(queen, request)
        if answer.end is not None:
            note(f"{answer.end.tokens_out} tokens from {answer.worker_id}")


def _on_screen(
    session: sessions.Session,
    screen: sessions.Screen,
    request: TaskRequest,
    extra: dict[str, str],
) -> None:
    running = _Running(session, request.model, extra)
    sessions.run(running.start())
    end = sessions.ScreenEnd(EXIT_FAILED)
    try:
        address = session.address()
        end = screen(
            address.url,
            address.token,
            first_prompt=request,
            owns_agents=bool(running.started),
            theme=session.theme,
        )
    finally:
        if not end.leave_agents:
            sessions.run(running.stop())
    raise SystemExit(end.code)


class _Running:
    """Queen, hive and worker for the length of a demo; what ran before is left running."""

    def __init__(self, session: sessions.Session, model: str, extra: dict[str, str]) -> None:
        self._session = session
        self._model = model
        self._extra = extra
        self._wishes: list[str] = []
        self.started: list[str] = []

    async def __aenter__(self) -> None:
        await self.start()

    async def __aexit__(self, *_: object) -> None:
        await asyncio.shield(self.stop())

    async def start(self) -> None:
        """Start what does not run; stops it again where that fails or is interrupted."""
        from rbee_tui.cli.agents import get_worker, start_agents

        progress = Progress()
        try:
            _, _, self.started = await start_agents(self._session, self._extra, progress)
            async with self._session.queen() as queen:
                await get_worker(queen, self._model, progress, on_wish=self._wishes.append)
        except BaseException:
            progress.clear()
            await asyncio.shield(self.stop())
            raise
        progress.clear()

    async def stop(self) -> None:
        """Withdraw the wish that was made here, then stop the daemons that were started here."""
        from rbee_agent.errors import RbeeError
        from rbee_tui.cli.agents import stop_agents

        while self._wishes:
            async with self._session.queen() as queen:
                try:
                    await queen.stop_worker(self._wishes.pop(), timeout=20.0)
                except RbeeError as error:
                    note(f"rbee: {error.message}")
        if "queen" in self.started or "hive" in self.started:
            await stop_agents(self._session)
