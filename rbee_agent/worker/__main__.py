"""``llm-worker-rbee``: the program around one worker."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from pathlib import Path

from rbee_agent.errors import EXIT_OK, EXIT_USAGE, RbeeError, Refused
from rbee_agent.worker import options
from rbee_agent.worker.probe import probe

MIN_TOKEN = 16


def main() -> int:
    """Run the worker; the exit code is that of the error that ended it."""
    args = options.parser().parse_args()
    try:
        if args.probe:
            sys.stdout.write(json.dumps(probe()) + "\n")
            return EXIT_OK
        return _serve(args)
    except RbeeError as error:
        # The hive quotes a worker's last lines: this one says it all.
        sys.stderr.write(f"error: {error.code}: {error.message}\n")
        return error.exit_code


def _serve(args: argparse.Namespace) -> int:
    token = os.environ.pop(options.TOKEN_ENV, "")
    if args.model is None or len(token) < MIN_TOKEN:
        sys.stderr.write(
            "llm-worker-rbee: needs --model FILE, and in the environment "
            f"{options.TOKEN_ENV} with {MIN_TOKEN} characters or more (a hive makes one)\n"
        )
        return EXIT_USAGE
    device = _pinned(args.device)
    # Threads that spin at llama.cpp's barriers starve whoever shares their cores, each other too:
    # beside other programs a step took up to sixty times as long. Must be set before it is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    probe()

    # Only now: a missing llama-cpp-python was refused with a sentence above.
    from rbee_agent.engine import Engine, EngineOptions, on_abort
    from rbee_agent.observe import logs
    from rbee_agent.runtime.clock import SystemClock
    from rbee_agent.runtime.service import run_service
    from rbee_agent.settings.places import Places
    from rbee_agent.settings.secret import Secret
    from rbee_agent.worker.service import Worker

    logs.configure(level=args.log_level)
    engine = Engine(
        EngineOptions(
            model_path=args.model,
            device=device,
            context=args.ctx,
            slots=args.slots,
            threads=args.threads,
            prefill_chunk=args.prefill_chunk,
            kv_type=args.kv_type,
            flash_attention=args.flash_attention,
            gpu_layers=args.gpu_layers,
            tensor_split=args.tensor_split,
            host_cache_bytes=args.host_cache_mib * 1024**2,
            chat_template=_template(args.chat_template),
            state_dir=args.state_dir or Places.of_user().state / "proofs",
        )
    )
    worker = Worker(
        engine,
        worker_id=args.worker_id,
        model_id=os.environ.get(options.MODEL_ID_ENV, args.model.name),
        token=Secret(token),
        clock=SystemClock(),
        callback_url=args.callback_url,
        callback_token=os.environ.pop(options.CALLBACK_TOKEN_ENV, None),
    )

    on_abort(lambda assertion: _end_badly(worker.loading, args.model.name, assertion))

    async def service(stop: asyncio.Event) -> None:
        await worker.run(stop, args.host, args.port)

    run_service(service)
    return EXIT_OK


def _pinned(device: str) -> str:
    """A GPU named by its UUID is made the only one in sight, before any library looks."""
    kind, _, index = device.partition(":")
    if kind != "cuda" or not index or index.isdigit():
        return device
    os.environ["CUDA_VISIBLE_DEVICES"] = index
    return "cuda:0"


def _end_badly(loading: bool, model: str, assertion: str) -> None:
    """llama.cpp gave up: its process ends, with a sentence and a code and not by a signal."""
    where = assertion.rpartition("/")[2]
    error = (
        Refused(f"{model} is damaged, or of a kind that this llama.cpp does not know: {where}")
        if loading
        else RbeeError(f"llama.cpp gave up: {where}", code="WORKER_RESET")
    )
    sys.stderr.write(f"error: {error.code}: {error.message}\n")
    sys.stderr.flush()
    os._exit(error.exit_code)


def _template(named: str | None) -> str | None:
    """The Jinja that an operator named.

    Raises:
        Refused: it is neither a built-in name nor a file that can be read.
    """
    if named is None:
        return None
    from rbee_agent.engine.builtin_templates import TEMPLATES

    if named in TEMPLATES:
        return TEMPLATES[named]
    try:
        return Path(named).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(
            f"--chat-template {named} is no file that can be read, and none of the built-in "
            f"names {', '.join(TEMPLATES)}"
        ) from error


if __name__ == "__main__":
    sys.exit(main())
