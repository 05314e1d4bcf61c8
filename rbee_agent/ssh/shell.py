"""Commands on a host, whatever its login shell prints before them."""

from __future__ import annotations

import asyncio
import hashlib
import shlex
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import asyncssh

from rbee_agent.errors import RbeeError, Unreachable
from rbee_agent.ssh.connect import connect
from rbee_agent.ssh.target import Target

MARK = b"--8<-- rbee --8<--"
"""Printed by us before anything that counts: what a login shell says comes before it."""
_CHUNK = 256 * 1024

OnLine = Callable[[bytes], None]


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command on a host ended."""

    code: int
    out: bytes
    err: str


class Shell:
    """One connection to one host; an async context manager that closes it."""

    def __init__(self, target: Target, connection: asyncssh.SSHClientConnection) -> None:
        self.target = target
        self.connection = connection

    @classmethod
    async def open(cls, target: Target, *, password: str | None = None) -> Shell:
        """Connect.

        Raises:
            RbeeError: as `connect`.
        """
        return cls(target, await connect(target, password=password))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.connection.close()
        await self.connection.wait_closed()

    async def run(
        self,
        script: str,
        *,
        stdin: bytes | AsyncIterator[bytes] = b"",
        timeout: float,
        on_line: OnLine | None = None,
        on_error: OnLine | None = None,
    ) -> Ran:
        """Run a script of the Bourne shell.

        Args:
            script: what ``sh -c`` gets; arguments in it must be quoted already.
            stdin: what it reads; then its end.
            timeout: seconds until it is broken off; then, and when it is cancelled, the host's
                processes get a SIGTERM (where its sshd is 7.9 or later).
            on_line: told each whole line of stdout as it comes.
            on_error: told each whole line of stderr as it comes.

        Raises:
            Unreachable: the connection was lost.
            RbeeError: with code DEADLINE_EXCEEDED, it took longer than `timeout`.
        """
        mark = shlex.quote(MARK.decode())
        marked = f"printf '\\n%s\\n' {mark}; printf '\\n%s\\n' {mark} >&2; {script}"
        command = "exec /bin/sh -c " + shlex.quote(marked)
        name = self.target.name
        try:
            async with asyncio.timeout(timeout):
                async with self.connection.create_process(command, encoding=None) as process:
                    try:
                        async with asyncio.TaskGroup() as group:
                            out = group.create_task(_read_marked(process.stdout, on_line))
                            err = group.create_task(_read_marked(process.stderr, on_error))
                            group.create_task(_feed(process.stdin, stdin))
                        done = await process.wait()
                    except asyncio.CancelledError:
                        # Without it the host would go on with what nobody waits for any more.
                        with suppress(OSError):
                            process.terminate()
                        raise
        except TimeoutError as error:
            raise RbeeError(
                f"{name}: {_short(script)} took longer than {timeout:g} s and was broken off",
                code="DEADLINE_EXCEEDED",
            ) from error
        except (OSError, asyncssh.Error) as error:
            raise Unreachable(f"{name}: the connection was lost: {error}") from error
        except ExceptionGroup as group_error:
            raise Unreachable(
                f"{name}: the connection was lost: {group_error.exceptions[0]}"
            ) from group_error
        code = done.exit_status if done.exit_status is not None else -1
        return Ran(code, out.result(), err.result().decode(errors="replace"))

    async def put(
        self,
        source: Path,
        path: str,
        *,
        timeout: float = 3600.0,
        on_bytes: Callable[[int, int], None] | None = None,
    ) -> None:
        """Copy a file there: whole under its name, or not at all.

        It goes through the same channel as commands, not SFTP: that breaks where the login shell
        prints something, and some hosts have none.

        Args:
            source: the local file.
            path: where to, below the home directory unless absolute; folders are made.
            timeout: seconds.
            on_bytes: told how many bytes of how many were handed over.

        Raises:
            RbeeError: the host could not keep it; says what it said.
        """
        digest = hashlib.sha256()
        target = shlex.quote(path)
        part = shlex.quote(path + ".part")
        script = (
            f'umask 077; mkdir -p "$(dirname {target})" && cat > {part} && '
            f"{{ sha256sum {part} 2>/dev/null || shasum -a 256 {part}; }} && mv -f {part} {target}"
        )
        size = source.stat().st_size

        async def chunks() -> AsyncIterator[bytes]:
            sent = 0
            with source.open("rb") as file:
                while chunk := await asyncio.to_thread(file.read, _CHUNK):
                    digest.update(chunk)
                    yield chunk
                    sent += len(chunk)
                    if on_bytes is not None:
                        on_bytes(sent, size)

        ran = await self.run(script, stdin=chunks(), timeout=timeout)
        if ran.code != 0:
            raise RbeeError(
                f"{self.target.name}: cannot write {path} ({size} bytes): "
                f"{_last_line(ran.err)}; look with `rbee hive doctor {self.target.name}`"
            )
        if digest.hexdigest().encode() not in ran.out:
            raise RbeeError(f"{self.target.name}: {path} came over damaged; try again")

    async def get(self, path: str, target: Path, *, timeout: float = 3600.0) -> None:
        """Fetch a file; it is whole under its name, or not there.

        Raises:
            RbeeError: it cannot be read there.
        """
        ran = await self.run(f"cat {shlex.quote(path)}", timeout=timeout)
        if ran.code != 0:
            raise RbeeError(f"{self.target.name}: cannot read {path}: {_last_line(ran.err)}")
        from rbee_agent.runtime.files import write_atomic

        await asyncio.to_thread(write_atomic, target, ran.out, mode=0o644)


async def _read_marked(reader: asyncssh.SSHReader[bytes], on_line: OnLine | None) -> bytes:
    """All that comes behind our mark."""
    data = bytearray()
    begun, told = -1, 0
    while chunk := await reader.read(_CHUNK):
        data += chunk
        if begun < 0:
            at = data.find(MARK + b"\n")
            if at < 0:
                continue
            begun = told = at + len(MARK) + 1
        while on_line is not None and (end := data.find(b"\n", told)) >= 0:
            on_line(bytes(data[told:end]))
            told = end + 1
    return bytes(data[begun:]) if begun >= 0 else b""


async def _feed(writer: asyncssh.SSHWriter[bytes], stdin: bytes | AsyncIterator[bytes]) -> None:
    try:
        if isinstance(stdin, bytes):
            writer.write(stdin)
            await writer.drain()
        else:
            async for chunk in stdin:
                writer.write(chunk)
                await writer.drain()
        writer.write_eof()
    except (BrokenPipeError, ConnectionResetError):
        # It ended without reading all: its exit code and stderr say why.
        return


def _short(script: str) -> str:
    line = script.strip().splitlines()[0]
    return line if len(line) < 60 else line[:57] + "…"


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"
