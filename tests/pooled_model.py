"""A tiny encoder that pools: built as the usual embedding and rerank models, with random weights.

What it says means nothing, but llama.cpp computes it as any BERT: texts become word pieces,
attention looks both ways, and the mean of the last layer is the vector; or a head of two layers
ranks what stands at the first token.
"""

from __future__ import annotations

import string
from pathlib import Path

import gguf
import numpy as np

WIDTH, LAYERS, HEADS, INNER, CONTEXT = 64, 2, 4, 128, 256
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_CHARS = string.ascii_lowercase + string.digits + string.punctuation
_NORMAL, _CONTROL = 1, 3


def write_pooled_model(path: Path, pooling: gguf.PoolingType = gguf.PoolingType.MEAN) -> None:
    """Write the model's file, the same bytes every time."""
    pieces = [*SPECIAL, *(f"\u2581{char}" for char in _CHARS), *_CHARS]
    writer = gguf.GGUFWriter(str(path), "bert")
    writer.add_name("tiny-pooled")
    writer.add_block_count(LAYERS)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_layer_norm_eps(1e-12)
    writer.add_causal_attention(value=False)
    writer.add_pooling_type(pooling)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_tokenizer_model("bert")
    writer.add_token_list(pieces)
    writer.add_token_types([_CONTROL] * len(SPECIAL) + [_NORMAL] * (len(pieces) - len(SPECIAL)))
    writer.add_token_type_count(2)
    writer.add_pad_token_id(0)
    writer.add_unk_token_id(1)
    writer.add_bos_token_id(2)
    writer.add_sep_token_id(3)
    writer.add_eos_token_id(3)
    writer.add_mask_token_id(4)
    tensors = _tensors(len(pieces))
    if pooling == gguf.PoolingType.RANK:
        tensors |= ranking_head()
    for name, tensor in tensors.items():
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def ranking_head() -> dict[str, np.ndarray]:
    """Two layers: as wide as the model, then one number."""
    numbers = np.random.default_rng(8)
    shapes = {"cls.weight": (WIDTH, WIDTH), "cls.bias": (WIDTH,),
              "cls.output.weight": (1, WIDTH), "cls.output.bias": (1,)}  # fmt: skip
    return {
        name: numbers.normal(0, 0.2, shape).astype(np.float32) for name, shape in shapes.items()
    }


def _tensors(vocabulary: int) -> dict[str, np.ndarray]:
    numbers = np.random.default_rng(7)

    def some(*shape: int) -> np.ndarray:
        return numbers.normal(0, 0.2, shape).astype(np.float32)

    def norm(name: str) -> dict[str, np.ndarray]:
        ones, zeros = np.ones(WIDTH, np.float32), np.zeros(WIDTH, np.float32)
        return {f"{name}.weight": ones, f"{name}.bias": zeros}

    found = {
        "token_embd.weight": some(vocabulary, WIDTH),
        "token_types.weight": some(2, WIDTH),
        "position_embd.weight": some(CONTEXT, WIDTH),
        **norm("token_embd_norm"),
    }
    for layer in range(LAYERS):
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            found[f"blk.{layer}.{part}.weight"] = some(WIDTH, WIDTH)
            found[f"blk.{layer}.{part}.bias"] = some(WIDTH)
        found[f"blk.{layer}.ffn_up.weight"] = some(INNER, WIDTH)
        found[f"blk.{layer}.ffn_up.bias"] = some(INNER)
        found[f"blk.{layer}.ffn_down.weight"] = some(WIDTH, INNER)
        found[f"blk.{layer}.ffn_down.bias"] = some(WIDTH)
        found |= norm(f"blk.{layer}.attn_output_norm") | norm(f"blk.{layer}.layer_output_norm")
    return found
