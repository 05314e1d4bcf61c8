"""``rbee hive``: hosts from bare to serving, over SSH; on many at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from rbee_agent.contracts.routes import HIVE_PORT
from rbee_agent.errors import EXIT_FAILED, EXIT_OK
from rbee_tui.cli import session as sessions
from rbee_tui.cli.hive import app
from rbee_tui.cli.lazy import command
from rbee_tui.cli.options import Json, Yes
from rbee_tui.cli.output import emit, emit_json, note, table

__all__ = ["app"]

Names = Annotated[list[str] | None, typer.Argument(metavar="NAME…", help="Hosts of hives.toml.")]
All = Annotated[bool, typer.Option("--all", help="All hosts of hives.toml.")]
Offline = Annotated[
    bool, typer.Option("--offline", help="Copy every package; the host reaches no index.")
]
Index = Annotated[
    str | None, typer.Option("--index", metavar="URL", help="A package index for the host.")
]
FromGit = Annotated[
    str | None, typer.Option("--from-git", metavar="URL", help="Install from a clone there.")
]


@command(app, "add")
def add(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="[USER@]NAME", help="As you say it to ssh.")],
    address: Annotated[str | None, typer.Option(help="Where it is; else NAME itself.")] = None,
    user: Annotated[str | None, typer.Option(help="Whom to log in as.")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Its SSH port.")] = None,
    jump: Annotated[str | None, typer.Option(help="Hosts to go through, as ProxyJump.")] = None,
    identity: Annotated[Path | None, typer.Option(help="Private key file.")] = None,
    python: Annotated[str | None, typer.Option(help="Python 3.11 or later there.")] = None,
    hive_port: Annotated[
        int, typer.Option("--hive-port", min=1, max=65535, help="Its hive's port.")
    ] = HIVE_PORT,
    listen: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS[:PORT]",
            help="Have its hive open this port, with TLS, for the queen; none: by SSH again.",
        ),
    ] = None,
    backend: Annotated[
        str | None, typer.Option(help="cpu, cuda, rocm, vulkan or metal; else what is found.")
    ] = None,
    region: Annotated[str | None, typer.Option(help="For placement.")] = None,
    label: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="May be repeated.")
    ] = None,
    accept_key: Annotated[
        str | None, typer.Option("--accept-key", metavar="SHA256:…", help="Its host key.")
    ] = None,
    copy_key: Annotated[
        bool, typer.Option("--copy-key", help="Ask for its password once, leave your key there.")
    ] = False,
    install: Annotated[
        bool, typer.Option("--install", help="Then install and start its hive.")
    ] = False,
    offline: Offline = False,
    index: Index = None,
    yes: Yes = False,
) -> None:
    """Know a host: its key is shown and pinned, the login is tried, hives.toml keeps it.

    $ rbee hive add gpu-1
    $ rbee hive add ada@10.0.0.5 --install
    $ rbee hive add gpu-2 --install --listen 10.0.0.6
    """
    from rbee_tui.cli.hosts_add import Wanted, add_host
    from rbee_tui.fleet.hosts_file import Host

    login, at, plain = name.rpartition("@")
    host = Host(
        name=plain,
        address=address,
        port=port,
        user=login if at else user,
        jump=jump,
        identity=str(identity.expanduser()) if identity else None,
        python=python,
        hive_port=hive_port,
        listen=_listen(listen),
        backend=backend,
        region=region,
        labels=_labels(label or []),
    )
    session = sessions.of(ctx)
    wanted = Wanted(accept_key=accept_key, copy_key=copy_key, yes=yes)
    added = sessions.run(add_host(session, host, wanted))
    if install:
        _finish(ctx, "install", [host.name], {"offline": offline, "index": index})
    elif added.node_id is None:
        note(f"next: rbee hive install {host.name}")


@command(app, "import")
def import_(
    ctx: typer.Context,
    names: Names = None,
    all: All = False,
    yes: Yes = False,
) -> None:
    """Know hosts that stand in ~/.ssh/config; without a name: show which there are.

    $ rbee hive import
    $ rbee hive import gpu-1 gpu-2
    """
    from rbee_tui.cli.hosts_add import import_hosts, importable

    session = sessions.of(ctx)
    there = importable(session)
    if not names and not all:
        emit("\n".join(there) if there else "~/.ssh/config names no host that is not known yet")
        return
    raise SystemExit(sessions.run(import_hosts(session, names or there, yes=yes)))


@command(app, "install")
def install(
    ctx: typer.Context,
    names: Names = None,
    all: All = False,
    offline: Offline = False,
    index: Index = None,
    from_git: FromGit = None,
    start: Annotated[bool, typer.Option("--start/--no-start", help="Then start the hives.")] = True,
    json: Json = False,
) -> None:
    """Install this rbee on hosts and start their hives; what is there already stays.

    $ rbee hive install gpu-1 gpu-2
    $ rbee hive install --all --offline
    """
    options = {"offline": offline, "index": index, "from_git": from_git, "start": start}
    _finish(ctx, "install", _chosen(ctx, names, all), options, as_json=json)


@command(app, "update")
def update(
    ctx: typer.Context,
    names: Names = None,
    all: All = False,
    offline: Offline = False,
    index: Index = None,
    drain: Annotated[
        float, typer.Option("--drain", metavar="S", min=0, help="Wait so long for running tasks.")
    ] = 300.0,
    json: Json = False,
) -> None:
    """Bring hosts to this keeper's version: drain, install, switch, start again.

    $ rbee hive update --all
    """
    options = {"offline": offline, "index": index, "drain": drain}
    _finish(ctx, "update", _chosen(ctx, names, all), options, as_json=json)


@command(app, "uninstall")
def uninstall(
    ctx: typer.Context,
    names: Names = None,
    all: All = False,
    purge_models: Annotated[
        bool, typer.Option("--purge-models", help="Also the models that rbee downloaded.")
    ] = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Take rbee off hosts: processes, files, the queen's key. Nothing of it stays.

    $ rbee hive uninstall gpu-1 --yes
    """
    from rbee_tui.cli.output import confirm

    chosen = _chosen(ctx, names, all)
    if not confirm(f"Uninstall rbee from {', '.join(chosen)}?", yes=yes):
        raise SystemExit(EXIT_FAILED)
    _finish(ctx, "uninstall", chosen, {"purge_models": purge_models}, as_json=json)


@command(app, "start")
def start(ctx: typer.Context, names: Names = None, all: All = False, json: Json = False) -> None:
    """Start hives and let the queen reach them; one that runs is only told to her.

    $ rbee hive start gpu-1
    """
    _finish(ctx, "start", _chosen(ctx, names, all), {}, as_json=json)


@command(app, "stop")
def stop(ctx: typer.Context, names: Names = None, all: All = False, json: Json = False) -> None:
    """Stop hives; their workers go on and are taken up by the next start.

    $ rbee hive stop gpu-1
    """
    _finish(ctx, "stop", _chosen(ctx, names, all), {}, as_json=json)


@command(app, "status")
def status(ctx: typer.Context, names: Names = None, all: All = False, json: Json = False) -> None:
    """What runs on hosts, asked over SSH rather than of the queen.

    $ rbee hive status --all
    """
    _finish(ctx, "status", _chosen(ctx, names, all, default_all=True), {}, as_json=json)


@command(app, "logs")
def logs(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="A host of hives.toml.")],
    lines: Annotated[int, typer.Option("-n", "--lines", min=1, help="At most so many.")] = 100,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on until Ctrl-C.")] = False,
) -> None:
    """The log of a host's hive.

    $ rbee hive logs gpu-1 -f
    """
    from rbee_tui.cli.hosts_run import show_log

    sessions.run(show_log(sessions.of(ctx), name, "hive", lines=lines, follow=follow))


@command(app, "doctor")
def doctor(ctx: typer.Context, names: Names = None, all: All = False, json: Json = False) -> None:
    """Look at hosts: each thing that is missing, with its remedy. Exit 1 where one is.

    $ rbee hive doctor gpu-1
    """
    from rbee_tui.cli.hosts_run import examine_hosts
    from rbee_tui.fleet.doctor import healthy

    found = sessions.run(
        examine_hosts(sessions.of(ctx), _chosen(ctx, names, all, default_all=True))
    )
    if json:
        emit_json({"hosts": {h: [f.dump() for f in findings] for h, findings in found.items()}})
    else:
        for host, findings in found.items():
            rows = [(_mark(f.ok, f.advice), f.name, f.found, f.remedy) for f in findings]
            emit(f"{host}\n" + table(("", "CHECK", "FOUND", "WHAT TO DO"), rows) + "\n")
    sick = [host for host, findings in found.items() if not healthy(findings)]
    raise SystemExit(EXIT_FAILED if sick else EXIT_OK)


def _mark(ok: bool, advice: bool) -> str:
    return "ok" if ok else "note" if advice else "FAIL"


def _listen(said: str | None) -> str | None:
    """Refuse an address that no port could be opened on."""
    from rbee_agent.contracts.routes import HIVE_TLS_PORT
    from rbee_agent.wire.addresses import listen_address
    from rbee_tui.fleet.hosts_file import NO_PORT

    if said not in (None, NO_PORT):
        listen_address(str(said), port=HIVE_TLS_PORT, what="--listen")
    return said


def _labels(pairs: list[str]) -> dict[str, str]:
    from rbee_agent.errors import Refused

    found = {}
    for pair in pairs:
        key, sign, value = pair.partition("=")
        if not sign or not key:
            raise Refused(f"--label {pair}: write it as KEY=VALUE")
        found[key] = value
    return found


def _chosen(
    ctx: typer.Context, names: list[str] | None, all: bool, *, default_all: bool = False
) -> list[str]:
    """The hosts that a command is for.

    Raises:
        Refused: none was named.
    """
    from rbee_agent.errors import Refused
    from rbee_tui.fleet import hosts_file

    path = sessions.of(ctx).places.hosts_file
    if names:
        return list(dict.fromkeys(names))
    if all or default_all:
        there = list(hosts_file.read(path))
        if not there:
            raise Refused("hives.toml names no host yet: rbee hive add NAME")
        return there
    raise Refused("name one host or more, or say --all")


def _finish(
    ctx: typer.Context,
    what: str,
    names: list[str],
    options: dict[str, Any],
    *,
    as_json: bool = False,
) -> None:
    """Do it on each host and end with the exit code that says how it went."""
    from rbee_tui.cli.hosts_run import do

    raise SystemExit(sessions.run(do(sessions.of(ctx), what, names, options, as_json=as_json)))
