"""Add a model: what to fetch, as one types it for `rbee model pull`; then as with any other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from rbee_agent.models.references import is_reference
from rbee_tui.verbs.models import PULL
from rbee_tui.verbs.verb import Target
from rbee_tui.widgets.picker import Option, Picker

if TYPE_CHECKING:
    from rbee_tui.app import RbeeApp

FORMS: Final = "hf:org/repo:Q4_K_M, https://host/file.gguf, file:/path on the host"


async def add_model(app: RbeeApp) -> None:
    """Ask for a reference, then onto which host, and have it fetched."""
    named = await app.push_screen_wait(
        Picker("add a model", (), placeholder=FORMS, typed=model_typed)
    )
    if named is not None:
        app.actions.perform(PULL, Target(app.view, "model", named))


def model_typed(text: str) -> Sequence[Option]:
    """What was typed, where it says where to get a model."""
    text = text.strip()
    return [Option(text, text, "fetch this one")] if is_reference(text) else []
