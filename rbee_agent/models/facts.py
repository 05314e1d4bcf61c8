"""What a GGUF file says of itself, by the `gguf` package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rbee_agent.contracts.models import GgufFacts
from rbee_agent.errors import Refused
from rbee_agent.models.gguf_header import read_layout
from rbee_agent.models.parts import parts

_GARBAGE = (ValueError, OSError, IndexError, KeyError, TypeError, ArithmeticError, MemoryError)
"""What reading a header of garbage ends with."""

_POOLING = {0: "none", 1: "mean", 2: "cls", 3: "last", 4: "rank"}


def read_facts(path: Path) -> GgufFacts:
    """Read a model's header; its tensors are only measured. `path` is the first of its files.

    Raises:
        Refused: no such file, no GGUF, or one that is cut short; names the file and the reason.
    """
    read_layout(path)
    readers = [_read(part) for part in parts(path)]
    size = sum(part.stat().st_size for part in parts(path))
    tensors = [tensor for reader in readers for tensor in reader.tensors]
    try:
        return _facts(_Keys(readers[0]), size, tensors)
    except _GARBAGE as error:
        raise Refused(f"{path.name} is damaged: its metadata cannot be read ({error})") from error


def _read(path: Path) -> Any:
    read_layout(path)
    import gguf

    try:
        return gguf.GGUFReader(path)
    except _GARBAGE as error:
        size = path.stat().st_size
        raise Refused(
            f"{path.name} is cut short or damaged: what its header lists does not fit into its "
            f"{size} bytes"
        ) from error


class _Keys:
    """Metadata by name, with the architecture's prefix filled in."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader
        self.architecture = str(self.get("general.architecture") or "unknown")

    def get(self, key: str) -> Any:
        field = self._reader.get_field(key)
        return None if field is None else field.contents()

    def number(self, key: str, default: int = 0) -> int:
        value = self.get(f"{self.architecture}.{key}")
        # Some architectures give a value per layer; the largest bounds memory.
        if isinstance(value, list):
            value = max(value, default=default)
        return default if value is None else int(value)


def _facts(keys: _Keys, size: int, tensors: Any) -> GgufFacts:
    heads = keys.number("attention.head_count")
    width = keys.number("embedding_length")
    per_head = width // heads if heads else 0
    vocabulary = keys.get("tokenizer.ggml.tokens")
    pooling = keys.get(f"{keys.architecture}.pooling_type")
    return GgufFacts(
        architecture=keys.architecture,
        name=keys.get("general.name"),
        quantization=_quantization(keys, tensors),
        parameters=sum(int(tensor.n_elements) for tensor in tensors),
        size=size,
        tensor_bytes=sum(int(tensor.n_bytes) for tensor in tensors),
        layers=keys.number("block_count"),
        embedding_length=width,
        feed_forward_length=keys.number("feed_forward_length"),
        heads=heads,
        heads_kv=keys.number("attention.head_count_kv", heads),
        key_length=keys.number("attention.key_length", per_head),
        value_length=keys.number("attention.value_length", per_head),
        context_length=keys.number("context_length"),
        sliding_window=keys.number("attention.sliding_window") or None,
        vocab_size=len(vocabulary) if vocabulary is not None else keys.number("vocab_size"),
        expert_count=keys.number("expert_count"),
        has_chat_template=keys.get("tokenizer.chat_template") is not None,
        pooling=None if pooling is None else _POOLING.get(int(pooling), str(pooling)),
    )


def _quantization(keys: _Keys, tensors: Any) -> str | None:
    import gguf

    kind = keys.get("general.file_type")
    if kind is not None:
        try:
            return str(gguf.LlamaFileType(int(kind)).name).removeprefix("MOSTLY_")
        except ValueError:
            return None
    names = [tensor.tensor_type.name for tensor in tensors]
    return max(set(names), key=names.count) if names else None
