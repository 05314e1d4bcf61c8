"""The bill of one call, added up over its tasks, and which file made it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rbee_agent.contracts.frames import EndFrame
from rbee_agent.queen.api.call import Answer, Piece, Text
from rbee_agent.queen.api.timings import timings


@dataclass(slots=True)
class Usage:
    """Tokens read and made. Choices of the same prompt share its tokens."""

    choices: int = 1
    """Tasks in a row that have the same prompt; a task counts its prompt when it is their first."""
    tokens_in: int = 0
    tokens_out: int = 0
    cached: int = 0
    reasoning: int = 0
    end: EndFrame | None = None
    """The newest end, and how many there were."""
    ends: int = 0

    def add(self, place: int, piece: Piece) -> None:
        """Count a piece of the task at `place`."""
        if isinstance(piece, Text):
            self.reasoning += piece.tokens if piece.reasoning else 0
        elif isinstance(piece, EndFrame):
            self.end, self.ends = piece, self.ends + 1
            self.tokens_out += piece.tokens_out
            if place % self.choices == 0:
                self.tokens_in += piece.tokens_in
                self.cached += piece.tokens_cached

    def timings(self) -> dict[str, Any]:
        """`timings` as llama.cpp's server has them, where one task made the answer."""
        return {"timings": timings(self.end)} if self.end and self.ends == 1 else {}

    def body(self) -> dict[str, Any]:
        """The `usage` object."""
        return {
            "prompt_tokens": self.tokens_in,
            "completion_tokens": self.tokens_out,
            "total_tokens": self.tokens_in + self.tokens_out,
            "prompt_tokens_details": {"cached_tokens": self.cached},
            "completion_tokens_details": {"reasoning_tokens": self.reasoning},
        }


def fingerprint_of(answer: Answer) -> str | None:
    """`system_fingerprint`: the model file, once a worker has the task."""
    mark = answer.tasks[0].fingerprint
    return None if mark is None else f"fp_{mark[:16]}"
