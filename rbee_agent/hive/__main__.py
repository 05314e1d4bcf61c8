"""``rbee-hive``: the daemon, and a command line to the same host that works without it."""

from __future__ import annotations

import argparse
import asyncio
import sys

from rbee_agent import __version__
from rbee_agent.errors import EXIT_INTERRUPTED, RbeeError
from rbee_agent.hive.commands import host, models, workers
from rbee_agent.hive.commands.output import printable


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        prog="rbee-hive", description="One host of rbee: devices, model files, workers."
    )
    top.add_argument("--version", action="version", version=f"rbee {__version__}")
    groups = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    serve = groups.add_parser("serve", help="run as a daemon")
    serve.add_argument("--host", help="address to listen on (default 127.0.0.1)")
    serve.add_argument("--port", type=int, help="default 9200; 0: any free one")
    serve.add_argument(
        "--listen",
        metavar="ADDRESS:PORT",
        help="open a further port, with TLS and a token, for a queen who does not come by SSH",
    )
    serve.add_argument("--queen", help="a queen to register with, such as https://10.0.0.2:8443")
    serve.add_argument(
        "--queen-certificate", metavar="SHA256", help="the only certificate that she may show"
    )
    serve.add_argument("--log-level", default="info")
    serve.set_defaults(run=host.serve)

    detect = groups.add_parser("detect", help="show devices and backends")
    detect.set_defaults(run=host.detect)
    status = groups.add_parser("status", help="show the daemon, its workers and models")
    status.set_defaults(run=host.status)
    _models(groups.add_parser("models", help="model files on this host"))
    _workers(groups.add_parser("worker", help="worker processes on this host"))
    for leaf in _leaves(top):
        leaf.add_argument("--json", action="store_true", help="one JSON document")
    return top


def _models(group: argparse.ArgumentParser) -> None:
    kinds = group.add_subparsers(dest="action", required=True, metavar="ACTION")
    download = kinds.add_parser("download", help="get a model: alias, hf:org/repo:QUANT, URL")
    download.add_argument("model")
    download.set_defaults(run=models.download)
    listing = kinds.add_parser("list", help="models on this host")
    listing.set_defaults(run=models.listing)
    show = kinds.add_parser("show", help="what a model's file says of itself")
    show.add_argument("model")
    show.set_defaults(run=models.show)
    register = kinds.add_parser("register", help="know a GGUF that lies on the disk already")
    register.add_argument("model", help="the name it gets")
    register.add_argument("path")
    register.set_defaults(run=models.register)
    remove = kinds.add_parser("remove", help="forget a model; delete it if rbee brought it")
    remove.add_argument("model")
    remove.set_defaults(run=models.remove)
    verify = kinds.add_parser("verify", help="hash the bytes and compare")
    verify.add_argument("model")
    verify.set_defaults(run=models.verify)


def _workers(group: argparse.ArgumentParser) -> None:
    kinds = group.add_subparsers(dest="action", required=True, metavar="ACTION")
    spawn = kinds.add_parser("spawn", help="start a worker")
    spawn.add_argument("backend", help="cpu, cuda, metal, rocm, vulkan")
    spawn.add_argument("--model", required=True)
    spawn.add_argument("--gpu", help="index or UUID")
    spawn.add_argument("--ctx", type=int, help="context in tokens per slot")
    spawn.add_argument("--slots", type=int)
    spawn.add_argument("--threads", type=int)
    spawn.set_defaults(run=workers.spawn)
    listing = kinds.add_parser("list", help="workers of this host")
    listing.set_defaults(run=workers.listing)
    stop = kinds.add_parser("stop", help="end a worker and wait for its memory")
    stop.add_argument("id")
    stop.set_defaults(run=workers.stop)


def _leaves(top: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    """The parsers that stand for a command, in which options may come last."""
    found: list[argparse.ArgumentParser] = []
    for action in top._actions:
        if isinstance(action, argparse._SubParsersAction):
            for parser in dict.fromkeys(action.choices.values()):
                found += _leaves(parser) or [parser]
    return found


def main() -> int:
    """Run one command; the exit code is the contract's."""
    args = parser().parse_args()
    try:
        code: int = args.run(args)
    except RbeeError as error:
        sys.stderr.write(f"rbee-hive: {printable(error.message)}\n")
        return error.exit_code
    except (KeyboardInterrupt, asyncio.CancelledError):
        return EXIT_INTERRUPTED
    return code


if __name__ == "__main__":
    sys.exit(main())
