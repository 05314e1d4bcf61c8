"""``rbee`` on a terminal: what others wrote is cleaned, progress is wiped, watching repaints."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from rbee_agent.testing.scripted_queen import ScriptedQueen

ASK = ("infer", "-m", "m", "-p", "Say something.")


class Terminal:
    """The far end of a pseudo-terminal that a command runs on."""

    def __init__(self, reader: asyncio.StreamReader, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.seen = ""
        self._reader = reader

    async def until(self, text: str) -> None:
        """Read until that text was shown."""
        async with asyncio.timeout(30):
            while text not in self.seen:
                self.seen += (await self._reader.read(4096)).decode()

    async def end(self) -> int:
        """Read the rest; returns the exit code."""
        async with asyncio.timeout(30):
            while True:
                try:
                    chunk = await self._reader.read(4096)
                except OSError:  # Linux says EIO when the last process has let go of it
                    break
                if not chunk:
                    break
                self.seen += chunk.decode()
            return await self.process.wait()


@asynccontextmanager
async def on_terminal(queen: ScriptedQueen, *args: str) -> AsyncIterator[Terminal]:
    """Run ``rbee ARGS`` on a pseudo-terminal."""
    ours, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "rbee_tui", *args),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "RBEE_QUEEN_URL": queen.url, "TERM": "xterm"},
        start_new_session=True,
    )
    os.close(theirs)
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(ours, "rb", buffering=0)
    )
    try:
        yield Terminal(reader, process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        transport.close()


async def test_a_models_escape_sequences_do_nothing_to_the_terminal(
    scripted: ScriptedQueen,
) -> None:
    """A model that says "retitle the window" is read, not obeyed; a pipe gets the bytes as is."""
    scripted.words = ["safe ", "\x1b]0;owned\x07", "\x1b[2J", "text"]
    async with on_terminal(scripted, *ASK) as terminal:
        code = await terminal.end()

    assert code == 0
    assert "\x1b" not in terminal.seen
    assert "\x07" not in terminal.seen
    assert "safe" in terminal.seen
    assert "text" in terminal.seen


async def test_watching_paints_over_the_last_picture(scripted: ScriptedQueen) -> None:
    """`--watch` on a terminal clears and prints again; Ctrl-C ends it with 130."""
    snapshot = {"seq": 0, "at": 1.0, "queen": {"version": "1", "started_at": 1.0, "epoch": "e"}}
    scripted.snapshot = json.dumps(snapshot)
    async with on_terminal(scripted, "ps", "--watch") as terminal:
        await terminal.until("no workers")
        change = {"seq": 1, "at": 2.0, "noun": "worker", "id": "worker-1", "op": "put"}
        value = {"id": "worker-1", "model": "smollm2-135m", "state": "ready"}
        scripted.feed.put_nowait(("change", json.dumps({**change, "value": value})))
        await terminal.until("worker-1")
        terminal.process.send_signal(signal.SIGINT)
        code = await terminal.end()

    assert code == 130
    assert terminal.seen.count("\x1b[H\x1b[2J") == 2


async def test_a_json_document_is_indented_for_people(scripted: ScriptedQueen) -> None:
    """On a terminal the document is laid out; in a pipe it is one line."""
    async with on_terminal(scripted, "ps", "--json") as terminal:
        await terminal.end()

    assert terminal.seen.replace("\r\n", "\n") == '{\n  "workers": []\n}\n'
