"""What commands print: aligned tables, one JSON document, and words on stderr.

Written by hand because the table of ``rbee ps`` must not cost the import of a drawing library.
Remote text is cleaned before it reaches a terminal.
"""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

from rbee_tui.state.clean import clean


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Columns aligned by what a terminal shows; no rows is said in words by the caller."""
    lines = [list(head), *([clean(_cell(cell)) for cell in row] for row in rows)]
    widths = [max(width(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(
            cell + " " * (wide - width(cell)) for cell, wide in zip(line, widths, strict=True)
        ).rstrip()
        for line in lines
    )


def fields(pairs: Iterable[tuple[str, object]]) -> str:
    """Names and values below each other; None values are left out."""
    shown = [(name, clean(_cell(value))) for name, value in pairs if value is not None]
    width = max((len(name) for name, _ in shown), default=0)
    return "\n".join(f"{name.ljust(width)}  {value}" for name, value in shown)


def emit(text: str) -> None:
    """A result, to stdout."""
    sys.stdout.write(text if text.endswith("\n") or not text else text + "\n")
    sys.stdout.flush()


def emit_json(value: Any) -> None:
    """One JSON document, to stdout: indented for people, one line where it is piped."""
    dump = getattr(value, "model_dump", None)
    plain = value if dump is None else dump(mode="json")
    indent = 2 if sys.stdout.isatty() else None
    emit(json.dumps(plain, indent=indent, ensure_ascii=False))


def note(text: str) -> None:
    """Something that is no result, to stderr."""
    print(clean(text, lines=True), file=sys.stderr, flush=True)


class Progress:
    """One line on stderr that is rewritten on a terminal, and printed per step where not."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._live = self._stream.isatty()
        self._last = ""
        self._open = False

    def step(self, text: str) -> None:
        """What is being done now; a line of its own."""
        self.clear()
        self._last = ""
        print(clean(text), file=self._stream, flush=True)

    def update(self, text: str) -> None:
        """How far it is; shown on a terminal only."""
        text = clean(text)
        if not self._live or text == self._last:
            return
        self._last = text
        self._open = True
        self._stream.write(f"\r\x1b[K{text}")
        self._stream.flush()

    def clear(self) -> None:
        """Wipe the rewritten line."""
        if self._open:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
            self._open = False


def confirm(question: str, *, yes: bool) -> bool:
    """Ask on a terminal; without one the answer is no unless ``--yes`` was given."""
    if yes:
        return True
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        note(f"{question} Say --yes to do it.")
        return False
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _cell(value: object) -> str:
    return "–" if value is None or value == "" else str(value)


def width(text: str) -> int:
    """The columns that a text takes on a terminal."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )
