"""/v1/embeddings: vectors of texts."""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field, field_validator

from rbee_agent.contracts.base import Contract
from rbee_agent.contracts.frames import EndFrame
from rbee_agent.contracts.tasks import MAX_NAME, PlacementWish, TaskRequest
from rbee_agent.queen.api.call import Data, Piece
from rbee_agent.queen.api.fields import No
from rbee_agent.queen.api.task_fields import task_of

MAX_INPUTS = 2048

REFUSED = {
    "dimensions": No("vectors have the length that the model gives them"),
}


class EmbeddingBody(Contract):
    """The body of ``POST /v1/embeddings``."""

    model: str = Field(min_length=1, max_length=MAX_NAME, description="a model with pooling")
    input: str | list[str] = Field(
        description="one text or up to 2048; token ids are refused, they are of another tokenizer"
    )
    encoding_format: Literal["float", "base64"] = Field(
        "float", description="base64: little-endian 32-bit floats, as at OpenAI"
    )
    user: str | None = Field(None, description="names the session")
    priority: Literal["interactive", "batch"] | None = Field(None, description="as in /v2")
    deadline_ms: int | None = Field(None, description="as in /v2")
    placement: PlacementWish | None = Field(None, description="as in /v2")

    @field_validator("input", mode="before")
    @classmethod
    def _is_text(cls, given: Any) -> Any:
        if isinstance(given, list):
            if not given or len(given) > MAX_INPUTS:
                raise ValueError(f"1 to {MAX_INPUTS} texts")
            if not all(isinstance(one, str) for one in given):
                raise ValueError(
                    "token ids are of one tokenizer, and the models here have others: send text "
                    "(LangChain: check_embedding_ctx_length=False)"
                )
        return given

    def task(self, extra: dict[str, Any]) -> TaskRequest:
        """The task.

        Raises:
            InvalidParams: every violation.
        """
        fields = {
            name: value
            for name in ("model", "priority", "deadline_ms", "placement")
            if (value := getattr(self, name)) is not None
        }
        inputs = [self.input] if isinstance(self.input, str) else self.input
        return task_of({**fields, **extra, "workload": "embedding", "inputs": inputs})


def whole(pieces: Sequence[Piece], body: EmbeddingBody) -> dict[str, Any]:
    """The answer."""
    data: list[dict[str, Any]] = []
    tokens = 0
    for piece in pieces:
        if isinstance(piece, Data):
            data.extend(piece.data)
        elif isinstance(piece, EndFrame):
            tokens = piece.tokens_in
    return {
        "object": "list",
        "data": [
            {
                "object": "embedding",
                "index": one["index"],
                "embedding": _vector(one["embedding"], body.encoding_format),
            }
            for one in data
        ],
        "model": body.model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def _vector(values: list[float], form: str) -> list[float] | str:
    if form == "float":
        return values
    return base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()
