"""Logging of the agents: one line an event, key=value, secrets never, prompts never."""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from rbee_agent.observe.correlation import current

_SECRET_WORDS = ("token", "secret", "password", "authorization", "api_key")
_TEXT_WORDS = ("prompt", "messages", "inputs", "text", "content")
_COUNTS = ("tokens_in", "tokens_out", "tokens_cached", "max_tokens", "tokens")


def configure(*, level: str = "info", json: bool = False) -> None:
    """Send structlog and the standard library's logging to stderr in one form.

    Args:
        level: least level that is written.
        json: one JSON object a line, for log collectors.
    """
    number = logging.getLevelNamesMapping().get(level.upper(), logging.INFO)
    render = (
        structlog.processors.JSONRenderer()
        if json
        else structlog.dev.ConsoleRenderer(colors=False, pad_event_to=0)
    )
    structlog.configure(
        processors=[
            _add_correlation,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            redact,
            structlog.processors.StackInfoRenderer(),
            structlog.processors.format_exc_info,
            render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(
        stream=sys.stderr, level=max(number, logging.WARNING), format="%(name)s: %(message)s"
    )


def get(room: str) -> structlog.typing.FilteringBoundLogger:
    """The logger of one room."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(room=room)
    return logger


def redact(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Blank what must never be logged: secrets by their name, prompts and outputs by theirs."""
    for key in event:
        low = key.lower()
        if low in _COUNTS:
            continue
        if low in _TEXT_WORDS or any(word in low for word in _SECRET_WORDS):
            event[key] = "[redacted]"
    return event


def _add_correlation(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    correlation = current.get()
    if correlation is not None:
        event.setdefault("correlation_id", correlation)
    return event
