"""Every verb can be found, explained, and typed in a shell instead."""

from __future__ import annotations

import shlex
from typing import Any

import pytest

from rbee_agent.contracts.tasks import Message, TaskRequest
from rbee_tui.cli.app import command as cli
from rbee_tui.feed.demo import NOW, demo_messages
from rbee_tui.feed.recording import replay
from rbee_tui.verbs.registry import CANCEL, SPAWN, STOP, VERBS, by_name, verbs_for
from rbee_tui.verbs.verb import Danger, Target, Verb
from rbee_tui.widgets.tones import plain

VIEW = replay(demo_messages(), now=NOW)
TARGETS = {
    "task": "task-9d2w",
    "stream": "task-9d2w",
    "worker": "w-7f3k",
    "model": "qwen2.5-14b",
    "node": "atelier",
    "session": "bedtime",
    "policy": "policy.star",
}
SENT = TaskRequest(model="qwen2.5-14b", messages=[Message(role="user", content="Hello? It's me")])


def test_names_and_keys_are_unique_where_they_meet() -> None:
    """No two verbs share a name, nor a key on the same noun."""
    assert len(VERBS) == len({verb.name for verb in VERBS})
    for noun in {noun for verb in VERBS for noun in verb.nouns}:
        keys = [verb.key for verb in verbs_for(noun)]
        assert len(keys) == len(set(keys)), noun


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_each_verb_explains_itself(verb: Verb) -> None:
    """Help is a sentence; for each noun there is a plan, and the equal command begins with rbee."""
    assert verb.help.endswith(".")
    assert verb is by_name(verb.name)
    for noun in verb.nouns:
        target = Target(VIEW, noun, TARGETS[noun], sent={TARGETS["task"]: SENT})
        if verb.ask is not None:
            target = target.having(verb.ask.argument, verb.ask.choices(target)[0].value)
        plan = verb.plan(target)
        command = verb.command(target)

        assert plan
        assert all(line.endswith(".") for line in plan if isinstance(line, str))
        assert command is not None, "whoever is at a shell can do the same"
        for one in command.split(" && "):
            rbee, *words = shlex.split(one)
            assert rbee == "rbee"
            parsed(words)


def parsed(words: list[str]) -> None:
    """Read the words as the command line does, and run nothing."""
    one: Any = cli()
    while words and hasattr(one, "get_command"):
        one = one.get_command(None, words[0])
        assert one is not None, f"there is no command {words[0]}"
        words = words[1:]
    one.make_context(one.name, words)


def test_what_ends_work_says_so() -> None:
    """Cancelling and stopping are dangerous, and name what is lost."""
    assert CANCEL.danger is Danger.DESTROYS
    assert STOP.danger is Danger.DESTROYS
    plan = STOP.plan(Target(VIEW, "worker", "w-7f3k"))

    assert any("2 running streams" in plain(line) for line in plan)
    assert any("20.9G" in plain(line) for line in plan)


def test_a_verb_that_makes_no_sense_says_why() -> None:
    """An ended task is not cancelled again."""
    assert "ended already" in (CANCEL.refuses(Target(VIEW, "task", "task-t1ke")) or "")
    assert CANCEL.refuses(Target(VIEW, "task", "task-9d2w")) is None
    assert STOP.refuses(Target(VIEW, "worker", "w-none")) is not None


def test_one_more_worker_starts_where_it_was_asked_for() -> None:
    """Spawning on a worker's row means its model, on the device that was chosen."""
    target = Target(VIEW, "worker", "w-7f3k")

    assert SPAWN.command(target) == "rbee worker spawn --model qwen2.5-14b"
    chosen = target.having("place", "atelier/cuda:1")
    assert (
        SPAWN.command(chosen) == "rbee worker spawn cuda --model qwen2.5-14b --host atelier --gpu 1"
    )


def test_a_spawn_says_what_memory_there_is_before_and_after() -> None:
    """Where the free memory is too little, the idle workers that would go are named."""
    roomy = Target(VIEW, "model", "llama-3.1-8b", {"place": "atelier/cuda:1"})
    tight = Target(VIEW, "model", "qwen2.5-14b", {"place": "atelier/cuda:0"})

    assert any("too little" in plain(line) for line in SPAWN.plan(tight))
    assert not any("too little" in plain(line) for line in SPAWN.plan(roomy))
    assert any(
        "after" in plain(line) and "17.3G of 24.0G" in plain(line) for line in SPAWN.plan(roomy)
    )
