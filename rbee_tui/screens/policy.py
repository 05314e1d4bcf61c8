"""Policy: the script that has a word in admission and placement; read, edit, check, apply."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.widgets import TextArea

from rbee_agent.errors import RbeeError
from rbee_tui.screens.base import FleetScreen
from rbee_tui.state.clean import clean, clean_json
from rbee_tui.state.view import View
from rbee_tui.verbs.policy import APPLY, DROP, SCRIPT_NAME
from rbee_tui.verbs.verb import Target
from rbee_tui.widgets.facts import Fact, Facts
from rbee_tui.widgets.line import Line
from rbee_tui.widgets.tones import Piece

TEMPLATE: Final = '''\
# Starlark. Whatever this script does not decide, the built-in policy does.
# Each worker has: id, node, pool, region, backend, device, slots, busy, free,
# tokens_per_s, memory_free, warm, score, labels.

def place(task, workers, fleet):
    """The id of the worker that gets the task; None: as built in."""
    return best(workers)
'''


class Source(TextArea):
    """The script's text; only to be read until `e`."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "leave", id="prompt.source-leave", tooltip="Leave the text"),
    ]

    def action_leave(self) -> None:
        """Back to the keys of the screen; what was typed stays."""
        self.read_only = True
        self.screen.set_focus(None)


class PolicyScreen(FleetScreen):
    """The script, and what the queen says of it."""

    NAME = "policy"
    AUTO_FOCUS = ""
    DEFAULT_CSS = """
    PolicyScreen #panes { height: 1fr; }
    PolicyScreen #what { background: $panel; padding: 0 1; }
    PolicyScreen #source { height: 1fr; border: none; border-top: solid $border-blurred;
        padding: 0 1; border-title-color: $text-muted; }
    PolicyScreen #source:focus { border: none; border-top: solid $border; }
    PolicyScreen #said { height: 8; }
    PolicyScreen.-wide #said { dock: right; width: 42%; height: 100%; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("e", "edit", "edit", id="policy.edit", tooltip="Edit the script"),
        Binding("v", "check", "check", id="policy.check",
                tooltip="The queen tries the script; nothing changes"),
        Binding("a", "apply", "apply", id="policy.apply", tooltip=APPLY.help),
        Binding("D", "drop", "drop", id="policy.drop", tooltip=DROP.help),
        Binding("w", "why", "why", id="policy.why", tooltip="What decides where a task runs"),
        Binding("u", "reload", "undo edits", id="policy.reload",
                tooltip="Forget the edits, read what is in force"),
    ]  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self._in_force: Mapping[str, Any] | None = None
        self._strategy = ""
        self._read = TEMPLATE
        self._said: list[Fact] = []
        self._seen: object = None

    def body(self) -> ComposeResult:
        """What is in force, the script, what the queen said of it."""
        yield Line(id="what")
        with Container(id="panes"):
            yield Source(TEMPLATE, read_only=True, show_line_numbers=True, id="source")
            facts = Facts(empty="v has the queen try it", id="said")
            facts.border_title = "what the queen says"
            yield facts

    @property
    def crumbs(self) -> str:
        """Where one is."""
        return "policy"

    @property
    def _text(self) -> str:
        return self.query_one(Source).text

    @property
    def edited(self) -> bool:
        """Whether the text differs from what was read."""
        return self._text != self._read

    def show(self, view: View) -> None:
        """What is in force; it is read again when the queen says that it changed."""
        super().show(view)
        told = view.fleet.others.get("policy/current")
        key = (told, view.fleet.queen.epoch if view.fleet.queen else None)
        if view.link.live and key != self._seen:
            self._seen = key
            self._load()
        self.query_one("#what", Line).show(self._what())
        source = self.query_one(Source)
        source.border_title = "edited, not applied" if self.edited else "script"

    def _what(self) -> tuple[Piece, ...]:
        if self._in_force is None:
            return (("no script: ", ""), (f"the built-in policy decides{self._how}", "ok"))
        hooks = ", ".join(map(str, self._in_force.get("hooks", ())))
        name = clean(str(self._in_force.get("name")))
        return ((name, "strong"), (" is in force, it decides: ", ""), (hooks, "ok"))

    @property
    def _how(self) -> str:
        return f" ({self._strategy})" if self._strategy else ""

    def _load(self) -> None:
        if (link := self.center.link) is None:
            return

        async def load() -> None:
            answer = clean_json((await link.policy()).dump())
            self._in_force = answer.get("policy")
            self._strategy = str(answer.get("strategy", ""))
            source = str((self._in_force or {}).get("source") or TEMPLATE)
            if not self.edited or source == self._text:
                self._show_source(source)
            self.refresh_view()

        self.center.actions.do(load())

    def _show_source(self, text: str) -> None:
        self._read = text
        self.query_one(Source).load_text(text)

    def action_edit(self) -> None:
        """Type in it."""
        if self.center.read_only:
            self.center.actions.say("This control center is read-only.", severe=True)
            return
        source = self.query_one(Source)
        source.read_only = False
        source.focus()

    def on_text_area_changed(self) -> None:
        """Say that it differs from what is in force."""
        self.query_one(Source).border_title = "edited, not applied" if self.edited else "script"

    def action_check(self) -> None:
        """Try it at the queen's."""
        if (link := self.center.link) is None:
            return

        async def check() -> None:
            try:
                answer = await link.check_policy(self._script_name, self._text)
            except RbeeError as error:
                self._tell([("refused", ((f"✖ {clean(error.message)}", "bad"),))])
                return
            self._tell(told(clean_json(answer.dump())))

        self.center.actions.do(check())

    def _tell(self, facts: list[Fact]) -> None:
        self.query_one("#said", Facts).show_facts(facts)

    @property
    def _script_name(self) -> str:
        return str((self._in_force or {}).get("name") or SCRIPT_NAME)

    def action_apply(self) -> None:
        """Let it decide, after the plan."""
        arguments = {"source": self._text, "name": self._script_name}
        self.center.actions.perform(
            APPLY, Target(self.center.view, "policy", self._script_name, arguments)
        )

    def action_drop(self) -> None:
        """Back to the built-in policy, after the plan."""
        self.center.actions.perform(DROP, Target(self.center.view, "policy", self._script_name))

    def action_why(self) -> None:
        """What decides."""
        self.center.actions.why("policy", self._script_name)

    def action_reload(self) -> None:
        """What is in force, whatever was typed."""
        self._read = self._text
        self._load()
        self.center.actions.say("read again what is in force")

    def action_back(self) -> None:
        """To the overview."""
        self.center.show_screen("overview")


def told(answer: Mapping[str, Any]) -> list[Fact]:
    """A check's answer: the hooks it has, and what each said about an example."""
    hooks = ", ".join(map(str, answer.get("hooks", ()))) or "none"
    facts: list[Fact] = [("✔ it loads", (("and answers in time", "ok"),)), ("hooks", hooks)]
    for hook, said in dict(answer.get("answers") or {}).items():
        facts.append((str(hook), "as built in" if said is None else str(said)))
    return facts
