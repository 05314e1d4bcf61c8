"""The one place where remote text becomes text that may reach a terminal.

Model output, host names, log lines and errors are written by others: an escape sequence in them
could retitle the window, write the clipboard or hide what is shown. Everything that enters the
state comes through here; behind it no part of the control center thinks of it again.
"""

from __future__ import annotations

import re
from typing import Any

_SEQUENCE = re.compile(
    "\x1b\\[[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    "|\x1b[\\]PX^_][^\x07\x1b\x9c]*(?:\x07|\x1b\\\\|\x9c)"  # OSC, DCS, SOS, PM, APC with their text
    "|\x1b[ -/]*[0-~]"
    "|\x9b[0-?]*[ -/]*[@-~]"
)
_FORBIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters but tab and newline
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # direction marks: text that reads otherwise
    "\u2028\u2029\ufeff\ufff9-\ufffb\U000e0000-\U000e007f"  # invisible separators and tags
    "\ud800-\udfff]"  # halves of characters, which no terminal can be sent
)
_SUSPICIOUS = re.compile(
    "\\\\|[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
TAB = "    "


def clean(text: str, *, lines: bool = False) -> str:
    """Text without escape sequences, control characters and direction tricks.

    Args:
        text: what a peer sent.
        lines: keep newlines (model output); otherwise the text becomes one line.

    Returns:
        Text that is safe to draw. A sequence that was cut in two by a frame border loses its
        escape character, so what is left of it is seen but does nothing.
    """
    if text.isascii() and text.isprintable():
        return text
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\t", TAB)
    text = _FORBIDDEN.sub("", _SEQUENCE.sub("", text))
    return text if lines else text.replace("\n", " ")


def clean_json(value: Any, *, lines: bool = False) -> Any:
    """The same JSON value with every string in it (keys too) cleaned."""
    if isinstance(value, str):
        return clean(value, lines=lines)
    if isinstance(value, dict):
        return {clean(key): clean_json(item, lines=lines) for key, item in value.items()}
    if isinstance(value, list):
        return [clean_json(item, lines=lines) for item in value]
    return value


def needs_cleaning(raw: str) -> bool:
    """Whether JSON text holds anything that :func:`clean` could change.

    Escapes in JSON start with a backslash, so most messages pass with one scan and no walk.
    """
    return _SUSPICIOUS.search(raw) is not None
