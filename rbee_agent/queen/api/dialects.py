"""Which API a path belongs to, and how that API says no."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from rbee_agent.errors import RbeeError
from rbee_agent.http.errors import error_response
from rbee_agent.queen.api.anthropic.refusals import refusal as anthropic_refusal
from rbee_agent.queen.api.llamacpp.refusals import refusal as llamacpp_refusal
from rbee_agent.queen.api.ollama.refusals import refusal as ollama_refusal
from rbee_agent.queen.api.openai.refusals import refusal as openai_refusal

Refusal = Callable[[RbeeError], web.Response]

REFUSALS: dict[str, Refusal] = {
    "/v1/": openai_refusal,
    "/v1/messages": anthropic_refusal,
    "/api/": ollama_refusal,
    **dict.fromkeys(("/completion", "/tokenize", "/detokenize"), llamacpp_refusal),
    **dict.fromkeys(("/apply-template", "/props", "/slots"), llamacpp_refusal),
}
"""By the beginning of the path; the longest one that fits decides."""


def refusal_of(path: str) -> Refusal | None:
    """How errors are said below this path; None: as the contract has it."""
    fitting = [prefix for prefix in REFUSALS if path.startswith(prefix)]
    return REFUSALS[max(fitting, key=len)] if fitting else None


def in_its_shape(request: web.Request, error: RbeeError) -> web.Response:
    """An error as the caller of this path expects it."""
    return (refusal_of(request.path) or error_response)(error)
