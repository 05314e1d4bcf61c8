"""What every screen has: the headline, the footer, and being a function of one view."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.events import ScreenResume
from textual.screen import Screen

from rbee_tui.panes.headline import headline
from rbee_tui.screens.names import SCREENS
from rbee_tui.state.view import View
from rbee_tui.widgets.key_line import KeyLine
from rbee_tui.widgets.line import Line
from rbee_tui.widgets.tabs import Tab, TabLine

if TYPE_CHECKING:
    from rbee_tui.app import RbeeApp


class FleetScreen(Screen[None]):
    """A screen that shows the fleet; `show` draws it, and draws only what changed."""

    HORIZONTAL_BREAKPOINTS = [  # noqa: RUF012 as Textual declares it
        (0, "-narrow"),
        (120, "-wide"),
    ]
    VERTICAL_BREAKPOINTS = [(0, "-tiny"), (20, "-short"), (32, "-tall")]  # noqa: RUF012
    NAME: ClassVar[str] = ""
    """What the screen is called on the `:` line and on its tab."""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "app.focus_next", show=False, id="screen.next", tooltip="The next pane"),
        Binding("shift+tab", "app.focus_previous", show=False, id="screen.previous",
                tooltip="The pane before"),
        Binding("p", "app.prompt", show=False, id="screen.prompt",
                tooltip="Send a prompt, from the overview"),
        Binding("escape", "back", "back", show=False, id="screen.back",
                tooltip="One step back; never quits"),
    ]  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self._seen_before = False

    @property
    def center(self) -> RbeeApp:
        """The app, as what it is."""
        return cast("RbeeApp", self.app)

    @property
    def crumbs(self) -> str:
        """Where one is; nothing on the overview."""
        return ""

    def compose(self) -> ComposeResult:
        """Headline, body, footer."""
        yield Line(id="headline")
        tabs = [Tab(name, one.key, one.short) for name, one in SCREENS.items()]
        yield TabLine(tabs, self.NAME, id="tabs")
        yield from self.body()
        yield KeyLine(id="keys")

    def body(self) -> ComposeResult:
        """What is between the headline and the footer."""
        yield from ()

    def on_tab_line_picked(self, event: TabLine.Picked) -> None:
        """A click on a tab."""
        event.stop()
        self.center.show_screen(event.name)

    def on_mount(self) -> None:
        """Show what is known already."""
        self.refresh_view()

    def on_screen_resume(self, event: ScreenResume) -> None:
        """Back from another screen: show what happened since."""
        # What changes a style while nobody looks (theme, size, focus) has it styled by itself.
        event.refresh_styles = not self._seen_before
        self._seen_before = True
        self.refresh_view()

    def on_resize(self) -> None:
        """The headline says as much as fits."""
        self.call_after_refresh(self.refresh_view)

    def refresh_view(self) -> None:
        """Show the newest view again."""
        # The feed speaks on while the app closes, when the screen has lost its widgets already.
        if self.is_mounted and self.query("#headline"):
            with self.app.batch_update():
                self.show(self.center.view)

    def show(self, view: View) -> None:
        """Draw the view; subclasses add their panes."""
        line = self.query_one("#headline", Line)
        line.show(
            headline(
                view,
                width=self.size.width,
                crumbs=self.crumbs,
                read_only=self.center.read_only,
            )
        )

    def action_back(self) -> None:
        """One step back: out of the field that is typed in."""
        if self.focused is not None:
            self.set_focus(None)
