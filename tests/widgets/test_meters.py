"""Bars and sparklines have exactly the width they were given and lie about nothing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rbee_tui.widgets.meters import bar, sparkline, stacked
from rbee_tui.widgets.tones import fitted, plain, width_of

SHARE = st.floats(-0.5, 2.0)


@given(st.one_of(st.none(), SHARE), st.integers(1, 40))
def test_a_bar_has_its_width(share: float | None, width: int) -> None:
    """Whatever the share, the bar fills its place and no more."""
    assert width == width_of(bar(share, width, "ok"))


@given(st.lists(st.tuples(SHARE, st.just("█"), st.just("ok")), max_size=5), st.integers(1, 40))
def test_a_stacked_bar_has_its_width(parts: list[tuple[float, str, str]], width: int) -> None:
    """Parts that sum up to more than the whole do not overflow."""
    assert width == width_of(stacked(parts, width))


def test_something_small_is_seen() -> None:
    """A part that is there is drawn, however small."""
    text = plain(stacked(((0.5, "█", "ok"), (0.001, "▓", "accent")), 10))

    assert text == "█████▓░░░░"


def test_an_eighth_is_seen() -> None:
    """Bars are exact to an eighth of a column."""
    assert plain(bar(1.5 / 4, 4, "ok")) == "█▌░░"


@given(st.lists(st.floats(0, 1e6), max_size=80), st.integers(1, 40))
def test_a_sparkline_has_its_width(values: list[float], width: int) -> None:
    """Few values are filled up on the left, of many the newest are shown."""
    assert width == len(sparkline(values, width))


def test_a_sparkline_is_scaled_to_its_top() -> None:
    """Half of the top is half a block."""
    assert sparkline([0.0, 0.5, 1.0], 3, top=1.0) == "▁▅█"


@given(
    st.lists(st.tuples(st.text(st.sampled_from("ab蜂…"), max_size=9), st.just("ok")), max_size=4),
    st.integers(0, 20),
    st.booleans(),
)
def test_a_fitted_cell_has_its_width(parts: list[tuple[str, str]], width: int, right: bool) -> None:
    """Wide characters are never cut in half and never push."""
    assert width == width_of(tuple(fitted(tuple(parts), width, right=right)))
