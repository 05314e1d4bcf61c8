"""What a wish to think, or not to, means in the variables of a chat template.

Families name them differently, and some know none; a wish that a template cannot be told is refused
here, so that nobody waits for thoughts, or pays for them, unawares.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

from rbee_agent.contracts.tasks import ThinkingWish
from rbee_agent.errors import InvalidParams

_SWITCHES: dict[str, tuple[Any, Any]] = {
    "enable_thinking": (False, True),
    "thinking": (False, True),
    "thinking_mode": ("disabled", "enabled"),
    "thinking_option": ("off", "on"),
    "thinking_budget": (0, None),
}
"""Variables that turn thinking off and on; None: left to the template."""
_EFFORTS = ("reasoning_effort", "thinking_effort")
_NEAREST = {"minimal": "low", "xhigh": "high", "max": "high"}
"""What a template is told that does not know the word."""


def variables(
    wish: ThinkingWish,
    given: Mapping[str, Any] | None,
    known: Set[str],
    *,
    source: str,
    thinks: bool,
) -> dict[str, Any]:
    """The variables that say what was wished for, with those that were given themselves.

    Args:
        wish: whether, and how hard.
        given: variables by their own names; they go before.
        known: what the template wants to be given.
        source: the template.
        thinks: whether it has a place for thoughts.

    Raises:
        InvalidParams: the template cannot be told.
    """
    given = dict(given or {})
    switches = _SWITCHES.keys() & known
    on = wish.thinking
    for name in ("enable_thinking", "thinking"):
        # Callers send these to whatever model they talk to.
        if name not in known and isinstance(given.get(name), bool):
            on = given.pop(name) if on is None else on
    for name in given:
        if name not in known:
            raise _refused("chat_template_kwargs", f"has no variable {name!r}")
    found: dict[str, Any] = {}
    effort = wish.reasoning_effort
    efforts = [name for name in _EFFORTS if name in known]
    if effort == "none":
        if thinks and not switches:
            raise _refused("reasoning_effort", "cannot keep the model from thinking")
        on = False
    elif effort is not None and efforts:
        word = effort if effort in source else _NEAREST.get(effort, effort)
        found |= dict.fromkeys(efforts, word)
        on = True if on is None else on
    elif effort is not None:
        if effort != "minimal":
            _must_think(thinks or bool(switches), "reasoning_effort")
        on = effort != "minimal" if on is None else on
    if on:
        _must_think(thinks or bool(switches or efforts), "thinking")
    if on is not None:
        told = {name: _SWITCHES[name][on] for name in switches}
        found |= {name: value for name, value in told.items() if value is not None}
    return found | given


def _must_think(able: bool, field: str) -> None:
    if not able:
        raise _refused(field, "has no place for thoughts: this model does not think")


def _refused(field: str, what: str) -> InvalidParams:
    message = f"the model's chat template {what}"
    return InvalidParams([{"field": field, "constraint": "chat_template", "message": message}])
