"""Every verb can be found, explained, and typed in a shell instead."""

from __future__ import annotations

import shlex

import pytest

from rbee_tui.feed.demo import NOW, demo_messages
from rbee_tui.feed.recording import replay
from rbee_tui.verbs.registry import CANCEL, SPAWN, STOP, VERBS, by_name, verbs_for
from rbee_tui.verbs.verb import Danger, Target, Verb

VIEW = replay(demo_messages(), now=NOW)
TARGETS = {
    "task": "task-9d2w",
    "stream": "task-9d2w",
    "worker": "w-7f3k",
    "model": "qwen2.5-14b",
    "node": "atelier",
    "pull": "mistral-small-24b",
}


def test_names_and_keys_are_unique_where_they_meet() -> None:
    """No two verbs share a name, nor a key on the same noun."""
    assert len(VERBS) == len({verb.name for verb in VERBS})
    for noun in {noun for verb in VERBS for noun in verb.nouns}:
        keys = [verb.key for verb in verbs_for(noun)]
        assert len(keys) == len(set(keys)), noun


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_each_verb_explains_itself(verb: Verb) -> None:
    """Help is a sentence, and for each noun there is a plan and a command that begins with rbee."""
    assert verb.help.endswith(".")
    assert verb is by_name(verb.name)
    for noun in verb.nouns:
        target = Target(VIEW, noun, TARGETS[noun])
        plan = verb.plan(target)
        words = shlex.split(verb.command(target))

        assert plan
        assert all(line.endswith(".") for line in plan)
        assert words[0] == "rbee"
        assert len(words) >= 3


def test_what_ends_work_says_so() -> None:
    """Cancelling and stopping are dangerous, and name what is lost."""
    assert CANCEL.danger is Danger.DESTROYS
    assert STOP.danger is Danger.DESTROYS
    plan = STOP.plan(Target(VIEW, "worker", "w-7f3k"))

    assert any("2 running streams" in line for line in plan)
    assert any("20.9G" in line for line in plan)


def test_a_verb_that_makes_no_sense_says_why() -> None:
    """An ended task is not cancelled again."""
    assert "ended already" in (CANCEL.refuses(Target(VIEW, "task", "task-t1ke")) or "")
    assert CANCEL.refuses(Target(VIEW, "task", "task-9d2w")) is None
    assert STOP.refuses(Target(VIEW, "worker", "w-none")) is not None


def test_one_more_worker_starts_where_the_first_is() -> None:
    """Spawning on a worker's row means its model on its host."""
    command = SPAWN.command(Target(VIEW, "worker", "w-7f3k"))

    assert command == "rbee worker spawn qwen2.5-14b --host atelier"
