"""A queen within the test's process: real HTTP, real store, on a free port."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from aiohttp import web

from rbee_agent.contracts.models import CatalogModel
from rbee_agent.http.server import Server
from rbee_agent.queen.api.app import make_app
from rbee_agent.queen.service import Queen, QueenOptions
from rbee_agent.settings.config import QueenSettings
from rbee_agent.settings.places import Places


class InProcessQueen:
    """An async context manager around one queen and her server."""

    def __init__(
        self,
        places: Places,
        *,
        settings: QueenSettings | None = None,
        builtin: list[CatalogModel] | None = None,
        options: QueenOptions | None = None,
    ) -> None:
        self._options = options or QueenOptions(
            places=places,
            settings=settings or QueenSettings(),
            builtin=builtin or [],
            finds_local_hive=False,
        )
        self._stop = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        self._server: Server | None = None
        self.queen: Queen
        self.app: web.Application

    async def __aenter__(self) -> Self:
        self.queen = await Queen.open(self._options)
        self.app = make_app(self.queen)
        self._server = Server(self.app, shutdown_timeout=0.05)
        await self._server.start("127.0.0.1", 0, choose="another port")
        self._running = asyncio.get_running_loop().create_task(self.queen.run(self._stop))
        async with asyncio.timeout(10):
            while not self.queen.ready:
                if self._running.done():
                    await self._running
                await asyncio.sleep(0.005)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        if self._running is not None:
            await self._running
        if self._server is not None:
            await self._server.close()

    @property
    def url(self) -> str:
        """Where she listens."""
        assert self._server is not None  # noqa: S101 - entered
        return f"http://127.0.0.1:{self._server.port}"
