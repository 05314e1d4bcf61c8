"""``rbee-hive models``: what lies on this host's disk."""

from __future__ import annotations

import argparse
import asyncio
import os
from pathlib import Path

from rbee_agent.client.hive import HiveClient
from rbee_agent.contracts.models import CatalogModel, ModelFile, Source
from rbee_agent.errors import EXIT_FAILED, EXIT_OK, Conflict
from rbee_agent.hive.commands import daemon
from rbee_agent.hive.commands.output import Progress, dumps, print_json, say, say_models
from rbee_agent.hive.pulls import Puller
from rbee_agent.hive.records import Records
from rbee_agent.hive.shelf import Shelf
from rbee_agent.models import catalog, references
from rbee_agent.runtime.clock import SystemClock
from rbee_agent.settings.config import load
from rbee_agent.settings.places import Places


def download(args: argparse.Namespace) -> int:
    """Get a model onto this host."""
    _show_file(_have(references.resolve(args.model, catalog.builtin())), as_json=args.json)
    return EXIT_OK


def listing(args: argparse.Namespace) -> int:
    """Models on this host."""
    files = shelf(Places.of_user()).all()
    if args.json:
        print_json({"models": dumps(files)})
    else:
        say_models(files)
    return EXIT_OK


def show(args: argparse.Namespace) -> int:
    """What a model's file says of itself."""
    file = _file(shelf(Places.of_user()), args.model)
    if args.json:
        print_json(file.dump())
        return EXIT_OK
    for name, value in {**file.dump(), **file.facts.dump()}.items():
        if not isinstance(value, (dict, list)):
            say(f"{name:20} {value}")
    return EXIT_OK


def register(args: argparse.Namespace) -> int:
    """Know a GGUF that lies on the disk already; its links stay, parts are found beside it."""
    places, path = Places.of_user(), Path(args.path).absolute()
    source = Source(kind="file", location=str(path))
    known = shelf(places).get(args.model)
    if known is not None and known.source not in (None, source) and known.path != str(path):
        raise Conflict(
            f"{args.model} is {known.path} on this host; remove it first: "
            f"rbee-hive models remove {args.model}"
        )
    if known is not None:
        # Registered again: the file may have become another one.
        shelf(places).remove(args.model, delete=False)
    _show_file(_have(CatalogModel(id=args.model, sources=[source])), as_json=args.json)
    return EXIT_OK


def remove(args: argparse.Namespace) -> int:
    """Forget a model; delete it if rbee brought it."""
    places = Places.of_user()
    own = shelf(places)
    known = own.get(args.model) or own.known(args.model)
    if known is None:
        raise own.missing(args.model)
    running = daemon.record(places)
    if running is not None:
        daemon.through(places, running, lambda client: client.remove_model(known.id))
    else:
        users = [item.id for item in Records(places.state / "workers").all() if item.uses(known.id)]
        if users:
            raise Conflict(
                f"worker {users[0]} uses {known.id}; stop it first: "
                f"rbee-hive worker stop {users[0]}"
            )
        own.remove(known.id, delete=True)
    if args.json:
        print_json({"removed": known.id, "deleted": known.owned})
    else:
        say(f"{known.id} forgotten" + (", its file deleted" if known.owned else ""))
    return EXIT_OK


def verify(args: argparse.Namespace) -> int:
    """Hash the bytes and compare; exit 1 where they differ."""
    found = shelf(Places.of_user()).verify(args.model)
    if args.json:
        print_json(found)
    else:
        say(f"{args.model}: {'whole' if found['ok'] else 'DAMAGED'}  sha256 {found['sha256']}")
        if not found["ok"] and found["expected"]:
            say(f"    expected {found['expected']}; remove it and get it again")
    return EXIT_OK if found["ok"] else EXIT_FAILED


def shelf(places: Places) -> Shelf:
    """This user's model files, as the daemon knows them too."""
    return Shelf(places, SystemClock())


def _have(model: CatalogModel) -> ModelFile:
    """Have a model on this host: the daemon gets it where one runs, so that it knows at once."""
    places, progress = Places.of_user(), Progress()
    running = daemon.record(places)

    async def ask(client: HiveClient) -> ModelFile:
        file = None
        async for news in client.pull(model):
            file = news.file
            progress(news)
        assert file is not None  # noqa: S101 - the client raises where there is none
        return file

    try:
        if running is not None:
            return daemon.through(places, running, ask)
        return asyncio.run(_puller(places).pull(model, progress))
    finally:
        progress.end()


def _puller(places: Places) -> Puller:
    settings = load(places.config_file).settings
    return Puller(
        places,
        shelf(places),
        SystemClock(),
        keep_disk_free=settings.hive.keep_disk_free,
        env=dict(os.environ),
    )


def _file(own: Shelf, model: str) -> ModelFile:
    file = own.get(model)
    if file is None:
        raise own.missing(model)
    return file


def _show_file(file: ModelFile, *, as_json: bool) -> None:
    if as_json:
        print_json(file.dump())
    else:
        say(f"{file.id}  {file.path}")
