"""Numbers as people read them, in a fixed and small width."""

from __future__ import annotations

from typing import Final

MISSING: Final = "–"
"""A value nobody measured; never shown as zero."""

_STEPS: Final = ("B", "K", "M", "G", "T", "P")


def size(count: float | None) -> str:
    """Bytes with a binary prefix in at most five characters: `512M`, `7.9G`, `23.6G`."""
    if count is None:
        return MISSING
    value = float(count)
    for step in _STEPS:
        if abs(value) < 1000 or step == _STEPS[-1]:
            break
        value /= 1024
    if step in ("B", "K", "M") or value >= 100:
        return f"{value:.0f}{step}"
    return f"{value:.1f}{step}"


def rate(per_second: float | None) -> str:
    """Tokens per second: `0`, `9.8`, `123`, `4.2k`."""
    if per_second is None:
        return MISSING
    if per_second >= 10_000:
        return f"{per_second / 1000:.0f}k"
    if per_second >= 1000:
        return f"{per_second / 1000:.1f}k"
    if per_second >= 100 or per_second == 0:
        return f"{per_second:.0f}"
    return f"{per_second:.1f}"


def span(seconds: float | None) -> str:
    """A duration in its two largest units at most: `0s`, `42s`, `3m10s`, `2h05m`, `4d3h`."""
    if seconds is None:
        return MISSING
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86_400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86_400}d{whole % 86_400 // 3600}h"


def millis(value: int | None) -> str:
    """Milliseconds: `85ms`, `1.2s`, `3m10s`."""
    if value is None:
        return MISSING
    if value < 1000:
        return f"{value}ms"
    if value < 60_000:
        return f"{value / 1000:.1f}s"
    return span(value / 1000)


def percent(share: float | None) -> str:
    """A share of one as a whole percentage."""
    return MISSING if share is None else f"{share * 100:.0f}%"
