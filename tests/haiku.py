"""The haiku test's question: a word known only now, in a form that a small model answers."""

from __future__ import annotations

_ONES = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen",
    "nineteen",
)  # fmt: skip
_TENS = ["", "", "twenty", "thirty", "forty", "fifty"]


def spelled(minute: int) -> str:
    """0 to 59 in words."""
    if minute < 20:
        return _ONES[minute]
    return _TENS[minute // 10] + (f"-{_ONES[minute % 10]}" if minute % 10 else "")


def question(word: str) -> str:
    """Ask for a haiku that begins with `word`, as a model of 135 million weights understands it.

    Tried with all sixty minutes: the demo model takes the word up each time.
    """
    return (
        "Each haiku about GPU computing begins with its word.\n\n"
        "Word: moonlight\nHaiku: moonlight, moonlight on the chips\n\n"
        "Word: river-stone\nHaiku: river-stone, river-stone in the rain\n\n"
        "Word: copper\nHaiku: copper, copper in the wind\n\n"
        f"Word: {word}\nHaiku:"
    )
