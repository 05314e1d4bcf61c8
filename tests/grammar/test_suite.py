"""Every schema of the public test suite is enforced or refused by name: never half."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from pathlib import Path

import jsonschema
import pytest

from rbee_agent.errors import InvalidParams
from rbee_agent.grammar import Grammar, compile_schema
from rbee_agent.grammar.document import ANNOTATIONS, ENFORCED
from tests.grammar.conftest import Case
from tests.grammar.writer import RandomWriter

TEXTS = 25
"""Random answers for each schema."""
_PAGE = Path(__file__).parents[2] / "docs/structured-output.md"
_VALIDATOR = jsonschema.Draft202012Validator

pytestmark = pytest.mark.timeout(400)


def _compiled(case: Case) -> Grammar:
    grammar = Grammar()
    grammar.rules["answer"] = compile_schema(case.schema, grammar, field="schema", prefix="s")
    return grammar


def test_what_is_enforced_is_valid_and_the_rest_is_refused_by_name(
    suite: list[Case], capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever a grammar writes is valid; each refusal says which keyword, and where."""
    refused: Counter[str] = Counter()
    enforced = impossible = 0
    chance = random.Random(7)
    for case in suite:
        try:
            writer = RandomWriter(_compiled(case), chance)
        except InvalidParams as error:
            pointer, message = error.errors[0]["field"], error.errors[0]["message"]
            if "no value is valid" in message:
                assert not case.satisfiable, case
                impossible += 1
                continue
            keyword = pointer.rsplit("/", 1)[-1]
            assert re.search(rf"{re.escape(keyword)} cannot be enforced", message), (case, message)
            refused[keyword] += 1
            continue
        enforced += 1
        validator = _VALIDATOR(case.schema, format_checker=_VALIDATOR.FORMAT_CHECKER)
        for _ in range(TEXTS):
            text = writer.text("answer")
            validator.validate(json.loads(text))

    counts = f"{enforced} enforced, {sum(refused.values())} refused, {impossible} impossible"
    with capsys.disabled():
        print(f"\nJSON-Schema-Test-Suite, {len(suite)} schemas: {counts}; {dict(refused)}")
    assert counts in " ".join(_PAGE.read_text().split()), "the page tells other numbers"


def test_the_page_names_every_keyword() -> None:
    """What is enforced, and what is only read, stands in the table of the page."""
    page = _PAGE.read_text()

    named = set(re.findall(r"`([A-Za-z$]+)`", page))
    assert named >= ENFORCED | ANNOTATIONS
