"""Streams over SSH while cables, servers and processes fail: not one byte differs."""

from __future__ import annotations

import json
import os
import time

import pytest

from tests.hosts.duo import Duo, until

pytestmark = [pytest.mark.root, pytest.mark.model, pytest.mark.timeout(600)]

BAD_CABLE_S = 60.0 if os.environ.get("RBEE_LONG") else 10.0


def test_a_cut_cable_moves_the_stream(duo: Duo) -> None:
    """A host unplugged in mid-stream: the stream goes on elsewhere, byte for byte the same.

    Its worker lives on, is taken up again as it is, and is counted once.
    """
    duo.until_serving()
    whole, before = duo.answer(), duo.lives()
    stream = duo.stream()
    stream.host.link(up=False)
    try:
        took = until(lambda: duo.states()[stream.host.name] == "offline", 20.0)
        assert stream.rest() == whole
        assert set(duo.lives()) <= set(before)
    finally:
        stream.host.link(up=True)
    print(f"\nthe cut host was offline after {took:.1f} s")
    print(f"and back {duo.until_online(stream.host):.1f} s after its cable")
    duo.until_serving()
    assert duo.lives() == before


def test_a_bad_cable_moves_nothing(duo: Duo) -> None:
    """200 ms late and 5 % lost, in each direction: streams stay where they are, and hosts too.

    A stream has another worker to go to as long as one slot is free: three run at a time, so that
    losing patience would move one. RBEE_LONG=1 does it for a minute.
    """
    duo.until_serving()
    whole, before = duo.answer(), duo.lives()
    moved, answers = [], []
    with duo.left.bad_cable(200, 0.05), duo.right.bad_cable(200, 0.05), duo.watched() as pictures:
        end = time.monotonic() + BAD_CABLE_S
        while not answers or time.monotonic() < end:
            for done in duo.answers(3):
                answers.append(done["text"].strip())
                moved.append(done["resumed"])
    print(f"\n{len(answers)} streams of 300 tokens in {BAD_CABLE_S:g} s over bad cables")
    assert set(answers) == {whole.strip()}
    assert set(moved) == {0}
    assert {state for picture in pictures for state in picture.values()} <= {"online", "suspect"}
    duo.until_serving()
    assert duo.lives() == before


def test_a_killed_hive_harms_no_stream(duo: Duo) -> None:
    """A killed hive comes back and adopts its worker in mid-stream."""
    duo.until_serving()
    whole, before = duo.answer(), duo.lives()
    stream = duo.stream()
    record = json.loads(duo.home_file(stream.host, ".local/state/rbee/run/hive.json"))
    stream.host.sh(f"kill -9 {record['pid']}")
    assert stream.rest() == whole
    duo.until_serving()
    assert duo.lives() == before


def test_a_restarted_sshd_harms_no_stream(duo: Duo) -> None:
    """The SSH server and all its sessions end in mid-stream; the queen is back by herself."""
    duo.until_serving()
    whole, before = duo.answer(), duo.lives()
    stream = duo.stream()
    stream.host.end_sshd()
    stream.host.sshd()
    print(f"\nback {duo.until_online(stream.host):.1f} s after its sshd")
    assert stream.rest() == whole
    duo.until_serving()
    assert duo.lives() == before


def test_a_killed_worker_harms_no_stream(duo: Duo) -> None:
    """It is killed in mid-stream: its hive starts it again under the same id, counted once."""
    duo.until_serving()
    whole, before = duo.answer(), duo.lives()
    stream = duo.stream()
    node = duo.nodes()[stream.host.name]["id"]
    killed = next(w for w in duo.workers().values() if w["node_id"] == node)
    stream.host.sh(f"kill -9 {killed['pid']}")
    assert stream.rest() == whole

    def reborn() -> bool:
        now = duo.lives()
        assert set(now) == set(before)
        return now[killed["id"]][1] > killed["incarnation"]

    until(reborn, 40.0)
    duo.until_serving()
