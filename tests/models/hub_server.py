"""A Hugging Face hub on loopback: its API, its redirects to another host, and its bad days."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from aiohttp import web

COMMIT = "0123456789abcdef0123456789abcdef01234567"
BLOCK = 16 * 1024


@dataclass
class Repository:
    """One repository: its files, and who may read them."""

    files: dict[str, bytes]
    gated_for: str | None = None
    """A token that may read the files; the list of them is open to all."""
    revisions: tuple[str, ...] = ("main", COMMIT)


@dataclass(frozen=True)
class Asked:
    """One request that came."""

    method: str
    path: str
    range: str | None
    authorization: str | None


@dataclass
class Hub:
    """The hub and its content network, two servers; an async context manager."""

    repositories: dict[str, Repository] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    cuts: list[int] = field(default_factory=list)
    """Bytes after which each of the next transfers breaks off."""
    statuses: list[int] = field(default_factory=list)
    """What each of the next transfers is answered with instead."""
    corrupt: bool = False
    ranges: bool = True
    etag: str | None = None
    """What plain files say of their version; None: nothing."""
    gate: asyncio.Event | None = None
    """Transfers wait for it in the middle."""
    reached: asyncio.Event = field(default_factory=asyncio.Event)

    async def __aenter__(self) -> Self:
        hub, network = web.Application(), web.Application()
        hub.router.add_get("/api/models/{org}/{name}", self._info)
        hub.router.add_get("/api/models/{org}/{name}/revision/{revision:.+}", self._info)
        hub.router.add_get("/{org}/{name}/resolve/{revision}/{file:.+}", self._resolve)
        network.router.add_get("/blob/{digest}", self._blob)
        network.router.add_get("/files/{file:.+}", self._file)
        for app in (hub, network):
            app.middlewares.append(self._note)
        self._runners = [web.AppRunner(app, shutdown_timeout=0.1) for app in (hub, network)]
        ports = []
        for runner in self._runners:
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            ports.append(runner.addresses[0][1])
        self.url = f"http://127.0.0.1:{ports[0]}"
        self.network = f"http://localhost:{ports[1]}"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.gate is not None:
            self.gate.set()
        for runner in self._runners:
            await runner.cleanup()

    def transfers(self) -> list[Asked]:
        """The requests for bytes."""
        return [item for item in self.asked if item.path.startswith(("/blob/", "/files/"))]

    @web.middleware
    async def _note(self, request: web.Request, handler) -> web.StreamResponse:
        headers = request.headers
        self.asked.append(
            Asked(request.method, request.path, headers.get("Range"), headers.get("Authorization"))
        )
        return await handler(request)

    def _of(self, request: web.Request) -> Repository | None:
        return self.repositories.get(f"{request.match_info['org']}/{request.match_info['name']}")

    async def _info(self, request: web.Request) -> web.StreamResponse:
        repository = self._of(request)
        if repository is None:
            return _no(401, "RepoNotFound", "Repository Not Found")
        if request.match_info.get("revision", "main") not in repository.revisions:
            return _no(404, "RevisionNotFound", "Invalid rev id")
        siblings = []
        for name, data in repository.files.items():
            sibling = {"rfilename": name, "size": len(data), "blobId": _git_sha(data)}
            if name.endswith(".gguf"):
                lfs = {"sha256": _sha(data), "size": len(data), "pointerSize": 134}
                sibling["lfs"] = lfs
            siblings.append(sibling)
        return web.json_response(
            {
                "id": request.path.removeprefix("/api/models/"),
                "sha": COMMIT,
                "siblings": siblings,
                "gated": "manual" if repository.gated_for else False,
            }
        )

    async def _resolve(self, request: web.Request) -> web.StreamResponse:
        repository = self._of(request)
        if repository is None:
            return _no(401, "RepoNotFound", "Repository Not Found")
        allowed = repository.gated_for
        if allowed and request.headers.get("Authorization") != f"Bearer {allowed}":
            status = 403 if "Authorization" in request.headers else 401
            return _no(status, "GatedRepo", "Access to model is restricted")
        data = repository.files.get(request.match_info["file"])
        if data is None:
            return _no(404, "EntryNotFound", "Entry not found")
        digest = _sha(data)
        headers = {
            "Location": f"{self.network}/blob/{digest}?signature=secret",
            "X-Repo-Commit": COMMIT,
            "X-Linked-Size": str(len(data)),
            "X-Linked-ETag": f'"{digest}"',
            "ETag": f'"{_git_sha(data)}"',
        }
        return web.Response(status=302, headers=headers)

    async def _blob(self, request: web.Request) -> web.StreamResponse:
        digest = request.match_info["digest"]
        data = next(
            data
            for repository in self.repositories.values()
            for data in repository.files.values()
            if _sha(data) == digest
        )
        return await self._send(request, data, f'"{digest}"')

    async def _file(self, request: web.Request) -> web.StreamResponse:
        data = self.repositories["files"].files.get(request.match_info["file"])
        if data is None:
            return web.Response(status=404)
        return await self._send(request, data, self.etag)

    async def _send(
        self, request: web.Request, data: bytes, etag: str | None
    ) -> web.StreamResponse:
        if request.method == "GET" and self.statuses:
            return web.Response(status=self.statuses.pop(0), headers={"Retry-After": "0"})
        begin = 0
        wanted = request.headers.get("Range")
        if wanted and self.ranges and request.headers.get("If-Range", etag) == etag:
            begin = int(wanted.removeprefix("bytes=").rstrip("-"))
            if begin >= len(data):
                return web.Response(status=416)
        rest = data[begin:]
        if self.corrupt:
            rest = rest[:-1] + bytes([rest[-1] ^ 1])
        headers = {"Content-Length": str(len(rest)), "Accept-Ranges": "bytes"}
        headers |= {"ETag": etag} if etag is not None else {}
        if begin:
            headers["Content-Range"] = f"bytes {begin}-{len(data) - 1}/{len(data)}"
        response = web.StreamResponse(status=206 if begin else 200, headers=headers)
        await response.prepare(request)
        if request.method == "HEAD":
            return response
        await self._transfer(request, response, rest)
        return response

    async def _transfer(
        self, request: web.Request, response: web.StreamResponse, rest: bytes
    ) -> None:
        cut = self.cuts.pop(0) if self.cuts else None
        for at in range(0, len(rest), BLOCK):
            if request.transport is None or request.transport.is_closing():
                return
            block = rest[at : at + BLOCK]
            if cut is not None and at + len(block) > cut:
                await response.write(block[: cut - at])
                assert request.transport is not None
                request.transport.close()
                raise ConnectionResetError
            await response.write(block)
            if self.gate is not None and at >= len(rest) // 2:
                self.reached.set()
                await self.gate.wait()


def _no(status: int, code: str, message: str) -> web.Response:
    headers = {"X-Error-Code": code, "X-Error-Message": message}
    return web.json_response({"error": message}, status=status, headers=headers)


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _git_sha(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
