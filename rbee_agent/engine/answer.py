"""From tokens to what an answer means: channels, tool calls, and where a stop string ends it."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from typing import Protocol

from rbee_agent.engine.text import TextStream
from rbee_agent.engine.tools.parse import OutputParser
from rbee_agent.engine.tools.pieces import Piece, Text, joined


class Vocabulary(Protocol):
    """What must be known of tokens."""

    def piece(self, token: int) -> bytes:
        """The bytes that a token shows; control tokens show none."""

    def control(self, token: int) -> str:
        """The name of a control token; empty for others."""

    def ends(self, token: int) -> bool:
        """Whether the token ends the answer."""


class Answer:
    """Tokens in, pieces out: a pure function of the tokens so far.

    Stop strings are looked for in the answer's text alone: not in thoughts, and not in arguments,
    which would be cut in the middle.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        *,
        stop: Sequence[str] = (),
        parser: OutputParser | None = None,
        one_call: bool = False,
    ) -> None:
        """Begin an answer; without a parser everything is text."""
        self.stopped = False
        """A stop string was found, or the one call that was wanted is whole."""
        self._vocabulary = vocabulary
        self._parser = parser
        self._one_call = one_call
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._watches = bool(stop)
        self._text = TextStream(stop)

    @property
    def calls(self) -> int:
        """Tool calls that are whole."""
        return 0 if self._parser is None else self._parser.calls

    @property
    def stopped_by(self) -> str | None:
        """The stop string that ended it, if one did."""
        return self._text.stopped_by

    @property
    def holding(self) -> bool:
        """Whether text was taken of which it is not certain yet what it is."""
        if self._parser is not None and self._parser.holding:
            return True
        return self._text.holding or bool(self._decoder.getstate()[0])

    def opening(self) -> tuple[str, str] | None:
        """See :meth:`OutputParser.opening`; of the last token."""
        return None if self._parser is None else self._parser.opening()

    def push(self, token: int) -> list[Piece]:
        """Take the next token; return what may be shown now, if anything."""
        if self.stopped:
            return []
        raw = self._vocabulary.piece(token)
        if self._parser is None:
            text = self._text.push(raw)
            self.stopped = self._text.stopped
            return [Text(text)] if text else []
        if not raw:
            name = self._vocabulary.control(token)
            raw = name.encode() if self._parser.shows(name) else b""
        pieces = self._parser.push(self._decoder.decode(raw))
        pieces = self._watched(pieces) if self._watches else pieces
        self.stopped = self.stopped or (self._one_call and self._parser.calls > 0)
        return pieces

    def finish(self) -> list[Piece]:
        """What was held back, at an end that no stop string made."""
        if self.stopped:
            return []
        if self._parser is None:
            text = self._text.finish()
            return [Text(text)] if text else []
        pieces = self._parser.push(self._decoder.decode(b"", final=True))
        pieces = joined([*pieces, *self._parser.finish()])
        if not self._watches:
            return pieces
        return joined([*self._watched(pieces), *([] if self.stopped else [self._rest()])])

    def _watched(self, pieces: Sequence[Piece]) -> list[Piece]:
        out: list[Piece] = []
        for piece in pieces:
            if isinstance(piece, Text) and piece.channel is None:
                out.append(Text(self._text.push(piece.text.encode())))
                if self._text.stopped:
                    self.stopped = True
                    break
            else:
                out += [self._rest(), piece]
        return joined(out)

    def _rest(self) -> Text:
        return Text(self._text.finish())
