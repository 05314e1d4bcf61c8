"""Commands: everything that can be gone to or done, for the palette and the `:` line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from rbee_tui.screens.names import NOUN_SCREENS, SCREENS
from rbee_tui.state.view import View
from rbee_tui.verbs.registry import VERBS, by_name
from rbee_tui.verbs.verb import Target, Verb
from rbee_tui.widgets.picker import Option

if TYPE_CHECKING:
    from rbee_tui.app import RbeeApp

_APP: Final = (
    ("quit", "Leave the control center"),
    ("help", "The keys that work here"),
    ("text", "Hide or show the text of streams"),
    ("reconnect", "Try to reach the queen now"),
)
MOST_OF_A_NOUN: Final = 500
"""Things of one noun that the palette offers; the tables have them all."""


def options(app: RbeeApp) -> list[Option]:
    """All commands that make sense now."""
    found = [Option(f"go {name}", name, one.help) for name, one in SCREENS.items()]
    found += [Option(f"do {name}", name, words) for name, words in _APP]
    found += [
        Option(f"theme {theme.name}", f"theme {theme.name}", theme.title)
        for theme in app.themes.found.themes.values()
    ]
    if not app.read_only:
        found += _verbs(app.view)
    found += _things(app.view)
    return found


def _ids(view: View) -> dict[str, list[str]]:
    fleet = view.fleet
    return {
        "node": sorted(fleet.nodes),
        "worker": sorted(fleet.workers),
        "task": sorted(fleet.tasks),
        "model": sorted(fleet.models),
        "stream": sorted(view.streams.by_job),
    }


def _verbs(view: View) -> Iterator[Option]:
    for verb in VERBS:
        for noun, ids in _ids(view).items():
            if noun not in verb.nouns or noun == "stream":
                continue
            for one in ids[:MOST_OF_A_NOUN]:
                if verb.refuses(Target(view, noun, one)) is None:
                    yield _verb_option(verb, noun, one)


def _verb_option(verb: Verb, noun: str, id: str) -> Option:
    return Option(f"verb {verb.name} {noun} {id}", f"{verb.name} {id}", verb.help)


def _things(view: View) -> Iterator[Option]:
    for noun, ids in _ids(view).items():
        if noun != "stream":
            for one in ids[:MOST_OF_A_NOUN]:
                yield Option(
                    f"show {noun} {one}", f"{NOUN_SCREENS[noun]} {one}", f"Go to the {noun}"
                )


def typed(app: RbeeApp, text: str) -> list[Option]:
    """What a line means that was typed whole: `workers llama`, `stop w-1`, `theme rbee-light`."""
    first, _, rest = text.strip().lstrip(":").partition(" ")
    rest = rest.strip()
    if first in ("q", "q!", "exit"):
        return [Option("do quit", "quit", "Leave the control center")]
    screens = [name for name in SCREENS if first and name.startswith(first)]
    if len(screens) == 1 and rest:
        words = rest.lstrip("/@")
        return [Option(f"go {screens[0]} {words}", text.strip(), f"{screens[0]}, only {words}")]
    verb = by_name(first)
    if verb is None or not rest or app.read_only:
        return []
    return [
        _verb_option(verb, noun, rest)
        for noun, ids in _ids(app.view).items()
        if noun in verb.nouns and noun != "stream" and rest in ids
    ]


def run(app: RbeeApp, value: str) -> None:
    """Do what was picked."""
    kind, _, rest = value.partition(" ")
    first, _, more = rest.partition(" ")
    if kind == "go":
        app.show_screen(first, more)
    elif kind == "do":
        actions: dict[str, Callable[[], object]] = {
            "quit": app.action_ask_to_quit,
            "help": app.action_help,
            "text": app.action_toggle_text,
            "reconnect": app.action_reconnect,
        }
        actions[first]()
    elif kind == "theme":
        app.theme = first
    elif kind == "show":
        app.go(first, more)
    elif kind == "verb":
        noun, _, one = more.partition(" ")
        verb = by_name(first)
        if verb is not None:
            app.actions.perform(verb, Target(app.view, noun, one))
