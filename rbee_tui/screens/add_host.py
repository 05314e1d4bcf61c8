"""Add a host: whom, what will happen, then it is done where it can be watched."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rbee_agent.errors import EXIT_OK
from rbee_tui.fleet import ssh_config
from rbee_tui.screens.shell import rbee_command, run_aside
from rbee_tui.screens.steps import StepsScreen
from rbee_tui.verbs.verb import rbee
from rbee_tui.widgets.dialog import Answer, Question
from rbee_tui.widgets.picker import Option, Picker

if TYPE_CHECKING:
    from rbee_tui.app import RbeeApp


async def add_host(app: RbeeApp, say: Callable[[str], None]) -> None:
    """Ask for a host over SSH and bring it to serve.

    Getting to know it may ask for its key or a password, and has the terminal; what the doctor
    finds and how the installation goes is read in a pane.
    """
    options = [Option(name, name, "in your ~/.ssh/config") for name in ssh_config.names()]
    name = await app.push_screen_wait(
        Picker(
            "add a host",
            options,
            placeholder="[user@]name, as you say it to ssh",
            typed=lambda text: hosts_typed(text.strip(), options),
        )
    )
    if name is None:
        return
    command = app.setup.typed(rbee("hive", "add", name, "--install"))
    answer = await app.push_screen_wait(
        Question(
            f"add {name}?",
            [
                "1. You see its host key and say whether it is right; the login is tried.",
                "2. The doctor looks what it has: Python, compiler, disk, GPUs.",
                (
                    "3. This rbee is installed there, into your home only; where llama.cpp "
                    "has to be compiled that takes minutes."
                ),
                "4. Its hive starts, and the queen reaches it through SSH.",
                " ",
                ((f"$ {command}", "muted"),),
            ],
            (Answer("do", "add", "y"), Answer("keep", "do nothing", "n")),
        )
    )
    if answer != "do":
        return
    option = app.setup.queen_option
    code = run_aside(app, [*option, "hive", "add", name])
    if code is None:
        say(f"In a browser there is no terminal for it: {command}")
    elif code == EXIT_OK:
        host = name.rpartition("@")[2]
        steps = [["hive", "doctor", host], ["hive", "install", host]]
        program = [*rbee_command(), *option]
        then = "Esc goes back; 3, then n, starts a worker on it"
        _ = app.push_screen(StepsScreen(f"install {host}", program, steps, then=then))


def hosts_typed(text: str, known: Sequence[Option]) -> list[Option]:
    """The known hosts whose names begin so, then the one of exactly that name."""
    if not text:
        return []
    begun = [option for option in known if option.name.startswith(text)]
    exact = [option for option in begun if option.name == text]
    return [*begun] if exact else [*begun, Option(text, text, "add this one")]
