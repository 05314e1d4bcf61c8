"""Models that are split over several files, as llama.cpp's gguf-split names them."""

from __future__ import annotations

import re
from pathlib import Path

from rbee_agent.errors import Refused

_PART = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.IGNORECASE)


def part_names(name: str) -> list[str]:
    """The names of all files of a model, in order; `name` alone where it is not split. Pure.

    Args:
        name: a file's name, or its path, in which the folder stays as it is.
    """
    match = _PART.fullmatch(name)
    if match is None:
        return [name]
    count = int(match["count"])
    return [f"{match['stem']}-{number:05}-of-{count:05}.gguf" for number in range(1, count + 1)]


def parts(path: Path) -> list[Path]:
    """The files of the model that `path` begins.

    Raises:
        Refused: `path` is another part than the first, or a part is missing; names it.
    """
    names = part_names(path.name)
    if names[0] != path.name:
        raise Refused(f"{path.name} is not the first part of its model: give {names[0]}")
    found = [path.with_name(name) for name in names]
    missing = [part.name for part in found[1:] if not part.is_file()]
    if missing:
        raise Refused(
            f"{path.name} is one of {len(found)} parts, and {', '.join(missing)} is not beside it"
            if len(missing) == 1
            else f"{path.name} is one of {len(found)} parts, of which {len(missing)} are missing: "
            f"{', '.join(missing[:3])}" + (" …" if len(missing) > 3 else "")
        )
    return found
