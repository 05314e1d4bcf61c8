"""The output items of a response as they grow, and the events that tell of it."""

from __future__ import annotations

from typing import Any

from rbee_agent.contracts.frames import EndFrame
from rbee_agent.queen.api.call import Piece, Text, ToolCallPart
from rbee_agent.queen.api.openai.logprobs import logprob

Event = dict[str, Any]
"""An event with its type; the sequence number is put on when it is written."""


class Output:
    """Thinking, message and function calls of one answer, in the order in which they came."""

    def __init__(self, answer_id: str) -> None:
        """Name the items after the answer that they belong to."""
        self.items: list[dict[str, Any]] = []
        self.finish = "stop"
        self._answer_id = answer_id
        self._open: tuple[str, int] | None = None
        """Kind of the item that grows, and the number of its call."""

    @property
    def status(self) -> str:
        """Of the whole response, once it has ended."""
        return "incomplete" if self.finish == "length" else "completed"

    def take(self, piece: Piece) -> list[Event]:
        """The events that a piece causes."""
        if isinstance(piece, Text):
            return self._text(piece)
        if isinstance(piece, ToolCallPart):
            return self._call(piece)
        if isinstance(piece, EndFrame):
            self.finish = piece.finish_reason
            return self._close()
        return []

    def _text(self, piece: Text) -> list[Event]:
        kind = "reasoning" if piece.reasoning else "message"
        events = [] if self._open == (kind, 0) else self._open_text(kind)
        part = self.items[-1]["content"][0]
        part["text"] += piece.text
        if piece.reasoning:
            return [*events, self._event("response.reasoning_text.delta", 0, delta=piece.text)]
        logs = [logprob(one) for one in piece.logprobs or ()]
        part["logprobs"].extend(logs)
        delta = self._event("response.output_text.delta", 0, delta=piece.text, logprobs=logs)
        return [*events, delta]

    def _open_text(self, kind: str) -> list[Event]:
        events = self._close()
        if kind == "message":
            part: dict[str, Any] = {
                "type": "output_text", "text": "", "annotations": [], "logprobs": [],
            }  # fmt: skip
            item: dict[str, Any] = {"type": "message", "role": "assistant"}
        else:
            part = {"type": "reasoning_text", "text": ""}
            item = {"type": "reasoning", "summary": []}
        events.append(self._begin((kind, 0), item | {"content": []}))
        events.append(self._event("response.content_part.added", 0, part=dict(part)))
        self.items[-1]["content"].append(part)
        return events

    def _call(self, piece: ToolCallPart) -> list[Event]:
        key = ("function_call", piece.call)
        events = []
        if self._open != key:
            events = self._close()
            item = {
                "type": "function_call",
                "call_id": piece.id or f"call_{self._answer_id}_{piece.call}",
                "name": piece.name or "",
                "arguments": "",
            }
            events.append(self._begin(key, item))
        if piece.arguments:
            self.items[-1]["arguments"] += piece.arguments
            kind = "response.function_call_arguments.delta"
            events.append(self._event(kind, None, delta=piece.arguments))
        return events

    def _begin(self, key: tuple[str, int], item: dict[str, Any]) -> Event:
        self._open = key
        prefix = {"message": "msg", "reasoning": "rs", "function_call": "fc"}[key[0]]
        named = {"id": f"{prefix}_{self._answer_id}_{len(self.items)}", "status": "in_progress"}
        self.items.append(named | item)
        return {
            "type": "response.output_item.added",
            "output_index": len(self.items) - 1,
            "item": dict(self.items[-1]) | ({"content": []} if "content" in item else {}),
        }

    def _close(self) -> list[Event]:
        """The events that end the item that grows."""
        if self._open is None:
            return []
        kind, item = self._open[0], self.items[-1]
        self._open = None
        item["status"] = "incomplete" if self.finish == "length" else "completed"
        if kind == "function_call":
            done = self._event(
                "response.function_call_arguments.done",
                None,
                name=item["name"],
                arguments=item["arguments"],
            )
            return [done, self._item_done()]
        part = item["content"][0]
        if kind == "reasoning":
            done = self._event("response.reasoning_text.done", 0, text=part["text"])
        else:
            logs = part["logprobs"]
            done = self._event("response.output_text.done", 0, text=part["text"], logprobs=logs)
        part_done = self._event("response.content_part.done", 0, part=part)
        return [done, part_done, self._item_done()]

    def _item_done(self) -> Event:
        place = len(self.items) - 1
        return {"type": "response.output_item.done", "output_index": place, "item": self.items[-1]}

    def _event(self, kind: str, content_index: int | None, **more: Any) -> Event:
        event: Event = {
            "type": kind,
            "item_id": self.items[-1]["id"],
            "output_index": len(self.items) - 1,
        }
        if content_index is not None:
            event["content_index"] = content_index
        return event | more
