"""llama.cpp's C API with types and errors: the only file that knows ctypes.

The names follow llama.h. A `Model` and its `Context` are used by one thread at a time, except for
tokenising, which only reads the vocabulary.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import re
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import llama_cpp
import numpy as np
import numpy.typing as npt

from rbee_agent.engine.options import EngineOptions
from rbee_agent.errors import RbeeError

Logits = npt.NDArray[np.float32]

KV_TYPES = {"f32": 0, "f16": 1, "q4_0": 2, "q4_1": 3, "q5_0": 6, "q5_1": 7, "q8_0": 8, "bf16": 30}
"""ggml's numbers of the types that a KV cache can have."""

_ALL_LAYERS = 999
_LOG_LINES = 400
_LOG_DEBUG = 1
_BUFFER = re.compile(r"(model|KV|RS|compute|output) buffer size\s*=\s*([\d.]+) MiB")
_BUFFER_USES = {"model": "weights", "KV": "kv", "RS": "kv"}


class EngineLoadError(RbeeError):
    """The model could not be loaded; the message says what was needed and what there was."""

    default_code = "INVALID_PARAMS"


class _Log:
    """Keeps llama.cpp's last log lines: an error of ours quotes them, nothing is printed."""

    def __init__(self) -> None:
        self.lines: deque[str] = deque(maxlen=_LOG_LINES)
        self._lock = threading.Lock()
        self._callback: Any = None

    def install(self) -> None:
        with self._lock:
            if self._callback is None:
                self._callback = llama_cpp.llama_log_callback(self._on_line)
                llama_cpp.llama_log_set(self._callback, ctypes.c_void_p(0))
                llama_cpp.llama_backend_init()

    def _on_line(self, level: int, text: bytes, _data: Any) -> None:
        # Thousands of debug lines describe the graph: they would push out what matters.
        if level <= _LOG_DEBUG:
            return
        line = text.decode(errors="replace").strip()
        if line and line != ".":
            self.lines.append(line)

    def last_error(self) -> str:
        """The last line that speaks of a failure."""
        words = ("error", "fail", "unable", "not enough", "invalid", "corrupt", "unknown")
        for line in reversed(self.lines):
            if any(word in line.lower() for word in words):
                return line
        return self.lines[-1] if self.lines else "no reason was given"


LOG = _Log()


def buffer_bytes(lines: Iterable[str]) -> dict[str, int]:
    """Bytes by use (weights, kv, compute) from what llama.cpp logs of the buffers it makes.

    The C API has no call for them.
    """
    found: Counter[str] = Counter()
    for line in lines:
        said = _BUFFER.search(line)
        if said is not None:
            found[_BUFFER_USES.get(said[1], "compute")] += round(float(said[2]) * 1024**2)
    return dict(found)


class Model:
    """Weights and vocabulary."""

    def __init__(self, options: EngineOptions, on_progress: Callable[[float], None]) -> None:
        """Load the weights.

        Raises:
            EngineLoadError: llama.cpp refused the file or there is too little memory.
        """
        LOG.install()
        LOG.lines.clear()
        params = llama_cpp.llama_model_default_params()
        params.n_gpu_layers = 0 if options.device == "cpu" else _ALL_LAYERS
        index = options.device.partition(":")[2]
        params.main_gpu = int(index) if index.isdigit() else 0
        if options.tensor_split:
            size = llama_cpp.llama_max_devices()
            values = (*options.tensor_split, *([0.0] * size))[:size]
            self._split = (ctypes.c_float * size)(*values)
            params.tensor_split = self._split
        else:
            params.split_mode = 0

        def progress(fraction: float, _data: Any) -> bool:
            on_progress(fraction)
            return True

        callback = llama_cpp.llama_progress_callback(progress)
        params.progress_callback = callback
        path = options.model_path
        self._handle: Any = llama_cpp.llama_model_load_from_file(str(path).encode(), params)
        if not self._handle:
            raise EngineLoadError(f"{path.name} could not be loaded: {LOG.last_error()}")
        self.vocab: Any = llama_cpp.llama_model_get_vocab(self._handle)
        self.n_vocab: int = llama_cpp.llama_vocab_n_tokens(self.vocab)
        self.n_layers: int = llama_cpp.llama_model_n_layer(self._handle)
        self.context_length: int = llama_cpp.llama_model_n_ctx_train(self._handle)
        self.embedding_length: int = llama_cpp.llama_model_n_embd_out(self._handle)
        self.size: int = llama_cpp.llama_model_size(self._handle)
        self.decodes: bool = llama_cpp.llama_model_has_decoder(self._handle)
        self.recurrent: bool = llama_cpp.llama_model_is_recurrent(
            self._handle
        ) or llama_cpp.llama_model_is_hybrid(self._handle)
        self.adds_bos: bool = llama_cpp.llama_vocab_get_add_bos(self.vocab)
        self.end_tokens = frozenset(
            token
            for token in range(self.n_vocab)
            if llama_cpp.llama_vocab_is_eog(self.vocab, token)
        )

    @property
    def handle(self) -> Any:
        """The C pointer."""
        return self._handle

    def close(self) -> None:
        """Free the weights; every context must be closed before."""
        if self._handle:
            llama_cpp.llama_model_free(self._handle)
            self._handle = None

    def metadata(self, key: str) -> str | None:
        """A value of the file's metadata as text."""
        size = 1024
        while True:
            buffer = ctypes.create_string_buffer(size)
            length = llama_cpp.llama_model_meta_val_str(self._handle, key.encode(), buffer, size)
            if length < 0:
                return None
            if length < size:
                return buffer.value.decode(errors="replace")
            size = length + 1

    def token_text(self, token: int) -> str:
        """How a template writes a token such as ``<|im_end|>``; empty for none."""
        if token < 0:
            return ""
        return self.piece(token, special=True).decode(errors="replace")

    @property
    def bos(self) -> int:
        """The token that begins a text; -1 where the model has none."""
        return int(llama_cpp.llama_vocab_bos(self.vocab))

    @property
    def eos(self) -> int:
        """The token that ends a text; -1 where the model has none."""
        return int(llama_cpp.llama_vocab_eos(self.vocab))

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        """Token ids of `text`.

        Args:
            text: any text.
            add_special: put the model's begin (and end) tokens around it.
            parse_special: read ``<|im_end|>`` and the like as the tokens they name.
        """
        raw = text.encode()
        size = len(raw) + 16
        while True:
            tokens = (llama_cpp.llama_token * size)()
            count = llama_cpp.llama_tokenize(
                self.vocab, raw, len(raw), tokens, size, add_special, parse_special
            )
            if count >= 0:
                return list(tokens[:count])
            size = -count

    def piece(self, token: int, *, special: bool = False) -> bytes:
        """The bytes of one token; those of control tokens only with `special`."""
        size = 64
        while True:
            buffer = ctypes.create_string_buffer(size)
            length = llama_cpp.llama_token_to_piece(self.vocab, token, buffer, size, 0, special)
            if length >= 0:
                return buffer.raw[:length]
            size = -length


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
            EngineLoadError: there is too little memory for it; names the size it needs.
        """
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = context * sequences
        params.n_batch = params.n_ubatch = max(options.prefill_chunk, sequences, 32)
        params.n_seq_max = sequences
        params.n_threads = params.n_threads_batch = threads
        params.kv_unified = False
        params.swa_full = True
        params.no_perf = True
        params.flash_attn_type = 1 if options.flash_attention else 0
        params.type_k = params.type_v = KV_TYPES[options.kv_type]
        if embeddings:
            params.embeddings = True
            params.n_batch = params.n_ubatch = context
            said = llama_cpp.llama_context_default_params().pooling_type
            params.pooling_type = said
        self._handle: Any = llama_cpp.llama_init_from_model(model.handle, params)
        if not self._handle:
            raise EngineLoadError(
                f"no memory for {sequences} slots of {context} tokens: {LOG.last_error()}",
                code="INSUFFICIENT_VRAM",
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

    def close(self) -> None:
        """Free the buffers."""
        if self._handle:
            llama_cpp.llama_batch_free(self._batch)
            llama_cpp.llama_free(self._handle)
            self._handle = None

    def decode_run(self, seq: int, tokens: Sequence[int], start: int, *, logits: bool) -> None:
        """Feed a run of tokens of one sequence in one call; logits of the last one if wanted.

        Raises:
            RbeeError: llama.cpp failed; the sequence's cells behind `start` are undefined.
        """
        batch = self._batch
        for offset, token in enumerate(tokens):
            batch.token[offset] = token
            batch.pos[offset] = start + offset
            batch.n_seq_id[offset] = 1
            batch.seq_id[offset][0] = seq
            batch.logits[offset] = 0
        batch.n_tokens = len(tokens)
        if logits:
            batch.logits[len(tokens) - 1] = 1
        self._decode()

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

    def _decode(self) -> None:
        code = llama_cpp.llama_decode(self._handle, self._batch)
        if code == 0:
            return
        if code == 1:
            raise RbeeError("the KV cache has no room", code="CONTEXT_LENGTH_EXCEEDED")
        raise RbeeError(f"llama.cpp failed ({code}): {LOG.last_error()}", code="WORKER_RESET")

    def logits(self, index: int) -> Logits:
        """The logits of the batch's row `index` (-1: the last), valid until the next decode."""
        pointer = llama_cpp.llama_get_logits_ith(self._handle, index)
        return np.ctypeslib.as_array(pointer, shape=(self.model.n_vocab,))

    def embedding(self, seq: int) -> npt.NDArray[np.float32] | None:
        """The pooled embedding of a sequence; None where the file pools nothing."""
        pointer = llama_cpp.llama_get_embeddings_seq(self._handle, seq)
        if not pointer:
            return None
        return np.ctypeslib.as_array(pointer, shape=(self.model.embedding_length,)).copy()

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


def build() -> str:
    """Version of the llama.cpp that computes, with the instruction sets it uses."""
    info = llama_cpp.llama_print_system_info().decode(errors="replace").strip(" |")
    return f"llama-cpp-python {importlib.metadata.version('llama-cpp-python')}; {info}"
