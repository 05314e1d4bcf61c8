"""Verifying a model says which host has wrong bytes."""

from __future__ import annotations

import pytest

from rbee_agent.contracts.models import Verdict, VerifyReport
from rbee_agent.errors import RbeeError
from rbee_tui.feed.demo import NOW, demo_messages
from rbee_tui.feed.recording import replay
from rbee_tui.verbs.registry import by_name
from rbee_tui.verbs.verb import Target

TARGET = Target(replay(demo_messages(), now=NOW), "model", "qwen2.5-14b")


VERIFY = by_name("verify")
assert VERIFY is not None


class Link:
    """A queen whose hosts have found what they are told to have found."""

    def __init__(self, **hosts: bool) -> None:
        self._report = VerifyReport(
            model="m", nodes={name: Verdict(ok=ok, sha256="aa") for name, ok in hosts.items()}
        )

    async def verify_model(self, _: str) -> VerifyReport:
        """The report."""
        return self._report


async def test_a_whole_model_names_its_hosts() -> None:
    """Where the bytes are as they should be."""
    said = await VERIFY.run(Link(a=True, b=True), TARGET)  # type: ignore[arg-type]

    assert said == "qwen2.5-14b is whole on a, b"


async def test_wrong_bytes_are_an_error_that_names_the_host() -> None:
    """It is never called whole because the other hosts' copies are."""
    with pytest.raises(RbeeError, match="not as it should be on b"):
        await VERIFY.run(Link(a=True, b=False), TARGET)  # type: ignore[arg-type]
