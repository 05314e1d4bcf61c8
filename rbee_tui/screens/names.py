"""The screens by name: the key that opens each, what its tab says where there is little room."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Name:
    """How one screen is reached and what it is."""

    key: str
    help: str
    short: str = ""
    """The tab's text on 80 columns, where it differs from the name."""


SCREENS: Final = {
    "overview": Name("1", "The whole fleet on one screen, and a prompt", "home"),
    "hosts": Name("2", "Hosts and their devices"),
    "workers": Name("3", "Workers: state, slots, speed"),
    "streams": Name("4", "The token river"),
    "tasks": Name("5", "Tasks and the queue"),
    "models": Name("6", "The catalog, on which hosts, pulls"),
    "events": Name("7", "What happened"),
    "chat": Name("8", "Talk to a model"),
    "sessions": Name("9", "Conversations that are kept warm"),
    "policy": Name("0", "The script that chooses workers: read, edit, check, apply"),
}
NOUN_SCREENS: Final = {
    "node": "hosts",
    "worker": "workers",
    "stream": "streams",
    "task": "tasks",
    "model": "models",
    "session": "sessions",
    "policy": "policy",
}
