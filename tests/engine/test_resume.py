"""Jobs that go on behind tokens that another worker made."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.engine_harness import Run

pytestmark = pytest.mark.model


@pytest.mark.parametrize("strict", [True, False])
def test_a_resumed_job_shows_that_it_read_the_same_prompt(
    ask: Callable[..., Run], strict: bool
) -> None:
    """The proof and the count are of the prompt alone, not of what was said behind it."""
    said = {"prompt": "One, two, three,", "max_tokens": 8, "strict": strict}
    said["sampling"] = {"temperature": 0.0}
    whole = ask(**said)
    rest = ask(**said, resume_token_ids=whole.ids[:3])

    assert rest.proof == whole.proof
    assert rest.tokens_in == whole.tokens_in
    assert whole.ids[3:] == rest.ids
