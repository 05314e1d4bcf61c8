"""Themes are data: found, checked whole, and used without fear."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError
from textual.app import App, ComposeResult
from textual.color import Color
from textual.widgets import Static

from rbee_tui.theming.files import (
    DEFAULT_THEME,
    NO_COLOR_THEME,
    ThemeFile,
    bundled_folder,
    choose,
    find_themes,
)

OURS = find_themes([bundled_folder()])


def test_rbee_brings_six_themes_without_a_problem() -> None:
    """Dark, light, high contrast, colour-blind safe, sixteen colours, no colour."""
    assert OURS.problems == ()
    assert {
        "rbee-dark", "rbee-light", "rbee-contrast", "rbee-cb", "rbee-16", "rbee-mono",
    } <= set(OURS.themes)  # fmt: skip


@pytest.mark.parametrize("name", sorted(OURS.themes))
async def test_each_theme_draws(name: str) -> None:
    """Textual takes every theme and draws with it."""

    class Drawn(App[None]):
        def compose(self) -> ComposeResult:
            yield Static("x")

    app = Drawn()
    app.register_theme(OURS.themes[name].theme())
    app.theme = name
    async with app.run_test(size=(20, 4)) as pilot:
        await pilot.pause()

        assert name == app.theme


def _luminance(color: Color) -> float:
    def linear(part: int) -> float:
        share = part / 255
        return share / 12.92 if share <= 0.03928 else ((share + 0.055) / 1.055) ** 2.4

    return 0.2126 * linear(color.r) + 0.7152 * linear(color.g) + 0.0722 * linear(color.b)


@pytest.mark.parametrize(
    ("name", "least"),
    [("rbee-dark", 4.5), ("rbee-light", 4.5), ("rbee-cb", 4.5), ("rbee-contrast", 7.0)],
)
def test_text_can_be_read(name: str, least: float) -> None:
    """Every tone stands out from the background as WCAG asks (AA; high contrast AAA)."""
    colors = OURS.themes[name].theme().to_color_system().generate()
    ground = _luminance(Color.parse(colors["background"]))
    for tone in ("foreground", "text-success", "text-warning", "text-error", "text-primary",
                 "text-accent"):  # fmt: skip
        ink = _luminance(Color.parse(colors[tone]))
        ratio = (max(ink, ground) + 0.05) / (min(ink, ground) + 0.05)

        assert ratio >= least, f"{tone} in {name}: {ratio:.1f}"


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('name = "x"\nprimary = "no such colour"', "primary"),
        ('name = "x"\nprimary = "red"\nprimry = "blue"', "primry"),
        ('name = "x"\nprimary = "red"\n[variables]\nborder = "nope"', "variables"),
        ('name = "X Y"\nprimary = "red"', "name"),
        ("name = [", ""),
    ],
)
def test_a_bad_file_is_named_and_left_out(tmp_path: Path, text: str, names: str) -> None:
    """A broken theme is one sentence with its file and field, and the rest is used."""
    (tmp_path / "bad.toml").write_text(text)
    (tmp_path / "good.toml").write_text('name = "good"\nprimary = "red"')
    found = find_themes([tmp_path])

    assert list(found.themes) == ["good"]
    (problem,) = found.problems
    assert problem.startswith("bad.toml: ")
    assert names in problem


def test_the_users_theme_replaces_ours(tmp_path: Path) -> None:
    """A file of the user with the name of ours wins."""
    (tmp_path / "mine.toml").write_text('name = "rbee-dark"\nprimary = "#ff0000"')
    found = find_themes([bundled_folder(), tmp_path])

    assert found.themes["rbee-dark"].primary == "#ff0000"


def test_no_color_is_honoured_unless_a_theme_is_asked_for() -> None:
    """NO_COLOR takes the theme without colours; an explicit theme is the stronger wish."""
    assert choose(None, OURS, no_color=True) == NO_COLOR_THEME
    assert choose(None, OURS, no_color=False) == DEFAULT_THEME
    assert choose("rbee-light", OURS, no_color=True) == "rbee-light"
    assert choose("no-such", OURS, no_color=False) == DEFAULT_THEME


def test_the_theme_chosen_last_is_there_again_unless_something_is_stronger() -> None:
    """A wish for this start and NO_COLOR come first; a theme whose file is gone is no trouble."""
    assert choose(None, OURS, no_color=False, remembered="rbee-cb") == "rbee-cb"
    assert choose("rbee-light", OURS, no_color=False, remembered="rbee-cb") == "rbee-light"
    assert choose(None, OURS, no_color=True, remembered="rbee-cb") == NO_COLOR_THEME
    assert choose(None, OURS, no_color=False, remembered="gone") == DEFAULT_THEME


def test_text_styles_and_opacity_are_values() -> None:
    """Variables may be colours, colours with opacity, or text styles."""
    ThemeFile(name="x", primary="red", variables={"a": "red 40%", "b": "bold reverse"})
    with pytest.raises(ValidationError):
        ThemeFile(name="x", primary="red", variables={"a": "bold blink-fast"})
