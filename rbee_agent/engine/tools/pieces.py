"""What an answer is made of: text on a channel, and pieces of tool calls."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

Channel = Literal["reasoning"]


class Text(NamedTuple):
    """Text to show; `channel` None is the answer itself."""

    text: str
    channel: Channel | None = None


class Call(NamedTuple):
    """A piece of the call number `number`: id and name once, in its first piece."""

    number: int
    id: str | None
    name: str | None
    arguments: str


Piece = Text | Call


def joined(pieces: Iterable[Piece]) -> list[Piece]:
    """The same pieces, neighbours of one kind made one."""
    out: list[Piece] = []
    for piece in pieces:
        last = out[-1] if out else None
        if isinstance(piece, Text):
            if not piece.text:
                continue
            if isinstance(last, Text) and last.channel == piece.channel:
                out[-1] = Text(last.text + piece.text, piece.channel)
                continue
        elif isinstance(last, Call) and last.number == piece.number and piece.id is None:
            out[-1] = last._replace(arguments=last.arguments + piece.arguments)
            continue
        out.append(piece)
    return out
