"""``rbee serve-web``: the control center in a browser, on this machine only."""

from __future__ import annotations

import hmac
import secrets
import shlex
import socket
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Final

import typer

from rbee_agent.errors import Conflict
from rbee_tui.cli import session as sessions
from rbee_tui.cli.output import emit

if TYPE_CHECKING:
    from aiohttp import web

PORT: Final = 8765
HOST: Final = "127.0.0.1"
COOKIE: Final = "rbee-web"


def serve_web(
    ctx: typer.Context,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port on loopback (0: any free one).")
    ] = PORT,
) -> None:
    """Show the control center in a browser, on 127.0.0.1 only, behind a key in its address.

    From elsewhere go through SSH: ssh -L 8765:127.0.0.1:8765 this-host. With --read-only before
    the command it changes nothing. Ctrl-C ends it.

    $ rbee serve-web --port 8765
    """
    sessions.run(serve(sessions.of(ctx), port))


def app_command(session: sessions.Session) -> str:
    """The shell command that one browser tab runs."""
    words = [sys.executable, "-m", "rbee_tui"]
    words += ["--queen", session.queen_url] if session.queen_url else []
    words += ["--theme", session.theme] if session.theme else []
    words += ["--read-only"] if session.read_only else []
    return shlex.join(words)


async def serve(session: sessions.Session, port: int) -> None:
    """Serve until cancelled.

    Raises:
        Conflict: the port is taken.
    """
    import asyncio

    from aiohttp import web

    try:
        listening = socket.create_server((HOST, port))
    except OSError as error:
        raise Conflict(
            f"port {port} is taken ({error.strerror}): choose another with --port"
        ) from error
    url = f"http://{HOST}:{listening.getsockname()[1]}"
    key = secrets.token_urlsafe(18)
    runner = web.AppRunner(await application(app_command(session), url, key), shutdown_timeout=2)
    await runner.setup()
    try:
        await web.SockSite(runner, listening).start()
        emit(f"the control center is at {url}/?key={key}\nCtrl-C ends it")
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


async def application(command: str, url: str, key: str) -> web.Application:
    """textual-serve's application behind a key.

    It has no access control of its own, and other users of this machine, and any page that a
    browser shows, can reach a loopback port.

    Args:
        command: what each tab runs.
        url: what the browser calls us; another Host or Origin is refused.
        key: what the first request must carry; a cookie remembers it.
    """
    from aiohttp import web
    from textual_serve.server import Server

    class KeyedServer(Server):  # type: ignore[misc]  # textual-serve has no types
        async def on_startup(self, app: web.Application) -> None:
            """Say nothing: the command has told where it is."""

        async def keyed(self) -> web.Application:
            app: web.Application = await self._make_app()
            app.middlewares.append(guard)
            return app

    authority = url.partition("://")[2]

    @web.middleware
    async def guard(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        given = request.query.get("key") or request.cookies.get(COOKIE, "")
        origin = request.headers.get("Origin")
        if (
            request.host != authority
            or (origin is not None and origin != url)
            or not hmac.compare_digest(given.encode(), key.encode())
        ):
            raise web.HTTPForbidden(text="rbee: open the address that rbee serve-web printed\n")
        if "key" in request.query and request.path == "/":
            # Out of the address bar, the history and the next request's Referer.
            answer = web.HTTPFound("/")
            answer.set_cookie(COOKIE, key, httponly=True, samesite="Strict")
            raise answer
        return await handler(request)

    return await KeyedServer(command, title="rbee", public_url=url).keyed()
