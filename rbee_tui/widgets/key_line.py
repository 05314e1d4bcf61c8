"""KeyLine: the keys that work here, in one line; a click does what the key does.

One line drawn at once and no widget for each key: another screen or another focus costs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from textual import events
from textual.screen import Screen

from rbee_tui.widgets.line import Line
from rbee_tui.widgets.tones import Piece, width_of


@dataclass(frozen=True, slots=True)
class Key:
    """One key and what it does, in a word or two."""

    name: str
    """As Textual calls it: `question_mark`."""
    key: str
    """As it is drawn: `?`."""
    says: str
    enabled: bool = True
    stays: bool = False
    """Shown also where there is little room: how to ask for more, and how to leave."""

    @property
    def pieces(self) -> tuple[Piece, ...]:
        """A gap, the key, its word."""
        tone = "" if self.enabled else "muted"
        return ((" ", ""), (self.key, tone or "accent"), (f" {self.says}", tone))


def fitting(keys: Sequence[Key], width: int) -> list[Key]:
    """The keys there is room for: those that stay, then as many of the others as fit, in order."""
    kept = [key for key in keys if key.stays]
    left = width - sum(width_of(key.pieces) for key in kept)
    for key in keys:
        if key.stays:
            continue
        left -= width_of(key.pieces)
        if left < 0:
            break
        kept.append(key)
    return [key for key in keys if key in kept]


class KeyLine(Line):
    """The bindings of what has the focus, of its screen and of the app."""

    DEFAULT_CSS = """
    KeyLine {
        dock: bottom;
        color: $footer-description-foreground;
        background: $footer-background;
        & > .tone--accent { color: $footer-key-foreground; text-style: bold; }
    }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._keys: list[Key] = []

    def on_mount(self) -> None:
        """Follow the screen's bindings."""
        self.screen.bindings_updated_signal.subscribe(self, self._changed)

    def on_resize(self) -> None:
        """As many as fit."""
        self._changed(self.screen)

    def _changed(self, screen: Screen[object]) -> None:
        if not (self.is_attached and self.app.app_focus and screen is self.app.screen):
            return
        told: dict[str, Key] = {}
        for node, binding, enabled, _ in screen.active_bindings.values():
            if binding.show and binding.action not in told:
                told[binding.action] = Key(
                    binding.key,
                    self.app.get_key_display(binding),
                    binding.description,
                    enabled,
                    stays=node is self.app,
                )
        self._keys = fitting(list(told.values()), self.size.width)
        self.show(tuple(piece for key in self._keys for piece in key.pieces))

    def on_click(self, event: events.Click) -> None:
        """The key under the pointer, as if it had been pressed."""
        at = 0
        for key in self._keys:
            at += width_of(key.pieces)
            if event.x < at:
                self.app.simulate_key(key.name)
                return
