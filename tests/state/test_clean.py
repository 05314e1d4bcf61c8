"""Remote text cannot speak to the terminal."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbee_tui.state.clean import clean, clean_json, needs_cleaning

HARMFUL = st.sampled_from(
    [
        "\x1b[31m",
        "\x1b]0;title\x07",
        "\x1b]52;c;aGk=\x1b\\",
        "\x9b2J",
        "\x1bc",
        "\r",
        "\x00",
        "\u202e",
    ]
)


@given(st.lists(st.one_of(st.text(), HARMFUL)))
def test_nothing_that_controls_a_terminal_is_left(parts: list[str]) -> None:
    """Whatever is mixed in, no control character, escape or direction mark remains."""
    for lines in (False, True):
        text = clean("".join(parts), lines=lines)
        left = {c for c in text if unicodedata.category(c) in ("Cc", "Cs")}

        assert left <= ({"\n"} if lines else set())
        assert not {"\u202e", "\u2066", "\ufeff"} & set(text)


@given(st.text())
def test_cleaning_twice_changes_nothing_more(text: str) -> None:
    """Cleaning is idempotent, so it does not matter how often text passes the door."""
    once = clean(text, lines=True)

    assert once == clean(once, lines=True)


@pytest.mark.parametrize(
    ("raw", "cleaned"),
    [
        ("plain", "plain"),
        ("naïve café 蜂 🐝", "naïve café 蜂 🐝"),
        ("a\x1b[1;31mred\x1b[0m b", "ared b"),
        ("x\x1b]52;c;c2VjcmV0\x07y", "xy"),
        ("tab\there", "tab    here"),
        ("one\r\ntwo\rthree", "one two three"),
        ("[bold]not markup[/foo]", "[bold]not markup[/foo]"),
    ],
)
def test_what_is_harmless_stays(raw: str, cleaned: str) -> None:
    """Words, scripts and emoji stay; sequences go whole, with the text they carry."""
    assert cleaned == clean(raw)


def test_lines_stay_where_they_are_asked_for() -> None:
    """Model output keeps its newlines."""
    assert clean("a\r\nb", lines=True) == "a\nb"


@given(st.dictionaries(st.text(), st.one_of(st.text(), HARMFUL, st.integers())))
def test_the_quick_check_misses_nothing(value: dict[str, object]) -> None:
    """JSON text that passes the quick check would not be changed by the slow one."""
    for ascii_only in (True, False):
        try:
            raw = json.dumps(value, ensure_ascii=ascii_only)
        except UnicodeEncodeError:
            continue
        if not needs_cleaning(raw):
            assert value == clean_json(json.loads(raw))
