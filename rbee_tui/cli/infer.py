"""``rbee infer``: tokens to stdout as they come, everything else to stderr."""

from __future__ import annotations

import sys
from contextlib import aclosing
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rbee_agent.contracts.ids import new_id
from rbee_agent.errors import RbeeError, Refused
from rbee_tui.cli import session as sessions
from rbee_tui.cli.options import Json
from rbee_tui.cli.output import Progress, emit_json, note
from rbee_tui.state.clean import clean

if TYPE_CHECKING:
    from rbee_agent.client import Answer, QueenClient
    from rbee_agent.contracts.tasks import TaskRequest
    from rbee_agent.wire.sse import ServerEvent


def infer(
    ctx: typer.Context,
    model: Annotated[str, typer.Option("-m", "--model", help="Alias or reference of the model.")],
    prompt: Annotated[str, typer.Option("-p", "--prompt", help="The prompt; - reads stdin.")],
    worker: Annotated[
        str | None, typer.Option(help="Run on this worker: its id, or host:port.")
    ] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Stop after so many.")] = None,
    temperature: Annotated[
        float | None, typer.Option(min=0.0, max=2.0, help="0: always the likeliest token.")
    ] = None,
    top_p: Annotated[float | None, typer.Option(help="Nucleus sampling.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="The same seed, the same text.")] = None,
    stop: Annotated[list[str] | None, typer.Option(help="End before this text (up to 4).")] = None,
    system: Annotated[str | None, typer.Option(help="System message before the prompt.")] = None,
    raw: Annotated[
        bool, typer.Option("--raw/--chat", help="The bare prompt, without the chat template.")
    ] = False,
    session_id: Annotated[
        str | None, typer.Option("--session", help="Session that the task belongs to.")
    ] = None,
    batch: Annotated[bool, typer.Option("--batch", help="Let interactive work go first.")] = False,
    timeout: Annotated[
        float | None, typer.Option(metavar="S", help="Give up after so many seconds.")
    ] = None,
    json: Json = False,
) -> None:
    """Have a model answer a prompt. Ctrl-C cancels the task on the queen, then exits 130.

    $ rbee infer -m smollm2-135m -p "Name three colours." --max-tokens 32 --temperature 0 --seed 1
    $ echo "Say hello." | rbee infer -m smollm2-135m -p - --max-tokens 8 --json
    """
    session = sessions.of(ctx)
    request = build_request(
        model=model,
        prompt=sys.stdin.read() if prompt == "-" else prompt,
        system=system,
        raw=raw,
        max_tokens=max_tokens,
        temperature=temperature,
        top_p=top_p,
        seed=seed,
        stop=stop or [],
        session_id=session_id,
        priority="batch" if batch else None,
    )
    sessions.run(_infer(session, request, worker, timeout=timeout, as_json=json))


def build_request(
    *, model: str, prompt: str, system: str | None = None, raw: bool = False, **fields: Any
) -> TaskRequest:
    """The task for a prompt: chat messages, or with `raw` the bare text.

    Raises:
        InvalidParams: a value is out of its range.
    """
    from pydantic import ValidationError

    from rbee_agent.contracts.tasks import TaskRequest
    from rbee_agent.wire.violations import invalid_params

    if raw and system is not None:
        raise Refused("--system needs the chat template; leave --raw out")
    if raw:
        body: dict[str, Any] = {"prompt": prompt}
    else:
        turns = [{"role": "system", "content": system}] if system is not None else []
        turns.append({"role": "user", "content": prompt})
        body = {"messages": turns, "workload": "chat"}
    given = {name: value for name, value in fields.items() if value not in (None, [])}
    try:
        return TaskRequest.model_validate(
            {"model": model, "task_id": new_id("task"), **body, **given}
        )
    except ValidationError as error:
        raise invalid_params(error) from None


async def _infer(
    session: sessions.Session,
    request: TaskRequest,
    worker: str | None,
    *,
    timeout: float | None,
    as_json: bool,
) -> None:
    async with session.queen() as queen:
        if worker is not None:
            request = await _pinned(queen, request, worker)
        try:
            answer = await stream_answer(queen, request, timeout=timeout, show=not as_json)
        except RbeeError as error:
            if error.code == "MODEL_NOT_FOUND":
                raise await explain_missing(queen, request.model, error) from error
            raise
    if as_json:
        emit_json(answer_document(answer))


async def stream_answer(
    queen: QueenClient, request: TaskRequest, *, timeout: float | None = None, show: bool = True
) -> Answer:
    """Run a task and, with `show`, print its text as it comes.

    Raises:
        RbeeError: it was refused, or ended with an error; what had come was printed.
    """
    from rbee_agent.client.frames import Answer

    answer = Answer(job_id=request.task_id or "", model=request.model)
    progress = Progress()
    writer = _Writer()
    stream = queen.stream(
        request,
        verbose=True,
        timeout=timeout,
        on_break=lambda error: progress.update(f"{error.message}; trying again"),
    )
    try:
        async with aclosing(stream) as events:
            async for event in events:
                before = len(answer.text)
                answer.take(event)
                if len(answer.text) > before:
                    progress.clear()
                    if show:
                        writer.write(answer.text[before:])
                else:
                    _narrate(event, progress)
    finally:
        progress.clear()
        if show:
            writer.finish()
    return answer


class _Writer:
    """Tokens to stdout: as they are to a file, cleaned to a terminal; each flushed at once."""

    def __init__(self) -> None:
        self._terminal = sys.stdout.isatty()
        self._last = "\n"

    def write(self, text: str) -> None:
        """Print a piece of the answer."""
        sys.stdout.write(clean(text, lines=True) if self._terminal else text)
        sys.stdout.flush()
        self._last = text[-1:]

    def finish(self) -> None:
        """End the last line."""
        if self._last != "\n":
            sys.stdout.write("\n")
            sys.stdout.flush()
            self._last = "\n"


def _narrate(event: ServerEvent, progress: Progress) -> None:
    """What happens before the first token; on a terminal only."""
    import json

    if event.event == "queued":
        data = json.loads(event.data)
        reason = data.get("reason")
        progress.update(
            f"waiting, place {data.get('queue_position', '?')}" + (f": {reason}" if reason else "")
        )
    elif event.event == "narration":
        progress.update(str(json.loads(event.data).get("text", "")))


def answer_document(answer: Answer) -> dict[str, Any]:
    """The one JSON document of ``rbee infer --json``."""
    end = answer.end
    document: dict[str, Any] = {
        "job_id": answer.job_id,
        "model": answer.model,
        "worker_id": answer.worker_id,
        "text": answer.text,
    }
    if answer.reasoning:
        document["reasoning"] = answer.reasoning
    if answer.tool_calls:
        document["tool_calls"] = [asdict(call) for call in answer.tool_calls]
    if end is not None:
        document["usage"] = {
            "tokens_in": end.tokens_in,
            "tokens_out": end.tokens_out,
            "tokens_cached": end.tokens_cached,
        }
        document["timings"] = {
            "first_token_ms": end.first_token_ms,
            "prefill_time_ms": end.prefill_time_ms,
            "decode_time_ms": end.decode_time_ms,
        }
        document["finish_reason"] = end.finish_reason
        document["resumed"] = end.resumed
    return document


async def _pinned(queen: QueenClient, request: TaskRequest, worker: str) -> TaskRequest:
    """The request pinned to a worker that was named by id or, as the original has it, host:port.

    Raises:
        NotFound: no such worker; the error names those there are.
    """
    from rbee_agent.contracts.tasks import PlacementWish
    from rbee_agent.errors import NotFound

    workers = await queen.workers()
    found = next(
        (w.id for w in workers if w.id == worker or (w.url or "").endswith(f"//{worker}")), None
    )
    if found is None:
        there = ", ".join(w.id for w in workers) or "none"
        raise NotFound(f"no worker {worker}; there are: {there}")
    note(f"on worker {found}") if found != worker else None
    return request.model_copy(update={"placement": PlacementWish(mode="pin", worker_id=found)})


async def explain_missing(queen: QueenClient, model: str, error: RbeeError) -> RbeeError:
    """The error with the nearest names of the catalog and how to get a model."""
    import difflib

    from rbee_agent.errors import NotFound

    try:
        names = [m.id for m in await queen.models()]
    except RbeeError:
        return error
    near = difflib.get_close_matches(model, names, n=3, cutoff=0.3) or names[:3]
    hints = []
    if near and not any(name in error.message for name in near):
        hints.append(f"nearest: {', '.join(near)}")
    if "model pull" not in error.message:
        example = near[0] if near else "hf:org/repo"
        hints.append(f"see `rbee model ls`; get one with `rbee model pull {example}`")
    return NotFound("; ".join([error.message, *hints]), code=error.code, details=error.details)
