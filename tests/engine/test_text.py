"""Text that may be shown: whole characters, never a part of a stop string."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rbee_agent.engine.text import TextStream

pieces = st.lists(st.text(alphabet="ab<|ü🙂", max_size=4), max_size=12)


def shown(stream: TextStream, parts: list[bytes]) -> list[str]:
    """What a reader gets, piece by piece; nothing comes behind a stop string."""
    texts = [stream.push(part) for part in parts]
    return [*texts, stream.finish()]


def test_a_stop_string_over_three_tokens_is_never_shown_in_part() -> None:
    """Its first letters are held back until it is known what they begin."""
    stream = TextStream(["</s>"])

    assert stream.push(b"ab</") == ""
    assert stream.push(b"s") == ""
    assert stream.push(b">zz") == "ab"
    assert stream.stopped
    assert stream.push(b"more") + stream.finish() == ""


def test_what_only_looked_like_a_stop_string_is_shown() -> None:
    """Held text comes with the token that decides."""
    stream = TextStream(["</s>"])

    assert stream.push(b"</") == ""
    assert stream.push(b"b>") == "</b>"


def test_characters_are_whole() -> None:
    """A euro sign that three tokens carry is shown once."""
    stream = TextStream()
    euro = "€".encode()

    assert [stream.push(euro[i : i + 1]) for i in range(3)] == ["", "", "€"]


def test_a_broken_character_at_the_end_is_marked() -> None:
    """Nothing is lost silently."""
    stream = TextStream()
    stream.push("€".encode()[:2])

    assert stream.finish() == "\ufffd"


@given(text=pieces, cuts=st.randoms(use_true_random=False), stop=st.lists(
    st.text(alphabet="ab<|", min_size=1, max_size=3), max_size=3
))  # fmt: skip
def test_any_cut_shows_the_text_up_to_the_first_stop(
    text: list[str], cuts: object, stop: list[str]
) -> None:
    """However bytes are cut into tokens, the reader gets all before the first stop string."""
    import random

    assert isinstance(cuts, random.Random)
    raw = "".join(text).encode()
    parts = []
    while raw:
        size = cuts.randint(1, 3)
        parts.append(raw[:size])
        raw = raw[size:]
    stream = TextStream(stop)

    got = "".join(shown(stream, parts))

    whole = "".join(text)
    if not stream.stopped:
        assert got == whole
        assert not any(one in whole for one in stop)
    else:
        assert whole.startswith(got)
        assert any(whole.startswith(got + one) for one in stop)
        assert not any(one in got for one in stop)
