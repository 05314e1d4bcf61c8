"""``queen-rbee``: the program around one queen."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from pathlib import Path

from rbee_agent import __version__
from rbee_agent.errors import EXIT_OK, RbeeError, Refused
from rbee_agent.settings.places import Places


def parser() -> argparse.ArgumentParser:
    """The options of ``queen-rbee``."""
    made = argparse.ArgumentParser(
        prog="queen-rbee",
        description="The brain of rbee: HTTP API, queue, placement, relay, registry. Needs no GPU.",
    )
    made.add_argument("--version", action="version", version=f"rbee {__version__}")
    made.add_argument("--host", help="address to listen on (default 127.0.0.1)")
    made.add_argument("--port", type=int, help="TCP port, 0 for any free one (default 8080)")
    made.add_argument(
        "--listen",
        metavar="ADDRESS:PORT",
        help="open a further port, with TLS, for hives that send heartbeats",
    )
    made.add_argument(
        "--token-file", type=Path, help="file (0600) with the token that callers must show"
    )
    made.add_argument("--queue-limit", type=int, help="most tasks that may wait")
    made.add_argument("--log-level", default="info")
    made.add_argument("--log-json", action="store_true", help="one JSON object a log line")
    return made


def main() -> int:
    """Run the queen until SIGTERM or SIGINT; the exit code is that of the error that ended it."""
    args = parser().parse_args()
    from rbee_agent.observe import logs

    logs.configure(level=args.log_level, json=args.log_json)
    try:
        _serve(args)
    except RbeeError as error:
        sys.stderr.write(f"queen-rbee: {error.message}\n")
        return error.exit_code
    return EXIT_OK


def _serve(args: argparse.Namespace) -> None:
    from rbee_agent.queen.serve import serve
    from rbee_agent.runtime.service import run_service
    from rbee_agent.security.access import check_bind
    from rbee_agent.settings.config import load

    os.umask(0o077)
    places = Places.of_user()
    token = read_token(args.token_file) if args.token_file is not None else None
    settings = load(
        places.config_file,
        flags={
            "queen.host": args.host,
            "queen.port": args.port,
            "queen.listen": args.listen,
            "queen.token": token,
            "queen.queue_limit": args.queue_limit,
        },
    ).settings.queen
    check_bind(settings.host, settings.token)

    async def run(stop: asyncio.Event) -> None:
        await serve(places, settings, stop)

    run_service(run)


def read_token(path: Path) -> str:
    """The token in a file that only its owner may read.

    Raises:
        Refused: the file is not there, or others may read it.
    """
    try:
        if path.stat().st_mode & 0o077:
            raise Refused(f"{path} is readable by others; run: chmod 600 {path}")
        return path.read_text().strip()
    except OSError as error:
        raise Refused(f"cannot read {path}: {error.strerror}") from error


if __name__ == "__main__":
    sys.exit(main())
