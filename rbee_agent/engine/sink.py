"""Where an engine puts what it makes: implemented by the worker, and by tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from rbee_agent.contracts.frames import EndFrame, Phase
from rbee_agent.engine.tools.pieces import Piece
from rbee_agent.errors import RbeeError


class Sink(Protocol):
    """Takes one job's output. Every method is called from the engine's thread and must not block.

    `token`, `pieces` and `result` come between `accepted` and exactly one of `end`, `error`.
    """

    def accepted(self, tokens_in: int, prompt_ids_sha256: str | None = None) -> None:
        """The request is sound; the prompt has `tokens_in` tokens."""

    def token(
        self,
        text: str,
        index: int,
        ids: list[int],
        logprobs: list[dict[str, Any]] | None = None,
        channel: str | None = None,
    ) -> None:
        """Whole UTF-8 text made of `ids`, all ids since the frame before; `index` is the last's."""

    def pieces(self, pieces: Sequence[Piece], index: int, ids: list[int]) -> None:
        """Pieces of tool calls, or text of several channels, that were all made of `ids`."""

    def result(self, data: list[dict[str, Any]]) -> None:
        """Embeddings or scores."""

    def progress(self, phase: Phase, done: int, total: int) -> None:
        """How many of the prompt's tokens are read."""

    def end(self, frame: EndFrame) -> None:
        """The good end."""

    def error(self, error: RbeeError) -> None:
        """The bad end."""
