"""Steps: commands of ``rbee`` that need nobody, one after the other, and what they say as it comes.

What asks for a host key or a password has the terminal instead (see `shell`).
"""

from __future__ import annotations

import asyncio
import codecs
import signal
from collections.abc import Sequence
from typing import ClassVar, Final

from textual.binding import Binding, BindingType

from rbee_tui.state.clean import clean
from rbee_tui.widgets.text_screen import TextScreen

END_S: Final = 5.0
"""How long a command may take to tidy up on the host when the center is left meanwhile."""
PART: Final = 65_536
"""Bytes that are read at once."""


class StepsScreen(TextScreen[bool]):
    """Shows what is done; the result is whether all of it went well."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter", "close", "close", id="steps.close", tooltip="Close, at its end"),
        Binding("x", "interrupt", "interrupt", id="steps.interrupt",
                tooltip="Interrupt what is done, as Ctrl-C would"),
        Binding("c", "copy", "copy", id="steps.copy", tooltip="Copy all that was said"),
    ]  # fmt: skip

    def __init__(
        self,
        title: str,
        program: Sequence[str],
        commands: Sequence[Sequence[str]],
        *,
        then: str = "",
    ) -> None:
        """Nothing runs before it is mounted.

        Args:
            title: what is done.
            program: the first words of every command, which are not shown.
            commands: done in this order; the last one says whether all went well.
            then: what to do next, told where all went well.
        """
        super().__init__(title)
        self._program = program
        self._commands = commands
        self._then = then
        self._process: asyncio.subprocess.Process | None = None
        self._interrupted = False
        self.ended: int | None = None
        """The exit code of the last command, once it is known."""

    def on_mount(self) -> None:
        """Begin."""
        self.below("x interrupts")
        self.run_worker(self._run(), name="steps")

    async def _run(self) -> None:
        code = 0
        for words in self._commands:
            self.say(f"$ rbee {' '.join(words)}\n")
            code = await self._one(words)
            if self._interrupted:
                break
            self.say("\n")
        self.ended = code
        end = "✔ done" if code == 0 else f"✖ ended with {code}"
        self.say(f"{end}: {self._then}" if code == 0 and self._then else end)
        self.below(f"{end} · c copies, Esc closes")

    async def _one(self, words: Sequence[str]) -> int:
        """Run one command to its end."""
        process = self._process = await asyncio.create_subprocess_exec(
            *self._program, *words,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        out, decoder = process.stdout, codecs.getincrementaldecoder("utf-8")("replace")
        while out is not None and (part := await out.read(PART)):
            self.say(clean(decoder.decode(part), lines=True))
        code = await process.wait()
        self._process = None
        return code

    async def on_unmount(self) -> None:
        """Whoever leaves the center leaves nothing running behind it."""
        if self._process is not None:
            await _end(self._process)

    def action_interrupt(self) -> None:
        """Have it end and tidy up."""
        if self._process is not None:
            self._interrupted = True
            self._process.send_signal(signal.SIGINT)

    def action_close(self) -> None:
        """Close it, if nothing runs any more."""
        if self.ended is None:
            self.app.bell()
        else:
            _ = self.dismiss(self.ended == 0)


async def _end(process: asyncio.subprocess.Process) -> None:
    """Interrupt, and kill what does not end by itself."""
    process.send_signal(signal.SIGINT)
    try:
        async with asyncio.timeout(END_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
