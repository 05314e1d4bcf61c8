"""How much memory a worker will need, from what its file says. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from rbee_agent.contracts.models import GgufFacts

BYTES_PER_VALUE = {
    "f32": 4.0,
    "f16": 2.0,
    "bf16": 2.0,
    "q8_0": 34 / 32,
    "q5_1": 24 / 32,
    "q5_0": 22 / 32,
    "q4_1": 20 / 32,
    "q4_0": 18 / 32,
}
"""Bytes of one KV value: ggml's block sizes over 32 values."""

PREFILL_CHUNK = 64
PROCESS_OVERHEAD = 96 * 1024**2
"""A worker's own process: interpreter, libraries, vocabulary. Measured with the demo model."""


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """Bytes by use."""

    weights: int
    kv: int
    compute: int
    overhead: int = PROCESS_OVERHEAD

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.kv + self.compute + self.overhead


def estimate(facts: GgufFacts, *, context: int, slots: int, kv_type: str = "f16") -> MemoryEstimate:
    """What a worker of this model takes.

    Weights are the tensors' bytes. The KV cache holds, for each layer and each token of each slot,
    a key and a value for every KV head (llama.cpp's llama_kv_cache). The compute buffer is bounded
    by the logits, the widest activations and the attention scores of one prefill chunk; llama.cpp
    reserves it for the worst batch.

    Args:
        facts: of the model's file.
        context: tokens per slot.
        slots: sequences.
        kv_type: type of the KV values.
    """
    values = facts.heads_kv * (facts.key_length + facts.value_length)
    cells = context * slots
    kv = int(facts.layers * cells * values * BYTES_PER_VALUE.get(kv_type, 2.0))
    rows = max(PREFILL_CHUNK, slots)
    widest = max(facts.vocab_size, 2 * facts.feed_forward_length, 3 * facts.embedding_length)
    scores = facts.heads * context * rows
    compute = 4 * (rows * (widest + 4 * facts.embedding_length) + scores)
    return MemoryEstimate(weights=facts.tensor_bytes or facts.size, kv=kv, compute=compute)
