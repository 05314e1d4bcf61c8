"""Small GGUF files that are whole: real headers, a few tensors, nothing to compute with."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np


def write_gguf(
    path: Path,
    *,
    rows: int = 64,
    context: int = 4096,
    layers: int = 2,
    part: tuple[int, int] | None = None,
    seed: int = 1,
) -> Path:
    """Write a llama of `rows` x 256 weights; returns `path`.

    Args:
        path: the file.
        rows: of its one large tensor; 1 KiB each.
        context: the context length that it claims.
        layers: the number of layers that it claims.
        part: number (from 0) and count where it is one file of several.
        seed: of the weights: other seeds, other bytes.
    """
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_block_count(layers)
    writer.add_context_length(context)
    writer.add_embedding_length(256)
    writer.add_feed_forward_length(512)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_file_type(0)
    writer.add_vocab_size(1000)
    if part is not None:
        writer.add_uint16("split.no", part[0])
        writer.add_uint16("split.count", part[1])
    numbers = np.random.default_rng(seed).random((rows, 256), dtype=np.float32)
    writer.add_tensor("blk.0.ffn_up.weight", numbers)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
