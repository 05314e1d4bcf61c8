"""A second architecture to hold exactness against: random weights, sliding-window attention.

The demo model is kind: on it every shortcut is bit-equal. This one is made so that some are not
(K-quants, other attention), so that the proof itself can be seen to find a falsehood.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import gguf
import llama_cpp
import numpy as np

from rbee_agent.engine.llama import LOG

LAYERS, WIDTH, HEADS, KV_HEADS, HEAD, FEED = 4, 512, 4, 2, 256, 1024
CONTEXT, WINDOW = 4096, 64
_SEED = 42
_VOCABULARY = (
    "tokenizer.ggml.model",
    "tokenizer.ggml.pre",
    "tokenizer.ggml.tokens",
    "tokenizer.ggml.token_type",
    "tokenizer.ggml.merges",
    "tokenizer.ggml.bos_token_id",
    "tokenizer.ggml.eos_token_id",
    "tokenizer.ggml.unknown_token_id",
    "tokenizer.ggml.padding_token_id",
    "tokenizer.ggml.add_bos_token",
    "tokenizer.ggml.add_space_prefix",
    "tokenizer.chat_template",
)


def write_second_model(vocabulary_of: Path, path: Path) -> None:
    """Write a gemma2 of random weights in Q4_K_M.

    Args:
        vocabulary_of: the GGUF whose tokens it speaks.
        path: where it goes.

    Raises:
        RuntimeError: llama.cpp could not quantise it.
    """
    LOG.install()
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        raw = Path(folder) / "raw.gguf"
        _write_raw(gguf.GGUFReader(vocabulary_of), raw)
        params = llama_cpp.llama_model_quantize_default_params()
        params.ftype = llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_K_M
        code = llama_cpp.llama_model_quantize(str(raw).encode(), str(path).encode(), params)
        if code != 0:
            raise RuntimeError(f"quantising failed: {code}")


def _write_raw(source: gguf.GGUFReader, path: Path) -> None:
    writer = gguf.GGUFWriter(path, "gemma2")
    writer.add_name("second architecture, random weights")
    writer.add_block_count(LAYERS)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(FEED)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_key_length(HEAD)
    writer.add_value_length(HEAD)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_sliding_window(WINDOW)
    writer.add_attn_logit_softcapping(50.0)
    writer.add_final_logit_softcapping(30.0)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    for key in _VOCABULARY:
        field = source.fields[key]
        kind = field.types[0]
        writer.add_key_value(
            key, field.contents(), kind, field.types[-1] if len(field.types) > 1 else None
        )
    tokens = len(source.fields["tokenizer.ggml.tokens"].data)
    random = np.random.default_rng(_SEED)

    def matrix(name: str, rows: int, columns: int, scale: float) -> None:
        weights: Any = random.standard_normal((rows, columns), dtype=np.float32) * scale
        writer.add_tensor(f"{name}.weight", weights.astype(np.float16))

    def norm(name: str) -> None:
        writer.add_tensor(f"{name}.weight", np.zeros(WIDTH, dtype=np.float32) + 1.0)

    matrix("token_embd", tokens, WIDTH, 0.05)
    norm("output_norm")
    for layer in range(LAYERS):
        block = f"blk.{layer}"
        for name in ("attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"):
            norm(f"{block}.{name}")
        matrix(f"{block}.attn_q", HEADS * HEAD, WIDTH, WIDTH**-0.5)
        matrix(f"{block}.attn_k", KV_HEADS * HEAD, WIDTH, WIDTH**-0.5)
        matrix(f"{block}.attn_v", KV_HEADS * HEAD, WIDTH, WIDTH**-0.5)
        matrix(f"{block}.attn_output", WIDTH, HEADS * HEAD, (HEADS * HEAD) ** -0.5)
        matrix(f"{block}.ffn_gate", FEED, WIDTH, WIDTH**-0.5)
        matrix(f"{block}.ffn_up", FEED, WIDTH, WIDTH**-0.5)
        matrix(f"{block}.ffn_down", WIDTH, FEED, FEED**-0.5)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
