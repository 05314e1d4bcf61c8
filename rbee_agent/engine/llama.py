"""llama.cpp's C API with types and errors: its log, and a model's weights and vocabulary.

The names follow llama.h. A model is used by one thread at a time, except for tokenising, which
only reads the vocabulary.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

import llama_cpp
import numpy as np
import numpy.typing as npt
from llama_cpp._ggml import libggml

from rbee_agent.contracts.models import GgufFacts
from rbee_agent.engine import devices
from rbee_agent.engine.options import EngineOptions
from rbee_agent.errors import RbeeError

Logits = npt.NDArray[np.float32]

KV_TYPES = {"f32": 0, "f16": 1, "q4_0": 2, "q4_1": 3, "q5_0": 6, "q5_1": 7, "q8_0": 8, "bf16": 30}
"""ggml's numbers of the types that a KV cache can have."""

_ALL_LAYERS = 999
_SPLIT_LAYERS = 1
_ABORT_CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_char_p)
_LOG_LINES = 400
_LOG_DEBUG = 1


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
        gpus = devices.find(options.device, spread=bool(options.tensor_split))
        chosen = devices.pointers(gpus)
        params.devices = ctypes.cast(chosen, ctypes.c_void_p)
        wanted = _ALL_LAYERS if options.gpu_layers is None else options.gpu_layers
        params.n_gpu_layers = wanted if gpus else 0
        if options.tensor_split:
            size = llama_cpp.llama_max_devices()
            values = (*options.tensor_split, *([0.0] * size))[:size]
            self._split = (ctypes.c_float * size)(*values)
            params.tensor_split = self._split
            params.split_mode = _SPLIT_LAYERS
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
        self.scores: int = llama_cpp.llama_model_n_cls_out(self._handle)
        self.size: int = llama_cpp.llama_model_size(self._handle)
        self.decodes: bool = llama_cpp.llama_model_has_decoder(self._handle)
        self.recurrent: bool = llama_cpp.llama_model_is_recurrent(
            self._handle
        ) or llama_cpp.llama_model_is_hybrid(self._handle)
        self.adds_bos: bool = llama_cpp.llama_vocab_get_add_bos(self.vocab)
        self.adds_eos: bool = llama_cpp.llama_vocab_get_add_eos(self.vocab)
        self.adds_sep: bool = llama_cpp.llama_vocab_get_add_sep(self.vocab)
        self.end_tokens = frozenset(
            token
            for token in range(self.n_vocab)
            if llama_cpp.llama_vocab_is_eog(self.vocab, token)
        )

    @property
    def handle(self) -> Any:
        """The C pointer."""
        return self._handle

    @property
    def facts(self) -> GgufFacts:
        """What memory is estimated from."""
        heads = max(1, llama_cpp.llama_model_n_head(self._handle))
        width = llama_cpp.llama_model_n_embd(self._handle)
        return GgufFacts(
            architecture=self.metadata("general.architecture") or "unknown",
            size=self.size,
            layers=self.n_layers,
            heads=heads,
            heads_kv=llama_cpp.llama_model_n_head_kv(self._handle),
            key_length=self._number("attention.key_length", width // heads),
            value_length=self._number("attention.value_length", width // heads),
            embedding_length=width,
            feed_forward_length=self._number("feed_forward_length", 4 * width),
            vocab_size=self.n_vocab,
        )

    @property
    def pooling(self) -> int:
        """How the file says that embeddings are pooled: llama.cpp's number, 0 for not at all."""
        return self._number("pooling_type", 0)

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

    def _number(self, key: str, otherwise: int) -> int:
        said = self.metadata(f"{self.metadata('general.architecture')}.{key}") or ""
        return int(said) if said.isdigit() else otherwise

    def token_text(self, token: int) -> str:
        """How a template writes a token such as ``<|im_end|>``; empty for none."""
        if token < 0:
            return ""
        return self.piece(token, special=True).decode(errors="replace")

    def is_control(self, text: str) -> bool:
        """Whether a text is one token that stands for no text, such as ``<|im_start|>``."""
        ids = self.tokenize(text, add_special=False, parse_special=True)
        return len(ids) == 1 and not self.piece(ids[0])

    @property
    def bos(self) -> int:
        """The token that begins a text; -1 where the model has none."""
        return int(llama_cpp.llama_vocab_bos(self.vocab))

    @property
    def eos(self) -> int:
        """The token that ends a text; -1 where the model has none."""
        return int(llama_cpp.llama_vocab_eos(self.vocab))

    @property
    def sep(self) -> int:
        """The token between two texts; -1 where the model has none."""
        return int(llama_cpp.llama_vocab_sep(self.vocab))

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


_abort_callback: Any = None


def on_abort(tell: Callable[[str], None]) -> None:
    """Let `tell` have the last word when llama.cpp finds itself in a state that cannot be.

    It is called with the failed assertion on the thread that failed; the process ends behind it.
    """
    global _abort_callback

    def last_word(message: bytes) -> None:
        tell(message.decode(errors="replace"))

    _abort_callback = _ABORT_CALLBACK(last_word)
    libggml.ggml_set_abort_callback.argtypes = [_ABORT_CALLBACK]
    libggml.ggml_set_abort_callback.restype = ctypes.c_void_p
    libggml.ggml_set_abort_callback(_abort_callback)


def build() -> str:
    """Version of the llama.cpp that computes, with the instruction sets it uses."""
    info = llama_cpp.llama_print_system_info().decode(errors="replace").strip(" |")
    return f"llama-cpp-python {importlib.metadata.version('llama-cpp-python')}; {info}"
