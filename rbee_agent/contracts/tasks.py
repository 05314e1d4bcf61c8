"""Tasks: what a caller asks for, and what becomes of it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from rbee_agent.contracts.base import Contract
from rbee_agent.contracts.ids import is_slug

MAX_STOP = 4
MAX_PROMPT_CHARS = 4_000_000
MAX_NAME = 512


class TaskState(StrEnum):
    """Where a task is on its one-way road; the last three are final."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether nothing more will happen to the task."""
        return self in (TaskState.DONE, TaskState.FAILED, TaskState.CANCELLED)


_TEXT_PARTS = {
    "text": "text",
    "input_text": "text",
    "output_text": "text",
    "refusal": "refusal",
}
"""Kinds of parts that are text, and where they have it."""
_OTHER_PARTS = {
    "image": "see images",
    "image_url": "see images",
    "input_image": "see images",
    "input_audio": "hear sound",
    "file": "read files",
    "input_file": "read files",
    "video_url": "see videos",
}


def _check_part(place: int, part: dict[str, Any]) -> None:
    kind = part.get("type")
    if not isinstance(kind, str) or kind not in _TEXT_PARTS:
        skill = _OTHER_PARTS.get(kind) if isinstance(kind, str) else None
        cannot = f"no model here can {skill}" if skill else "it is of no kind that can be read"
        raise ValueError(f"part {place}: {cannot}; send parts of the type text")
    if not isinstance(part.get(_TEXT_PARTS[kind]), str):
        raise ValueError(f"part {place}: its text is missing")


class Message(Contract):
    """One turn of a conversation, as chat templates know it."""

    role: Literal["system", "user", "assistant", "tool", "developer"]
    content: str | list[dict[str, Any]] | None = None
    name: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    tool_call_id: str | None = None

    @field_validator("content")
    @classmethod
    def _can_be_read(
        cls, content: str | list[dict[str, Any]] | None
    ) -> str | list[dict[str, Any]] | None:
        if isinstance(content, list):
            for place, part in enumerate(content):
                _check_part(place, part)
        return content

    def text(self) -> str:
        """The text of the turn, its parts put together."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part[_TEXT_PARTS[part["type"]]] for part in self.content or ())


class Sampling(Contract):
    """How the next token is chosen. Ranges are those of llama.cpp and the OpenAI API."""

    temperature: float = Field(0.7, ge=0.0, le=2.0)
    top_k: int = Field(40, ge=0, le=1_000_000)
    top_p: float = Field(0.95, gt=0.0, le=1.0)
    min_p: float = Field(0.05, ge=0.0, le=1.0)
    typical_p: float = Field(1.0, gt=0.0, le=1.0)
    repetition_penalty: float = Field(1.0, gt=0.0, le=4.0)
    presence_penalty: float = Field(0.0, ge=-2.0, le=2.0)
    frequency_penalty: float = Field(0.0, ge=-2.0, le=2.0)
    penalty_last_n: int = Field(64, ge=-1, le=1_000_000)
    seed: int | None = Field(None, ge=0, le=2**64 - 1)
    logit_bias: dict[str, float] | None = None
    logprobs: int | None = Field(None, ge=0, le=20)
    """None: no log-probabilities; n: the chosen token's and the n most likely."""
    ignore_eos: bool = False


class ResponseFormat(Contract):
    """What shape the answer must have; enforced by a grammar, not by hope."""

    type: Literal["text", "json_object", "json_schema"] = "text"
    json_schema: dict[str, Any] | None = None
    """The JSON Schema itself (not OpenAI's wrapper, which the API layer unwraps)."""


class ToolChoice(Contract):
    """Whether and which tool the model must call."""

    mode: Literal["auto", "none", "required", "named"] = "auto"
    name: str | None = None
    parallel: bool = True


Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


class ThinkingWish(Contract):
    """Whether the model is to think, where its chat template can be told; and how hard."""

    thinking: bool | None = None
    """None: as the template has it. True is refused by models that do not think."""
    reasoning_effort: Effort | None = None
    """Where a template knows on and off alone: `none` and `minimal` are off, all others on."""


class PlacementWish(Contract):
    """Where the caller wants the task to run. Nothing here is silently ignored."""

    mode: Literal["auto", "pin", "prefer"] = "auto"
    worker_id: str | None = None
    pool_id: str | None = None
    prefer_pools: list[str] = []
    avoid_pools: list[str] = []
    region: str | None = None
    device: str | None = None
    allow_fallback: bool = False

    def __deepcopy__(self, _: dict[int, Any] | None = None) -> PlacementWish:
        """Itself: it is frozen, and pydantic would copy the default for every request."""
        return self

    @model_validator(mode="after")
    def _pin_names_its_target(self) -> PlacementWish:
        if self.mode == "pin" and not (self.worker_id or self.pool_id or self.device):
            raise ValueError("pin needs worker_id, pool_id or device")
        return self


class Budget(Contract):
    """What the task, or its session, may spend at most."""

    tokens: int | None = Field(None, ge=1)
    time_ms: int | None = Field(None, ge=1)


class TaskRequest(ThinkingWish):
    """The body of ``POST /v2/tasks``."""

    model: Annotated[str, Field(min_length=1, max_length=MAX_NAME)]
    prompt: Annotated[str, Field(max_length=MAX_PROMPT_CHARS)] | None = None
    messages: list[Message] | None = None
    inputs: list[str] | None = None
    query: str | None = None
    """The query that rerank holds `inputs` against."""
    workload: Literal["completion", "chat", "embedding", "rerank"] = "completion"
    max_tokens: int | None = Field(None, ge=1, le=1_000_000)
    temperature: float | None = Field(None, ge=0.0, le=2.0)
    top_p: float | None = Field(None, gt=0.0, le=1.0)
    top_k: int | None = Field(None, ge=0, le=1_000_000)
    min_p: float | None = Field(None, ge=0.0, le=1.0)
    typical_p: float | None = Field(None, gt=0.0, le=1.0)
    repetition_penalty: float | None = Field(None, gt=0.0, le=4.0)
    presence_penalty: float | None = Field(None, ge=-2.0, le=2.0)
    frequency_penalty: float | None = Field(None, ge=-2.0, le=2.0)
    penalty_last_n: int | None = Field(None, ge=-1, le=1_000_000)
    """So many of the last tokens count for the penalties; -1: all of them."""
    stop: list[Annotated[str, Field(min_length=1, max_length=256)]] = Field([], max_length=MAX_STOP)
    seed: int | None = Field(None, ge=0, le=2**64 - 1)
    logit_bias: dict[str, float] | None = None
    logprobs: int | None = Field(None, ge=0, le=20)
    ignore_eos: bool = False
    response_format: ResponseFormat | None = None
    grammar: Annotated[str, Field(max_length=200_000)] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: ToolChoice | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    """Further variables of the chat template, such as ``enable_thinking``; messages only."""
    session_id: Annotated[str, Field(max_length=128)] | None = None
    priority: Literal["interactive", "batch"] = "interactive"
    deadline_ms: int | None = Field(None, ge=1, le=7 * 24 * 3600 * 1000)
    task_id: str | None = None
    determinism: Literal["strict", "best_effort"] | None = None
    kv_hint: Literal["reuse", "cold"] = "reuse"
    placement: PlacementWish = PlacementWish()
    budget: Budget | None = None
    detach: bool = False
    reconnect_grace_ms: int | None = Field(None, ge=0, le=24 * 3600 * 1000)

    @model_validator(mode="before")
    @classmethod
    def _accept_aliases(cls, data: Any) -> Any:
        """`model_ref` is the original's name for `model`; one stop string may come bare."""
        if not isinstance(data, dict):
            return data
        data = dict(data)
        if "model_ref" in data and "model" not in data:
            data["model"] = data.pop("model_ref")
        if isinstance(data.get("stop"), str):
            data["stop"] = [data["stop"]]
        return data

    @field_validator("task_id", "session_id")
    @classmethod
    def _is_slug(cls, value: str | None) -> str | None:
        if value is not None and not is_slug(value):
            raise ValueError("1 to 128 of A-Z a-z 0-9 . _ -")
        return value

    @model_validator(mode="after")
    def _one_input(self) -> TaskRequest:
        given = [
            name for name in ("prompt", "messages", "inputs") if getattr(self, name) is not None
        ]
        if len(given) != 1:
            raise ValueError("exactly one of prompt, messages, inputs")
        needs_inputs = self.workload in ("embedding", "rerank")
        if needs_inputs != (given == ["inputs"]):
            raise ValueError("inputs belong to embedding and rerank, and those need inputs")
        return self

    @property
    def strict(self) -> bool:
        """Whether the same bytes are promised: as asked, else for temperature 0 with a seed."""
        if self.determinism is not None:
            return self.determinism == "strict"
        return self.temperature == 0 and self.seed is not None

    @property
    def shaped(self) -> bool:
        """Whether the answer must have a shape, or may be calls."""
        wants = (self.response_format, self.grammar, self.tools, self.tool_choice)
        return any(want is not None for want in wants)

    def sampling(self) -> Sampling:
        """The sampling parameters, with the defaults of the contract where none were given."""
        fields = {
            name: value
            for name in Sampling.model_fields
            if (value := getattr(self, name, None)) is not None
        }
        return Sampling(**fields)


class Accepted(Contract):
    """The 202 of ``POST /v2/tasks``: durable before it is sent."""

    job_id: str
    state: TaskState = TaskState.QUEUED
    queue_position: int = 0
    predicted_start_ms: int | None = None
    backoff_ms: int = 0
    streams: dict[str, str] = {}
    preparation: dict[str, list[dict[str, Any]]] = {"steps": []}


class Timings(Contract):
    """What a task cost; milliseconds from acceptance, None where it did not come so far."""

    queue_ms: int | None = None
    first_token_ms: int | None = None
    decode_time_ms: int | None = None
    total_ms: int | None = None
    tokens_in: int = 0
    tokens_out: int = 0
    tokens_cached: int = 0
    resumed: int = 0


class TaskInfo(Contract):
    """One task as ``GET /v2/tasks/{id}`` and the event feed show it. Holds no prompt."""

    job_id: str
    state: TaskState
    model: str
    workload: str = "completion"
    priority: str = "interactive"
    session_id: str | None = None
    strict: bool = False
    created_at: float
    """Unix seconds, UTC."""
    started_at: float | None = None
    ended_at: float | None = None
    deadline_ms: int | None = None
    max_tokens: int | None = None
    budget: Budget | None = None
    queue_position: int | None = None
    predicted_start_ms: int | None = None
    on_time_probability: float | None = None
    worker_id: str | None = None
    node_id: str | None = None
    waiting_for: str | None = None
    """Why it does not run yet, in one sentence."""
    finish_reason: str | None = None
    error: dict[str, Any] | None = None
    timings: Timings = Timings()
