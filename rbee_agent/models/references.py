"""What people type for a model: an alias, or a reference that says where to get it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from rbee_agent.contracts.models import CatalogModel, Source
from rbee_agent.errors import NotFound, Refused

HOW_TO_GET = "get one with: rbee model pull hf:org/repo:Q4_K_M"

_HF = re.compile(
    r"(?:hf:)?(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?"
    r"(?:::(?P<file>[\w./ -]+)|:(?P<quant>[\w.-]+))?"
)


def is_reference(name: str) -> bool:
    """Whether a name says where to get the model, and is no alias."""
    return name.startswith(("hf:", "https:", "http:", "file:", "/")) or (
        "/" in name and _HF.fullmatch(name) is not None
    )


def parse(reference: str) -> CatalogModel:
    """The catalog entry that a reference stands for.

    Forms: ``hf:org/repo[@revision][:QUANT]``, ``hf:org/repo::file.gguf``, the same without ``hf:``,
    ``https://host/file.gguf``, ``file:/path``, or an absolute path.

    Raises:
        Refused: it has none of these forms.
    """
    if reference.startswith(("https:", "http:")):
        parts = urlsplit(reference)
        if not parts.hostname or not parts.path.endswith(".gguf"):
            raise Refused(f"a URL names a .gguf file on a host: {reference}")
        return _entry(reference, Source(kind="https", location=reference))
    if reference.startswith(("file:", "/")):
        path = reference.removeprefix("file:").removeprefix("//")
        if not path.startswith("/"):
            raise Refused("file: takes an absolute path, such as file:/models/some.gguf")
        return _entry(reference, Source(kind="file", location=path))
    match = _HF.fullmatch(reference)
    if match is None:
        raise Refused("not a model reference: use hf:org/repo:QUANT, https:, file: or an alias")
    file, quant = match["file"], match["quant"]
    source = Source(
        kind="hf",
        location=match["repo"],
        file=file if file is not None else (f"*{quant}*" if quant else None),
        revision=match["revision"],
    )
    return _entry(reference, source)


def resolve(name: str, catalog: Mapping[str, CatalogModel]) -> CatalogModel:
    """The entry for an alias or a reference.

    Raises:
        NotFound: MODEL_NOT_FOUND with the nearest aliases and how to get a model.
        Refused: a reference that does not parse.
    """
    known = catalog.get(name)
    if known is not None:
        return known
    if is_reference(name):
        return parse(name)
    raise unknown_model(name, list(catalog))


def unknown_model(name: str, names: list[str]) -> NotFound:
    """The refusal of a name that nobody knows, naming the near ones."""
    near = nearest(name, names)
    hint = f"did you mean {', '.join(near)}? " if near else ""
    return NotFound(
        f"there is no model {name}; {hint}{HOW_TO_GET}",
        code="MODEL_NOT_FOUND",
        details={"nearest": near},
    )


def nearest(name: str, names: list[str], *, most: int = 3) -> list[str]:
    """The names most like `name`, the likest first, whatever their case."""
    known = {candidate.lower(): candidate for candidate in names}
    word = name.lower()
    holding = sorted((key for key in known if word and word in key), key=len)
    close = difflib.get_close_matches(word, list(known), n=most, cutoff=0.3)
    return [known[key] for key in dict.fromkeys([*holding, *close])][:most]


def model_slug(reference: str) -> str:
    """An id for a reference that may stand in a path and a file name."""
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", reference.removeprefix("hf:")).strip("-.")
    return slug[:120] or "model"


def _entry(reference: str, source: Source) -> CatalogModel:
    name = reference
    if source.kind in ("file", "https"):
        name = PurePosixPath(urlsplit(source.location).path).stem
    return CatalogModel(id=model_slug(name), sources=[source], description=reference)
