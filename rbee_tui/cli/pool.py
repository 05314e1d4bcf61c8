"""``rbee pool …``: one host over SSH, spelled as the original does; no queen is needed."""

from __future__ import annotations

from typing import Annotated

import typer

from rbee_tui.cli import session as sessions
from rbee_tui.cli.lazy import command, group
from rbee_tui.cli.options import Json

app = group("One host over SSH, as the original spells it.")
models = group("Model files on a host.")
worker = group("Worker processes on a host.")
git = group("A host that is installed from a source checkout.")
app.add_typer(models, name="models")
app.add_typer(worker, name="worker")
app.add_typer(git, name="git")

HostName = Annotated[str, typer.Option("--host", help="A host of hives.toml.")]
Model = Annotated[str, typer.Argument(metavar="MODEL", help="Alias or reference.")]
QUICK_S = 60.0
LOAD_S = 900.0
DOWNLOAD_S = 24 * 3600.0


def _there(
    ctx: typer.Context, host: str, *words: str | None, json: bool = False, timeout: float = QUICK_S
) -> None:
    """Run a command line of the host's own ``rbee-hive`` and print what it prints."""
    from rbee_tui.cli.pool_run import on_host

    given = [word for word in words if word is not None] + (["--json"] if json else [])
    sessions.run(on_host(sessions.of(ctx), host, given, timeout=timeout))


@command(models, "download")
def download(ctx: typer.Context, model: Model, host: HostName, json: Json = False) -> None:
    """Get a model onto a host's disk.

    $ rbee pool models download smollm2-135m --host gpu-1
    """
    _there(ctx, host, "models", "download", model, json=json, timeout=DOWNLOAD_S)


@command(models, "list")
def list_models(ctx: typer.Context, host: HostName, json: Json = False) -> None:
    """The models on a host's disk.

    $ rbee pool models list --host gpu-1
    """
    _there(ctx, host, "models", "list", json=json)


@command(models, "register")
def register(
    ctx: typer.Context,
    model: Model,
    path: Annotated[str, typer.Argument(metavar="PATH", help="The GGUF file, on the host.")],
    host: HostName,
    json: Json = False,
) -> None:
    """Have a host know a GGUF that lies on its disk already.

    $ rbee pool models register my-model /data/my-model.gguf --host gpu-1
    """
    _there(ctx, host, "models", "register", model, path, json=json)


@command(models, "rm")
def remove(ctx: typer.Context, model: Model, host: HostName, json: Json = False) -> None:
    """Have a host forget a model; its file goes if rbee brought it.

    $ rbee pool models rm my-model --host gpu-1
    """
    _there(ctx, host, "models", "remove", model, json=json)


@command(worker, "spawn")
def spawn(
    ctx: typer.Context,
    backend: Annotated[str, typer.Argument(help="cpu, cuda, metal, rocm or vulkan.")],
    host: HostName,
    model: Annotated[str, typer.Option("--model", "-m", help="Alias or reference.")],
    gpu: Annotated[str | None, typer.Option("--gpu", help="Index or UUID.")] = None,
    context: Annotated[int | None, typer.Option("--ctx", min=64, help="Tokens a slot.")] = None,
    slots: Annotated[int | None, typer.Option("--slots", min=1, help="Streams at once.")] = None,
    json: Json = False,
) -> None:
    """Start a worker on a host; returns when it is ready.

    $ rbee pool worker spawn cuda --host gpu-1 --model smollm2-135m --gpu 0
    """
    words: list[str | None] = ["worker", "spawn", backend, "--model", model]
    for name, value in (("--gpu", gpu), ("--ctx", context), ("--slots", slots)):
        words += [name, str(value)] if value is not None else []
    _there(ctx, host, *words, json=json, timeout=LOAD_S)


@command(worker, "list")
def list_workers(ctx: typer.Context, host: HostName, json: Json = False) -> None:
    """The workers of a host.

    $ rbee pool worker list --host gpu-1
    """
    _there(ctx, host, "worker", "list", json=json)


@command(worker, "stop")
def stop(
    ctx: typer.Context,
    worker_id: Annotated[str, typer.Argument(metavar="WORKER", help="The id of the worker.")],
    host: HostName,
    json: Json = False,
) -> None:
    """End a worker of a host and wait for its memory.

    $ rbee pool worker stop WORKER --host gpu-1
    """
    _there(ctx, host, "worker", "stop", worker_id, json=json)


@command(app, "status")
def status(ctx: typer.Context, host: HostName, json: Json = False) -> None:
    """A host's daemon, workers and models.

    $ rbee pool status --host gpu-1
    """
    _there(ctx, host, "status", json=json)


@command(git, "pull")
def git_pull(ctx: typer.Context, host: HostName, json: Json = False) -> None:
    """Bring a host's checkout up to its repository.

    $ rbee pool git pull --host gpu-1
    """
    _source(ctx, host, "pull", as_json=json)


@command(git, "status")
def git_status(ctx: typer.Context, host: HostName, json: Json = False) -> None:
    """Which commit a host's checkout is at, and whether something is changed in it.

    $ rbee pool git status --host gpu-1
    """
    _source(ctx, host, "status", as_json=json)


@command(git, "build")
def git_build(
    ctx: typer.Context,
    host: HostName,
    index: Annotated[
        str | None, typer.Option("--index", metavar="URL", help="A package index.")
    ] = None,
    json: Json = False,
) -> None:
    """Install what a host's checkout holds, beside the version that runs, and switch to it.

    $ rbee pool git build --host gpu-1
    """
    _source(ctx, host, "build", index=index, as_json=json)


def _source(
    ctx: typer.Context, host: str, do: str, *, index: str | None = None, as_json: bool
) -> None:
    from rbee_tui.cli.pool_run import source

    sessions.run(source(sessions.of(ctx), host, do, index=index, as_json=as_json))
