"""Token frames as text, made and cut without JSON: the token path validates nothing.

A worker writes the ids last: ``{"type":"token","i":5,"t":" the","ids":[260]}``. The queen keeps the
whole for its journal and sends clients what stands before ``,"ids":``. The text cannot hold that
mark by itself, because JSON escapes its quotes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

_IDS_MARK = ',"ids":'
_quote = json.encoder.encode_basestring


def token_frame(
    index: int,
    text: str,
    ids: Sequence[int],
    *,
    channel: str | None = None,
    logprobs: list[dict[str, Any]] | None = None,
) -> str:
    """The JSON of a worker's token frame; `index` is that of the last token in it."""
    extra = f',"channel":{_quote(channel)}' if channel else ""
    if logprobs is not None:
        extra += f',"lp":{json.dumps(logprobs, separators=(",", ":"))}'
    joined = ",".join(map(str, ids))
    return f'{{"type":"token","i":{index},"t":{_quote(text)}{extra}{_IDS_MARK}[{joined}]}}'


def tool_call_frame(
    index: int,
    ids: Sequence[int],
    *,
    call: int,
    call_id: str | None,
    name: str | None,
    arguments_delta: str,
) -> str:
    """The JSON of a worker's tool_call frame, with its ids last like a token frame's."""
    head: dict[str, Any] = {"type": "tool_call", "i": index, "index": call}
    if call_id is not None:
        head["id"] = call_id
    if name is not None:
        head["name"] = name
    head["arguments_delta"] = arguments_delta
    body = json.dumps(head, separators=(",", ":"), ensure_ascii=False)
    return f"{body[:-1]}{_IDS_MARK}[{','.join(map(str, ids))}]}}"


def without_ids(data: str) -> str:
    """The frame as a client may see it."""
    cut = data.rfind(_IDS_MARK)
    return data if cut < 0 else data[:cut] + "}"


def ids_of(data: str) -> list[int]:
    """The token ids of a worker's frame.

    Raises:
        ValueError: the ids are there but are no list of numbers.
    """
    cut = data.rfind(_IDS_MARK)
    if cut < 0:
        return []
    inside = data[cut + len(_IDS_MARK) :].rstrip("}").strip("[]")
    return [int(part) for part in inside.split(",")] if inside else []


def index_of(data: str) -> int:
    """The index of the last token in a frame, from its text.

    Raises:
        ValueError: the text is no frame with an index.
    """
    start = data.index('"i":') + 4
    end = start
    while data[end].isdigit():
        end += 1
    return int(data[start:end])


def batch(frames: Sequence[str]) -> str:
    """Several client token frames as one: nothing dropped, fewer writes for a slow reader."""
    if len(frames) == 1:
        return frames[0]
    parts = ",".join("{" + frame.removeprefix('{"type":"token",') for frame in frames)
    return f'{{"type":"token","batch":[{parts}]}}'
