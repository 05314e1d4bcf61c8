"""Themes as data: find the files, validate them whole, turn them into Textual themes.

Textual takes a bad colour without a word and dies when it first draws it, so every colour is
parsed here, when the file is read.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from textual.color import Color, ColorParseError
from textual.theme import Theme

DEFAULT_THEME: Final = "rbee-dark"
NO_COLOR_THEME: Final = "rbee-mono"

_HERE: Final = Path(__file__).parent
_TEXT_STYLES: Final = frozenset({"none", "bold", "dim", "italic", "reverse", "underline", "strike"})
_ANSI_NEEDS: Final = {"ansi-background": "ansi_default", "ansi-foreground": "ansi_default"}
"""Variables of Textual's own style sheet that it does not derive for an ANSI theme."""
_OPACITY: Final = re.compile(r"\s+\d{1,3}(?:\.\d+)?%$")


class ThemeFile(BaseModel):
    """What a theme file may say; colours are CSS colours, or ``ansi_…`` where `ansi` is set."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")
    title: str = ""
    """One line for the list of themes."""
    dark: bool = True
    ansi: bool = False
    """Use the terminal's own sixteen colours."""
    primary: str
    secondary: str | None = None
    accent: str | None = None
    foreground: str | None = None
    background: str | None = None
    surface: str | None = None
    panel: str | None = None
    success: str | None = None
    warning: str | None = None
    error: str | None = None
    variables: dict[str, str] = {}
    """Further variables of Textual's CSS: colours, or text styles such as ``bold reverse``."""

    @field_validator("primary", "secondary", "accent", "foreground", "background", "surface",
                     "panel", "success", "warning", "error")  # fmt: skip
    @classmethod
    def _is_colour(cls, value: str | None) -> str | None:
        if value is not None:
            _parse(value)
        return value

    @field_validator("variables")
    @classmethod
    def _are_values(cls, values: dict[str, str]) -> dict[str, str]:
        for value in values.values():
            if not set(value.split()) <= _TEXT_STYLES:
                _parse(_OPACITY.sub("", value))
        return values

    def theme(self) -> Theme:
        """The theme as Textual registers it."""
        theme = Theme(**self.model_dump(exclude={"title"}))
        if self.ansi:
            theme.variables = {**_ANSI_NEEDS, **self.variables}
        return theme


def _parse(value: str) -> None:
    try:
        Color.parse(value)
    except ColorParseError as error:
        raise ValueError(f"{value!r} is no colour") from error


@dataclass(frozen=True, slots=True)
class Found:
    """What a search for themes found."""

    themes: Mapping[str, ThemeFile]
    problems: tuple[str, ...] = ()
    """One sentence for each file that cannot be used, naming it."""


def bundled_folder() -> Path:
    """Where rbee's own themes are: inside the installed package, else in the checkout."""
    installed = _HERE / "files"
    return installed if installed.is_dir() else _HERE.parent.parent / "themes"


def find_themes(folders: Iterable[Path]) -> Found:
    """Read every ``*.toml`` in these folders; a later folder's theme replaces an earlier one."""
    themes: dict[str, ThemeFile] = {}
    problems: list[str] = []
    for folder in folders:
        for path in sorted(folder.glob("*.toml")) if folder.is_dir() else ():
            try:
                theme = ThemeFile.model_validate(tomllib.loads(path.read_text("utf-8")))
            except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, ValidationError) as error:
                problems.append(f"{path.name}: {_reason(error)}")
            else:
                themes[theme.name] = theme
    return Found(themes, tuple(problems))


def choose(
    asked: str | None, found: Found, *, no_color: bool, remembered: str | None = None
) -> str:
    """The theme to begin with: the one asked for, else the right one for this terminal.

    Args:
        asked: for this start, by name.
        found: what there is.
        no_color: colours are not wanted, whatever was chosen before.
        remembered: chosen in the control center the last time; its file may be gone.
    """
    if asked is not None and asked in found.themes:
        return asked
    if no_color and NO_COLOR_THEME in found.themes:
        return NO_COLOR_THEME
    if remembered is not None and remembered in found.themes:
        return remembered
    return DEFAULT_THEME if DEFAULT_THEME in found.themes else next(iter(found.themes), "")


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        return f"{where}: {first['msg'].removeprefix('Value error, ')}"
    return str(error).splitlines()[0] if str(error) else type(error).__name__
