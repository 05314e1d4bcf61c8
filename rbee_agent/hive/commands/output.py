"""What the commands print: results to stdout, progress to stderr, nothing that is not text."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from rbee_agent.contracts.base import Contract
from rbee_agent.contracts.models import ModelFile, PullProgress
from rbee_agent.contracts.workers import WorkerInfo


def print_json(value: Any) -> None:
    """One JSON document."""
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


def say(line: str) -> None:
    """One line for people."""
    sys.stdout.write(printable(line) + "\n")


def printable(text: str) -> str:
    """Text of a log or a file without what would drive a terminal."""
    return "".join(
        char if char.isprintable() or char in "\n\t" else f"\\x{ord(char):02x}" for char in text
    )


def dumps(values: Sequence[Contract]) -> list[dict[str, Any]]:
    """Their JSON objects."""
    return [value.dump() for value in values]


def worker_json(info: WorkerInfo) -> dict[str, Any]:
    """A worker as it may be printed: without its token."""
    return {name: value for name, value in info.dump().items() if name != "token"}


def say_workers(found: Sequence[WorkerInfo]) -> None:
    """One line for each worker, and what is wrong with it."""
    for info in found:
        loading = info.state.value == "loading" and info.load_progress is not None
        state = f"loading {info.load_progress:.0%}" if loading else info.state.value
        say(f"{info.id:24} {state:14} {info.model:24} {info.device:8} {info.pid or ''}")
        if info.error:
            say(f"    {info.error}")
    if not found:
        say("no workers; start one with: rbee-hive worker spawn cpu --model smollm2-135m")


def say_models(files: Sequence[ModelFile]) -> None:
    """One line for each model."""
    for file in files:
        say(f"{file.id:24} {file.size / 1024**2:9.0f} MiB  {file.path}")
    if not files:
        say("no models; get one with: rbee-hive models download smollm2-135m")


class Progress:
    """Something that takes a while, on stderr: a rewritten line on a terminal, else one a tenth."""

    def __init__(self) -> None:
        self._tty = sys.stderr.isatty()
        self._phase = ""

    def __call__(self, progress: PullProgress) -> None:
        """A download went on."""
        if not self._tty and progress.total:
            tenths = 10 * progress.done // progress.total
            self.show(f"{progress.model}: {progress.phase} {10 * tenths} %")
            return
        share = f" {progress.done / progress.total:4.0%}" if progress.total else ""
        rate = f" {progress.bytes_per_s / 1024**2:.1f} MiB/s" if progress.bytes_per_s else ""
        self.show(f"{progress.model}: {progress.phase}", share + rate)

    def show(self, phase: str, more: str = "") -> None:
        """A phase, and how far it is."""
        if self._tty:
            sys.stderr.write(f"\r\033[K{printable(phase + more)}")
            sys.stderr.flush()
        elif phase != self._phase:
            self._phase = phase
            sys.stderr.write(f"{printable(phase)}\n")

    def end(self) -> None:
        """Leave the line."""
        if self._tty:
            sys.stderr.write("\r\033[K")
