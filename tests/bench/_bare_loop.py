"""The raw limit: a loop over ``llama_decode`` that writes each token to a socket, and no more.

It knows no requests, no sampling but the greatest logit, no cancel, no cache: what any server could
reach at best with this model, build and machine, under the same clients.
"""

from __future__ import annotations

import ctypes
import json
import socket
import sys
from typing import Any

import llama_cpp
import numpy as np

PORT, MODEL, SLOTS, CONTEXT, THREADS, CHUNK = (
    int(sys.argv[1]),
    sys.argv[2],
    *map(int, sys.argv[3:7]),
)


@llama_cpp.llama_log_callback
def _silent(_level: int, _text: bytes, _data: ctypes.c_void_p) -> None:
    pass


def main() -> None:
    """Answer runs: ``{"width": n, "prompts": [[ids]], "tokens": n}`` on the first connection."""
    llama_cpp.llama_log_set(_silent, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    model = llama_cpp.llama_model_load_from_file(
        MODEL.encode(), llama_cpp.llama_model_default_params()
    )
    params = llama_cpp.llama_context_default_params()
    params.n_ctx, params.n_seq_max = CONTEXT * SLOTS, SLOTS
    params.n_batch = params.n_ubatch = max(CHUNK, SLOTS, 32)
    params.n_threads = params.n_threads_batch = THREADS
    params.kv_unified, params.swa_full, params.no_perf = False, True, True
    params.flash_attn_type = 1
    context = llama_cpp.llama_init_from_model(model, params)
    vocab = llama_cpp.llama_model_get_vocab(model)
    size = llama_cpp.llama_vocab_n_tokens(vocab)
    batch = llama_cpp.llama_batch_init(params.n_batch, 0, 1)
    with socket.create_server(("127.0.0.1", PORT), backlog=64) as server:
        while True:
            control, _ = server.accept()
            said = json.loads(control.makefile().readline())
            readers = [server.accept()[0] for _ in range(said["width"])]
            _run(context, batch, size, readers, said)
            for one in (*readers, control):
                one.close()


def _run(context: Any, batch: Any, size: int, readers: list[socket.socket], said: Any) -> None:
    memory = llama_cpp.llama_get_memory(context)
    llama_cpp.llama_memory_clear(memory, False)
    last = []
    for seq, prompt in enumerate(said["prompts"]):
        for start in range(0, len(prompt), CHUNK):
            part = prompt[start : start + CHUNK]
            _fill(batch, [(seq, token, start + i) for i, token in enumerate(part)])
            batch.logits[len(part) - 1] = 1
            assert llama_cpp.llama_decode(context, batch) == 0
        last.append(_greatest(context, -1, size))
    ends = [len(prompt) for prompt in said["prompts"]]
    for step in range(said["tokens"]):
        frame = b'event: token\ndata: {"i":%d,"t":" word"}\n\n' % step
        for reader in readers:
            reader.send(frame)
        rows = [(seq, token, ends[seq] + step) for seq, token in enumerate(last)]
        _fill(batch, rows)
        for index in range(len(rows)):
            batch.logits[index] = 1
        assert llama_cpp.llama_decode(context, batch) == 0
        last = [_greatest(context, index, size) for index in range(len(rows))]


def _fill(batch: Any, rows: list[tuple[int, int, int]]) -> None:
    for index, (seq, token, position) in enumerate(rows):
        batch.token[index] = token
        batch.pos[index] = position
        batch.n_seq_id[index] = 1
        batch.seq_id[index][0] = seq
        batch.logits[index] = 0
    batch.n_tokens = len(rows)


def _greatest(context: Any, index: int, size: int) -> int:
    pointer = llama_cpp.llama_get_logits_ith(context, index)
    return int(np.argmax(np.ctypeslib.as_array(pointer, shape=(size,))))


if __name__ == "__main__":
    main()
