"""The one interface to whatever computes: run a task, say how it is and what it has, stop."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from rbee_agent.contracts.workers import ExecuteRequest, TemplateRequest, WorkerHealth
from rbee_agent.settings.secret import Secret
from rbee_agent.wire.sse import ServerEvent

Resume = Literal["ids", "text", "none"]
"""How a stream that broke elsewhere can go on here: by token ids, by its text, or not at all."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where an engine is reached."""

    url: str
    token: Secret | None = None
    model: str = ""
    """What the engine itself calls the model."""
    certificate: str | None = None
    """SHA-256 of the only certificate that may be shown there."""


@dataclass(frozen=True, slots=True)
class Token:
    """One token and the bytes that it shows."""

    id: int
    piece: bytes


@dataclass(frozen=True, slots=True)
class ModelWords:
    """What a model's file says of chats."""

    chat_template: str
    bos: str = ""
    eos: str = ""
    build: str = ""
    """Of the engine."""


class Adapter(Protocol):
    """One kind of engine. Stateless: the target comes with each call."""

    kind: str
    resume: Resume

    def execute(
        self, target: Target, request: ExecuteRequest
    ) -> AbstractAsyncContextManager[AsyncIterator[list[ServerEvent]]]:
        """Run a job; its frames (accepted, ping, token, tool_call, result, end, error) in batches.

        Frames that arrive together come together. Leaving the context ends the job.

        Raises:
            RbeeError: the engine refused the request; its own code.
            Unreachable: the connection could not be made, or broke.
        """

    async def health(self, target: Target, *, timeout: float) -> WorkerHealth:
        """How the engine is.

        Raises:
            Unreachable: nobody answers in time.
        """

    async def models(self, target: Target, *, timeout: float) -> list[str]:
        """What the engine itself calls the models that it serves.

        Raises:
            RbeeError: the engine refused.
            Unreachable: nobody answers in time.
        """

    async def cancel(self, target: Target, job_id: str) -> None:
        """Stop a job; nothing happens where there is none."""


@runtime_checkable
class TextAdapter(Adapter, Protocol):
    """One kind of engine that also tells how its model reads texts."""

    async def tokenize(
        self, target: Target, text: str, *, add_special: bool, parse_special: bool
    ) -> list[Token]:
        """A text as the model reads it.

        Raises:
            RbeeError: the engine refused.
            Unreachable: nobody answers in time.
        """

    async def detokenize(self, target: Target, tokens: list[int]) -> str:
        """The text that tokens show.

        Raises:
            RbeeError, Unreachable: as `tokenize`.
        """

    async def apply_template(self, target: Target, asked: TemplateRequest) -> str:
        """The prompt that a conversation becomes.

        Raises:
            RbeeError, Unreachable: as `tokenize`.
        """

    async def words(self, target: Target) -> ModelWords:
        """What the model's file says of chats.

        Raises:
            RbeeError, Unreachable: as `tokenize`.
        """
