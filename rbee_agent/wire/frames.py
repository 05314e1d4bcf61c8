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
_BATCH_MARK = ',"batch":['
_BATCH_WITHIN = 48
"""Only a type and an index stand before it."""
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
    return pieces_frame(index, [call_part(call, call_id, name, arguments_delta)], ids)[1]


def call_part(
    call: int, call_id: str | None, name: str | None, arguments_delta: str
) -> dict[str, Any]:
    """A piece of the tool call number `call`; id and name stand in its first piece only."""
    part: dict[str, Any] = {"index": call}
    if call_id is not None:
        part["id"] = call_id
    if name is not None:
        part["name"] = name
    return {**part, "arguments_delta": arguments_delta}


def text_part(text: str, channel: str | None) -> dict[str, Any]:
    """Text that shares its frame with something else."""
    return {"t": text} if channel is None else {"t": text, "channel": channel}


def pieces_frame(
    index: int, parts: Sequence[dict[str, Any]], ids: Sequence[int]
) -> tuple[str, str]:
    """The event and the JSON of a worker's frame in which tokens made more than plain text.

    A frame is the least that a stream can be cut at, so what the same tokens made stays in one: as
    a `batch`, whose parts are text or pieces of calls.
    """
    event = "tool_call" if any("index" in part for part in parts) else "token"
    head: dict[str, Any] = {"type": event, "i": index}
    if len(parts) == 1:
        head |= parts[0]
    else:
        head["batch"] = [{"i": index, **part} for part in parts]
    body = json.dumps(head, separators=(",", ":"), ensure_ascii=False)
    return event, f"{body[:-1]}{_IDS_MARK}[{','.join(map(str, ids))}]}}"


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
    return f'{{"type":"token","batch":[{",".join(map(_parts, frames))}]}}'


def _parts(frame: str) -> str:
    inside = frame.find(_BATCH_MARK, 0, _BATCH_WITHIN)
    if inside >= 0:
        return frame[inside + len(_BATCH_MARK) : -2]
    return "{" + frame.removeprefix('{"type":"token",')
