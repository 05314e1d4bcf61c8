"""A file over HTTP, gone on with behind whatever a broken connection or a killed process left."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import urlsplit

from rbee_agent.errors import RbeeError, Refused, Unreachable
from rbee_agent.hive.disk import check_room, gib

if TYPE_CHECKING:
    import httpx

BLOCK = 1024 * 1024
CONNECT_TIMEOUT_S = 4.0
READ_TIMEOUT_S = 60.0
TRIES = 5
"""In a row without a single new byte."""
FIRST_WAIT_S = 0.5
MOST_WAIT_S = 60.0

OnBytes = Callable[[int, int | None], None]
"""Told the bytes that are there, and all bytes where they are known."""


@dataclass(frozen=True, slots=True)
class Download:
    """One file to get, into `part`, which stays where it ends unfinished."""

    url: str
    part: Path
    keep_free: int
    on_bytes: OnBytes
    headers: Mapping[str, str]
    size: int | None = None
    sha256: str | None = None
    """Where it is known, what lies in `part` may be gone on with whatever the server says."""

    @property
    def mark(self) -> Path:
        """What the server called the version that `part` is of."""
        return self.part.with_name(self.part.name + ".etag")

    async def run(self) -> None:
        """Have the whole file in `part`, checked and on the disk.

        Raises:
            RbeeError: it is not there, may not be had, cannot be reached, or is other bytes; the
                disk is too full.
        """
        import httpx

        self.part.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        timeout = httpx.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
        async with httpx.AsyncClient(timeout=timeout, follow_redirects=True) as client:
            tries = 0
            while True:
                had = self._have()
                try:
                    await self._go_on(client)
                    break
                except httpx.HTTPError as error:
                    tries = 0 if self._have() > had else tries + 1
                    if tries == TRIES or isinstance(error, httpx.ConnectError):
                        raise Unreachable(f"{_shown(self.url)}: {_why(error)}") from error
                    await asyncio.sleep(_patience(error, tries))
                except OSError as error:
                    raise self._disk_error(error) from error
        await asyncio.to_thread(self._check)

    def _have(self) -> int:
        try:
            return self.part.stat().st_size
        except FileNotFoundError:
            return 0

    async def _go_on(self, client: httpx.AsyncClient) -> None:
        import httpx

        have = self._have()
        if have and have == self.size:
            return
        headers = {**self.headers, "Accept-Encoding": "identity"}
        if have and self.sha256 is not None:
            headers["Range"] = f"bytes={have}-"
        elif have and self.mark.exists():
            # A file that changed in between is begun anew: the server then answers 200.
            headers |= {"Range": f"bytes={have}-", "If-Range": self.mark.read_text()}
        async with client.stream("GET", self.url, headers=headers) as answer:
            if answer.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                self.part.unlink(missing_ok=True)
                raise httpx.ReadError("the server's file has another size now")
            self._refuse(answer)
            goes_on = answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
            have = have if answer.status_code == httpx.codes.PARTIAL_CONTENT and goes_on else 0
            length = answer.headers.get("Content-Length")
            total = have + int(length) if length else self.size
            check_room(self.part.parent, (total or 0) - have, keep_free=self.keep_free)
            tag = answer.headers.get("ETag", "")
            if tag.startswith('"'):
                self.mark.write_text(tag)
            else:
                self.mark.unlink(missing_ok=True)
            with self.part.open("ab" if have else "wb") as out:
                done = await self._write(answer, out, have, total)
        if total is not None and done != total:
            raise httpx.ReadError(f"{done} of {total} bytes came")

    async def _write(
        self, answer: httpx.Response, out: BinaryIO, done: int, total: int | None
    ) -> int:
        self.on_bytes(done, total)
        async for block in answer.aiter_raw(BLOCK):
            # A disk that is busy blocks the writer for seconds; the loop has other work.
            await asyncio.to_thread(out.write, block)
            done += len(block)
            self.on_bytes(done, total)
        return done

    def _refuse(self, answer: httpx.Response) -> None:
        """Sort out answers that are no file.

        Raises:
            RbeeError: trying again is no use.
            httpx.HTTPStatusError: it may be.
        """
        import httpx

        status = answer.status_code
        if status < 400:
            return
        if status == 429 or status >= 500:
            raise httpx.HTTPStatusError(
                f"the server answered {status}", request=answer.request, response=answer
            )
        said = f"{_shown(self.url)}: the server answered {status}"
        if status in (401, 403):
            raise Refused(said, code="FORBIDDEN")
        raise Refused(said, code="MODEL_NOT_FOUND" if status in (404, 410) else "UNREACHABLE")

    def _check(self) -> None:
        """Thread: on the disk, of the right size, the right bytes."""
        found = self._have()
        if self.size is not None and found != self.size:
            self._discard()
            raise Refused(
                f"{_shown(self.url)}: {found} bytes came where {self.size} were announced",
                code="UNTRUSTED_ARTIFACT",
            )
        with self.part.open("rb+") as file:
            os.fsync(file.fileno())
        if self.sha256 is not None:
            digest = sha256_of(self.part)
            if digest != self.sha256:
                self._discard()
                raise Refused(
                    f"{_shown(self.url)}: the bytes are others: sha256 {digest[:16]}…, expected "
                    f"{self.sha256[:16]}…; they were thrown away",
                    code="UNTRUSTED_ARTIFACT",
                )
        self.mark.unlink(missing_ok=True)

    def _discard(self) -> None:
        self.part.unlink(missing_ok=True)
        self.mark.unlink(missing_ok=True)

    def _disk_error(self, error: OSError) -> RbeeError:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return RbeeError(
                f"the disk of {self.part.parent} is full after {gib(self._have())}; make room and "
                "pull again: it goes on from there",
                code="CONFLICT",
            )
        return RbeeError(f"{self.part} cannot be written: {error.strerror}", code="CONFLICT")


def sha256_of(*paths: Path, stop: threading.Event | None = None) -> str:
    """SHA-256 in hex of the bytes of all files, one behind the other.

    Raises:
        InterruptedError: `stop` was set meanwhile.
    """
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(4 * BLOCK):
                if stop is not None and stop.is_set():
                    raise InterruptedError(f"the hashing of {path.name} was interrupted")
                digest.update(block)
    return digest.hexdigest()


def _patience(error: httpx.HTTPError, tries: int) -> float:
    """Seconds until the next try: what the server asks for, else growing."""
    response = getattr(error, "response", None)
    asked = response.headers.get("Retry-After", "") if response is not None else ""
    if asked.isdigit():
        return min(MOST_WAIT_S, float(asked))
    return min(MOST_WAIT_S, FIRST_WAIT_S * 2.0**tries)


def _shown(url: str) -> str:
    """A URL as it may be printed: without a password or a signature."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _why(error: Exception) -> str:
    return str(error) or type(error).__name__
