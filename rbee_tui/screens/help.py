"""Help for the screen one is on, made from the bindings themselves."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import ActiveBinding, Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from rbee_tui.widgets.tones import Cell, content

GROUPS = (
    ("screen", "This screen"),
    ("focus", "The pane that has the focus"),
    ("app", "Everywhere"),
)


class HelpScreen(ModalScreen[None]):
    """The keys that work here, by what they belong to."""

    DEFAULT_CSS = """
    HelpScreen { align: center middle; }
    HelpScreen > Vertical { width: 80; max-width: 100%; height: auto; max-height: 96%;
        border: round $border; border-title-color: $text-accent; background: $surface;
        padding: 0 1; }
    HelpScreen VerticalScroll { height: auto; scrollbar-size-vertical: 1; }
    HelpScreen Static { height: auto; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,question_mark,q,enter", "dismiss", "close", id="help.close",
                tooltip="Close the help"),
    ]  # fmt: skip

    def __init__(self, title: str, bindings: Iterable[ActiveBinding]) -> None:
        super().__init__()
        self._title = title
        self._lines = help_lines(bindings)

    def compose(self) -> ComposeResult:
        """The table of keys."""
        with Vertical() as box:
            box.border_title = content(f"keys: {self._title}")
            box.border_subtitle = content("Esc closes")
            with VerticalScroll():
                for line in self._lines:
                    yield Static(content(line))


def help_lines(bindings: Iterable[ActiveBinding]) -> list[Cell]:
    """The bindings as lines, grouped by where they come from, each action once."""
    groups: dict[str, dict[str, _Entry]] = {name: {} for name, _ in GROUPS}
    for active in bindings:
        binding = active.binding
        owner = (binding.id or "").partition(".")[0]
        if not owner or not active.enabled:
            continue
        group = "app" if owner in EVERYWHERE else "focus" if owner in FOCUS_OWNERS else "screen"
        entry = groups[group].setdefault(binding.action, _Entry())
        entry.keys.add(key_name(binding.key))
        if binding.show or not entry.words:
            entry.words = (binding.tooltip or binding.description).rstrip(".")
    lines: list[Cell] = []
    for name, title in GROUPS:
        if not groups[name]:
            continue
        lines.append(((title, "title"),))
        for entry in groups[name].values():
            keys = " ".join(sorted(entry.keys, key=lambda key: (len(key), key)))
            lines.append(((f" {keys:<13}", "accent"), (f" {entry.words}", "")))
    return lines


@dataclass
class _Entry:
    """One action: its keys and its sentence."""

    keys: set[str] = field(default_factory=set)
    words: str = ""


EVERYWHERE = frozenset({"app", "screen"})
FOCUS_OWNERS = frozenset({"table", "text", "prompt", "filter", "command"})

_NAMES = {
    "question_mark": "?",
    "exclamation_mark": "!",
    "colon": ":",
    "slash": "/",
    "pageup": "PgUp",
    "pagedown": "PgDn",
    "escape": "Esc",
    "enter": "Enter",
    "tab": "Tab",
    "shift+tab": "S-Tab",
    "up": "↑",
    "down": "↓",
    "left": "←",
    "right": "→",
    "home": "Home",
    "end": "End",
    "space": "Space",
}


def key_name(key: str) -> str:
    """A key as it is printed on keyboards."""
    if key in _NAMES:
        return _NAMES[key]
    if key.startswith("ctrl+"):
        return f"^{key.removeprefix('ctrl+')}"
    return key
