"""Content blocks of the Messages API, and the turns that they become."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from rbee_agent.contracts.base import Contract
from rbee_agent.contracts.tasks import Message

_OTHERS = {
    "image": "no model here can see images",
    "document": "no model here can read files",
    "search_result": "nothing here searches",
    "redacted_thinking": "only Anthropic can read it; leave it out",
}
_CACHE = "accepted: prefixes are cached by themselves"


class TextBlock(Contract):
    """A piece of text."""

    type: Literal["text"]
    text: str
    cache_control: dict[str, Any] | None = Field(None, description=_CACHE)
    citations: None = None


class ThinkingBlock(Contract):
    """What the model thought in a former turn."""

    type: Literal["thinking"]
    thinking: str
    signature: str = ""


class ToolUseBlock(Contract):
    """A call that the model made in a former turn."""

    type: Literal["tool_use"]
    id: str
    name: str
    input: dict[str, Any]
    cache_control: dict[str, Any] | None = Field(None, description=_CACHE)
    caller: dict[str, Any] | None = None


def _blocks(content: Any) -> Any:
    """A bare string is one text; blocks that no model here can read are refused by their place."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    if isinstance(content, list):
        for place, block in enumerate(content):
            kind = block.get("type") if isinstance(block, dict) else None
            if isinstance(kind, str) and kind in _OTHERS:
                raise ValueError(f"block {place} ({kind}): {_OTHERS[kind]}")
    return content


Texts = Annotated[list[TextBlock], BeforeValidator(_blocks)]


class ToolResultBlock(Contract):
    """What a tool answered."""

    type: Literal["tool_result"]
    tool_use_id: str
    content: Texts = Field([])
    is_error: bool = False
    cache_control: dict[str, Any] | None = Field(None, description=_CACHE)


Block = Annotated[
    TextBlock | ThinkingBlock | ToolUseBlock | ToolResultBlock, Field(discriminator="type")
]
Blocks = Annotated[list[Block], BeforeValidator(_blocks)]


class Turn(Contract):
    """One message."""

    role: Literal["user", "assistant", "system"]
    content: Blocks


def messages_of(system: Iterable[TextBlock], turns: Iterable[Turn]) -> list[Message]:
    """The conversation as chat templates know it; tool results are turns of their own."""
    names: dict[str, str] = {}
    said: list[Message] = []
    instructions = text_of(system)
    if instructions:
        said.append(Message(role="system", content=instructions))
    for turn in turns:
        if turn.role == "assistant":
            said.append(_assistant(turn.content, names))
        else:
            said += _asked(turn, names)
    return said


def text_of(blocks: Iterable[Block]) -> str:
    """The text of blocks, each on lines of its own."""
    return "\n\n".join(block.text for block in blocks if isinstance(block, TextBlock))


def _assistant(blocks: list[Block], names: dict[str, str]) -> Message:
    calls = [block for block in blocks if isinstance(block, ToolUseBlock)]
    names |= {call.id: call.name for call in calls}
    thoughts = [block.thinking for block in blocks if isinstance(block, ThinkingBlock)]
    return Message(
        role="assistant",
        content="".join(block.text for block in blocks if isinstance(block, TextBlock)),
        reasoning_content="\n".join(thoughts) or None,
        tool_calls=[_call(call) for call in calls] or None,
    )


def _asked(turn: Turn, names: dict[str, str]) -> list[Message]:
    """A turn of the user's: tool results first, as the API wants them, then what was typed."""
    said = [
        Message(
            role="tool",
            content=("Error: " if block.is_error else "") + text_of(block.content),
            tool_call_id=block.tool_use_id,
            name=names.get(block.tool_use_id),
        )
        for block in turn.content
        if isinstance(block, ToolResultBlock)
    ]
    if any(isinstance(block, TextBlock) for block in turn.content) or not said:
        role: Literal["user", "system"] = "system" if turn.role == "system" else "user"
        said.append(Message(role=role, content=text_of(turn.content)))
    return said


def _call(block: ToolUseBlock) -> dict[str, Any]:
    arguments = json.dumps(block.input, ensure_ascii=False)
    function = {"name": block.name, "arguments": arguments}
    return {"id": block.id, "type": "function", "function": function}
