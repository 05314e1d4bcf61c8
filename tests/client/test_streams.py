"""Streams of the SDK survive what connections and queens do to them."""

from __future__ import annotations

import asyncio
import socket
from contextlib import aclosing

import pytest

from rbee_agent.client import Answer, QueenClient, ServerEvent, parse_frame
from rbee_agent.client.frames import gather
from rbee_agent.contracts.frames import EndFrame, TokenFrame
from rbee_agent.contracts.tasks import TaskRequest
from rbee_agent.errors import RbeeError, Unreachable
from rbee_agent.testing.scripted_queen import ScriptedQueen

WORDS = [f" w{index}" for index in range(12)]
TEXT = "".join(WORDS)


def request(**fields: object) -> TaskRequest:
    return TaskRequest.model_validate({"model": "m", "prompt": "p", **fields})


async def test_text_is_what_the_queen_said(scripted: ScriptedQueen, client: QueenClient) -> None:
    """The pieces of `text` joined are the whole answer."""
    assert [piece async for piece in client.text(request())] == scripted.words


async def test_every_cut_is_mended_without_loss_or_repeat(
    scripted: ScriptedQueen, client: QueenClient
) -> None:
    """Connections that die behind any token cost nothing: each token arrives exactly once."""
    scripted.words = WORDS
    scripted.cuts.extend([0, 1, 5, 10, 11])
    breaks: list[RbeeError] = []

    indexes = [
        frame.i
        async for event in client.stream(request(), on_break=breaks.append)
        for frame in parse_frame(event)
        if isinstance(frame, TokenFrame)
    ]

    assert indexes == list(range(len(WORDS)))
    assert scripted.last_event_ids == [None, "0", "1", "5", "10", "11"]
    assert len(breaks) == 5


async def test_a_queen_that_went_away_and_came_back_goes_on(
    scripted: ScriptedQueen, client: QueenClient
) -> None:
    """A restart of the queen in mid-stream is a pause, not an error."""
    scripted.words = WORDS
    scripted.hold_at = 6
    answer = Answer(job_id="", model="m")

    async with asyncio.TaskGroup() as group:
        whole = group.create_task(gather(answer, client.stream(request())))
        await scripted.reached.wait()
        await scripted.stop()
        scripted.hold_at = None
        scripted.release.set()
        await scripted.start()
        await whole

    assert answer.text == TEXT
    assert answer.worker_id == "worker-1"
    assert answer.end is not None
    assert answer.end.tokens_out == len(WORDS)


async def test_a_queen_that_stays_away_is_unreachable(
    scripted: ScriptedQueen, client: QueenClient
) -> None:
    """After the reconnect time the stream ends as Unreachable and says what to do."""
    scripted.hold_at = 1

    async def read() -> None:
        async for event in client.stream(request(), reconnect=0.3):
            if event.event == "token":
                await scripted.stop()

    with pytest.raises(Unreachable, match="rbee up"):
        await read()


async def test_leaving_early_cancels_the_task(scripted: ScriptedQueen, client: QueenClient) -> None:
    """A stream that is not read to its end is cancelled on the queen."""
    async with aclosing(client.stream(request(task_id="t-1"))) as events:
        async for event in events:
            if event.event == "token":
                break

    assert scripted.cancelled == {"t-1"}


async def test_a_cancelled_reader_cancels_the_task(
    scripted: ScriptedQueen, client: QueenClient
) -> None:
    """Cancelling the coroutine that reads a stream cancels the task on the queen first."""
    scripted.hold_at = 2
    reader = asyncio.ensure_future(client.run(request(task_id="t-2")))
    await scripted.reached.wait()
    reader.cancel()

    with pytest.raises(asyncio.CancelledError):
        await reader
    assert scripted.cancelled == {"t-2"}


async def test_a_stream_that_ended_is_not_cancelled(
    scripted: ScriptedQueen, client: QueenClient
) -> None:
    """Reading to the end leaves the task alone."""
    await client.run(request())

    assert scripted.cancelled == set()


async def test_one_deadline_for_the_whole(scripted: ScriptedQueen, client: QueenClient) -> None:
    """`timeout` bounds the stream from handing in to its end."""
    scripted.hold_at = 1

    with pytest.raises(RbeeError) as caught:
        await client.run(request(task_id="t-3"), timeout=0.3)

    assert caught.value.code == "DEADLINE_EXCEEDED"
    assert scripted.cancelled == {"t-3"}


async def test_an_error_frame_is_raised(scripted: ScriptedQueen, client: QueenClient) -> None:
    """A stream's error becomes the exception of its code."""
    scripted.ends_with = RbeeError("the prompt has 9 tokens, 8 fit", code="CONTEXT_LENGTH_EXCEEDED")

    with pytest.raises(RbeeError, match="9 tokens") as caught:
        await client.run(request())
    assert caught.value.code == "CONTEXT_LENGTH_EXCEEDED"


async def test_events_after_the_end_can_be_read_again(
    scripted: ScriptedQueen, client: QueenClient
) -> None:
    """A Last-Event-ID of the caller's own gives the rest."""
    accepted = await client.submit(request())

    rest = [event async for event in client.task_events(accepted.job_id, "2")]

    assert [event.id for event in rest] == ["3", "end"]
    assert [event async for event in client.task_events(accepted.job_id, "end")] == []


def test_a_micro_batch_is_several_frames() -> None:
    """A merged frame is read as the tokens that it holds; unknown types are skipped."""
    batch = ServerEvent("token", '{"type":"token","batch":[{"i":0,"t":"a"},{"i":1,"t":"b"}]}', "1")

    assert parse_frame(batch) == [TokenFrame(i=0, t="a"), TokenFrame(i=1, t="b")]
    assert parse_frame(ServerEvent("confetti", "{}")) == []
    assert isinstance(
        parse_frame(ServerEvent("end", '{"type":"end","tokens_in":1,"tokens_out":2,"new":1}'))[0],
        EndFrame,
    )


async def test_an_open_port_that_says_nothing_times_out() -> None:
    """A peer that accepts and never answers costs no more than the call's deadline."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"http://127.0.0.1:{mute.getsockname()[1]}"
        async with QueenClient(url, timeout=0.2) as client:
            with pytest.raises(RbeeError) as caught:
                await client.nodes()

    assert caught.value.code == "DEADLINE_EXCEEDED"


async def test_an_answer_that_is_no_stream_is_said_at_once() -> None:
    """Another program, or a queen that knows POSTs with streams not yet: nothing to retry."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\n")
        writer.write(b"Content-Length: 2\r\nConnection: close\r\n\r\n{}")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with QueenClient(url) as client:
            with pytest.raises(RbeeError, match="not with events") as caught:
                await client.run(request(), timeout=5)

    assert not isinstance(caught.value, Unreachable)
