"""``rbee-hive serve``, ``detect`` and ``status``: the host as a whole."""

from __future__ import annotations

import argparse
import asyncio

from rbee_agent.errors import EXIT_OK
from rbee_agent.hive import backends
from rbee_agent.hive.commands import daemon
from rbee_agent.hive.commands.models import shelf
from rbee_agent.hive.commands.output import (
    dumps,
    print_json,
    say,
    say_models,
    say_workers,
    worker_json,
)
from rbee_agent.hive.commands.workers import known
from rbee_agent.hive.devices import Devices
from rbee_agent.runtime.clock import SystemClock
from rbee_agent.settings.config import load
from rbee_agent.settings.places import Places


def serve(args: argparse.Namespace) -> int:
    """Run the daemon."""
    from rbee_agent.hive.service import Hive
    from rbee_agent.observe import logs
    from rbee_agent.runtime.service import run_service

    logs.configure(level=args.log_level)
    places = Places.of_user()
    flags = {"hive.host": args.host, "hive.port": args.port, "hive.listen": args.listen}
    flags |= {"hive.queen": args.queen, "hive.queen_certificate": args.queen_certificate}
    settings = load(places.config_file, flags=flags).settings
    hive = Hive(places, settings, SystemClock())

    async def service(stop: asyncio.Event) -> None:
        await hive.run(stop, host=settings.hive.host, port=settings.hive.port)

    run_service(service)
    return EXIT_OK


def detect(args: argparse.Namespace) -> int:
    """Devices and backends of this host."""
    devices = Devices()
    found = asyncio.run(devices.read())
    devices.close()
    built = backends.probe_now()
    if args.json:
        print_json(
            {
                "devices": [device.dump() for device in found],
                "backends": list(built.names),
                "llama_cpp": built.llama_cpp,
                "problem": built.problem,
            }
        )
        return EXIT_OK
    for device in found:
        free, total = device.memory_free / 1024**3, device.memory_total / 1024**3
        problem = f"  ! {device.error}" if device.error else ""
        say(f"{device.id:8} {device.name}  {free:.1f} of {total:.1f} GiB free{problem}")
    say(f"llama.cpp: {built.problem or ', '.join(built.names)}")
    return EXIT_OK


def status(args: argparse.Namespace) -> int:
    """The daemon, its workers and models."""
    places = Places.of_user()
    running = daemon.record(places)
    found, files = known(places), shelf(places).all()
    if args.json:
        url = None if running is None else running["url"]
        workers = [worker_json(info) for info in found]
        print_json({"url": url, "workers": workers, "models": dumps(files)})
        return EXIT_OK
    if running is None:
        say("no daemon runs; start it with: rbee-hive serve")
    else:
        say(f"daemon: {running['url']} (pid {running['pid']})")
    say_workers(found)
    say_models(files)
    return EXIT_OK
