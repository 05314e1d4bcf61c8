"""Numbers are short, and what was not measured is not zero."""

from __future__ import annotations

import pytest

from rbee_tui.state import units


@pytest.mark.parametrize(
    ("count", "text"),
    [(None, "–"), (0, "0B"), (999, "999B"), (1024, "1K"), (512 * 1024**2, "512M"),
     (1000 * 1024**2, "1.0G"), (8_482_560_512, "7.9G"), (141 * 1024**3, "141G"),
     (3 * 1024**4, "3.0T")],
)  # fmt: skip
def test_sizes(count: int | None, text: str) -> None:
    """Bytes take at most five columns."""
    assert text == units.size(count)
    assert len(text) <= 5


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "–"), (-1, "0s"), (59.9, "59s"), (190, "3m10s"), (7500, "2h05m"), (356_000, "4d2h")],
)
def test_spans(seconds: float | None, text: str) -> None:
    """Durations show their two largest units."""
    assert text == units.span(seconds)


@pytest.mark.parametrize(
    ("value", "text"), [(None, "–"), (0, "0"), (9.84, "9.8"), (123.4, "123"), (4242, "4.2k")]
)
def test_rates(value: float | None, text: str) -> None:
    """Rates take at most four columns."""
    assert text == units.rate(value)


@pytest.mark.parametrize(("value", "text"), [(None, "–"), (85, "85ms"), (1230, "1.2s")])
def test_millis(value: int | None, text: str) -> None:
    """Milliseconds become seconds when they are many."""
    assert text == units.millis(value)
