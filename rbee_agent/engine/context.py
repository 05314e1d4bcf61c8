"""llama.cpp's contexts: KV cells and compute buffers, and the calls that fill them."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import llama_cpp
import numpy as np
import numpy.typing as npt

from rbee_agent.engine.llama import KV_TYPES, LOG, EngineLoadError, Model
from rbee_agent.engine.options import EngineOptions
from rbee_agent.errors import RbeeError

Logits = npt.NDArray[np.float32]

_CELL_PAD = 256
"""llama.cpp computes attention over cells in steps of so many."""
_ABORTED = 2
# llama.cpp asks before every node of its graph, thousands of times a step, whether to give up.
# libc's strlen answers with no Python in between: 0 for an empty text, 1 once a byte is set.
_ASKED = llama_cpp.ggml_abort_callback(("strlen", ctypes.CDLL(None)))


class Context:
    """KV cache and compute buffers for a number of sequences, each with a stream of its own."""

    def __init__(
        self,
        model: Model,
        options: EngineOptions,
        *,
        sequences: int,
        context: int,
        threads: int,
        embeddings: bool = False,
    ) -> None:
        """Make the buffers.

        Args:
            model: loaded weights.
            options: KV type, flash attention, prefill chunk.
            sequences: how many sequences it holds.
            context: tokens for each sequence.
            threads: CPU threads.
            embeddings: give embeddings in place of logits, pooled as the file says.

        Raises:
            EngineLoadError: llama.cpp refused; quotes its reason.
        """
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = context * sequences
        params.n_batch = params.n_ubatch = max(options.chunk, sequences, 32)
        params.n_seq_max = sequences
        params.n_threads = params.n_threads_batch = threads
        params.kv_unified = False
        params.swa_full = True
        params.no_perf = True
        params.flash_attn_type = 1 if options.flash_attention else 0
        self._splits_lone_rows = options.flash_attention and options.device == "cpu"
        params.type_k = params.type_v = KV_TYPES[options.kv_type]
        self._give_up = ctypes.create_string_buffer(2)
        params.abort_callback = _ASKED
        params.abort_callback_data = ctypes.addressof(self._give_up)
        if embeddings:
            params.embeddings = True
            params.n_batch = params.n_ubatch = context
            said = llama_cpp.llama_context_default_params().pooling_type
            params.pooling_type = said
        self._handle: Any = llama_cpp.llama_init_from_model(model.handle, params)
        if not self._handle:
            raise EngineLoadError(
                f"llama.cpp makes no context of {sequences} slots of {context} tokens: "
                f"{LOG.last_error()}"
            )
        self._memory: Any = llama_cpp.llama_get_memory(self._handle)
        self.model = model
        self.context = context
        self.sequences = sequences
        self.max_batch = int(params.n_batch)
        self._batch = llama_cpp.llama_batch_init(self.max_batch, 0, 1)
        self.pooling: int = llama_cpp.llama_pooling_type(self._handle)

    @property
    def handle(self) -> Any:
        """The C pointer."""
        return self._handle

    @property
    def has_memory(self) -> bool:
        """Whether it keeps cells at all: encoders do not."""
        return bool(self._memory)

    def close(self) -> None:
        """Free the buffers."""
        if self._handle:
            llama_cpp.llama_batch_free(self._batch)
            llama_cpp.llama_free(self._handle)
            self._handle = None

    def interrupt(self, on: bool) -> None:
        """Any thread: let the running call, and those that follow, fail with CANCELLED; or not.

        Works on CPUs only; elsewhere a call ends when it ends.
        """
        self._give_up[0] = b"\1" if on else b"\0"

    def decode_run(self, seq: int, tokens: Sequence[int], start: int, *, logits: bool) -> None:
        """Feed a run of tokens of one sequence in one call; logits of the last one if wanted.

        Raises:
            RbeeError: llama.cpp failed; the sequence's cells behind `start` are undefined.
        """
        self._fill(seq, tokens, start)
        if logits:
            self._batch.logits[len(tokens) - 1] = 1
        self._decode()

    def decode_alone(self, seq: int, token: int, position: int, *, logits: bool = True) -> None:
        """Feed one token of one sequence by the very arithmetic that rows of a batch have.

        On the CPU, flash attention splits the cells of a lone row among the threads, once there
        are 512 of them; those of two rows never. A second row, forgotten at once, keeps it whole.

        Raises:
            RbeeError: llama.cpp failed.
        """
        if not self._splits_lone_rows or position < _CELL_PAD:
            self.decode_run(seq, [token], position, logits=logits)
            return
        batch = self._batch
        self._fill(seq, [token, token], position)
        batch.logits[0] = logits
        self._decode()
        self.keep(seq, position + 1)

    def decode_rows(self, rows: Sequence[tuple[int, int, int]]) -> None:
        """Feed one token each of several sequences in one call, all with logits.

        Args:
            rows: sequence, token, position; ascending sequences, so that llama.cpp batches them.

        Raises:
            RbeeError: llama.cpp failed.
        """
        batch = self._batch
        for index, (seq, token, position) in enumerate(rows):
            batch.token[index] = token
            batch.pos[index] = position
            batch.n_seq_id[index] = 1
            batch.seq_id[index][0] = seq
            batch.logits[index] = 1
        batch.n_tokens = len(rows)
        self._decode()

    def _fill(self, seq: int, tokens: Sequence[int], start: int) -> None:
        batch = self._batch
        for offset, token in enumerate(tokens):
            batch.token[offset] = token
            batch.pos[offset] = start + offset
            batch.n_seq_id[offset] = 1
            batch.seq_id[offset][0] = seq
            batch.logits[offset] = 0
        batch.n_tokens = len(tokens)

    def _decode(self) -> None:
        code = llama_cpp.llama_decode(self._handle, self._batch)
        if code == 0:
            return
        if code == _ABORTED:
            raise RbeeError("the task was cancelled", code="CANCELLED")
        if code == 1:
            raise RbeeError("the KV cache has no room", code="CONTEXT_LENGTH_EXCEEDED")
        raise RbeeError(f"llama.cpp failed ({code}): {LOG.last_error()}", code="WORKER_RESET")

    def logits(self, index: int) -> Logits:
        """The logits of the batch's row `index` (-1: the last), valid until the next decode."""
        pointer = llama_cpp.llama_get_logits_ith(self._handle, index)
        return np.ctypeslib.as_array(pointer, shape=(self.model.n_vocab,))

    def embedding(self, seq: int) -> npt.NDArray[np.float32] | None:
        """The pooled embedding, or the scores, of a sequence; None where the file pools nothing."""
        pointer = llama_cpp.llama_get_embeddings_seq(self._handle, seq)
        if not pointer:
            return None
        ranks = self.pooling == llama_cpp.LLAMA_POOLING_TYPE_RANK
        length = self.model.scores if ranks else self.model.embedding_length
        return np.ctypeslib.as_array(pointer, shape=(length,)).copy()

    def keep(self, seq: int, length: int) -> bool:
        """Forget all of a sequence behind its first `length` tokens; False where it cannot."""
        return bool(llama_cpp.llama_memory_seq_rm(self._memory, seq, length, -1))

    def copy(self, source: int, target: int) -> None:
        """Make `target` a copy of the whole of `source`; what it held is forgotten."""
        llama_cpp.llama_memory_seq_rm(self._memory, target, -1, -1)
        llama_cpp.llama_memory_seq_cp(self._memory, source, target, -1, -1)

    def save(self, seq: int) -> bytes:
        """The KV state of a sequence as bytes."""
        size = llama_cpp.llama_state_seq_get_size(self._handle, seq)
        buffer = (ctypes.c_uint8 * size)()
        written = llama_cpp.llama_state_seq_get_data(self._handle, buffer, size, seq)
        return bytes(buffer[:written]) if written != size else bytes(buffer)

    def restore(self, seq: int, state: bytes) -> bool:
        """Put a saved state into a sequence; False where it does not fit."""
        llama_cpp.llama_memory_seq_rm(self._memory, seq, -1, -1)
        buffer = (ctypes.c_uint8 * len(state)).from_buffer_copy(state)
        return bool(llama_cpp.llama_state_seq_set_data(self._handle, buffer, len(state), seq))

    def clear(self) -> None:
        """Forget everything."""
        llama_cpp.llama_memory_clear(self._memory, False)
