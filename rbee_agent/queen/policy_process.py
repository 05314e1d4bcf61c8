"""The helper process in which a policy script runs, as the queen holds it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import dataclass
from typing import Any

ANSWER_S = 0.25
"""Wall time for an answer: the helper's CPU limit and a busy machine."""
LOAD_S = 5.0


class PolicyFailed(Exception):
    """The script gave no sound answer; the message has file and line where there are any."""


@dataclass(frozen=True, slots=True)
class Script:
    """One version of the script."""

    name: str
    source: str
    at: float
    hooks: tuple[str, ...] = ()


class Helper:
    """One helper process; restarted when it was ended."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self._process: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()

    async def call(self, hook: str, *arguments: Any, seconds: float = ANSWER_S) -> Any:
        """Ask a hook, and wait at most `seconds` for its answer.

        Raises:
            PolicyFailed: an error, no answer in time, or the helper ended.
        """
        async with self._turn:
            if self._process is None:
                await self._start()
            return await self._ask({"hook": hook, "arguments": arguments}, seconds)

    async def hooks(self) -> list[str]:
        """Start the helper; which hooks the script has.

        Raises:
            PolicyFailed: the script does not load.
        """
        async with self._turn:
            return await self._start()

    async def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            if process.returncode is None:
                process.kill()
            await process.wait()

    async def _start(self) -> list[str]:
        await self.close()
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            "-m",
            "rbee_agent.queen.policy_helper",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={"PATH": os.environ.get("PATH", "")},
            limit=2**22,
        )
        request = {"source": self.script.source, "name": self.script.name}
        hooks: list[str] = await self._ask(request, LOAD_S)
        return hooks

    async def _ask(self, request: dict[str, Any], seconds: float) -> Any:
        process = self._process
        assert process is not None and process.stdin is not None  # noqa: S101, PT018 - PIPE
        assert process.stdout is not None  # noqa: S101 - PIPE
        try:
            process.stdin.write(json.dumps(request).encode() + b"\n")
            async with asyncio.timeout(seconds):
                await process.stdin.drain()
                line = await process.stdout.readline()
        except TimeoutError:
            await self.close()
            raise PolicyFailed(f"no answer within {seconds * 1000:.0f} ms") from None
        except (OSError, ValueError) as error:
            await self.close()
            raise PolicyFailed(f"the helper process ended: {error}") from error
        if not line:
            await self.close()
            raise PolicyFailed("it used up its CPU time or memory and was ended")
        answer = json.loads(line)
        if "error" in answer:
            raise PolicyFailed(_short(str(answer["error"])))
        return answer["ok"]


def _short(text: str) -> str:
    """An interpreter's message in one line, its place (file and line) first."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    place = next((line.removeprefix("--> ") for line in lines if line.startswith("--> ")), "")
    what = next((line for line in lines if line.startswith("error")), lines[0] if lines else "")
    return f"{place}: {what}" if place else what[:500]
