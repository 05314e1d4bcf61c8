"""Which queen is talked to, and who gets her key."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rbee_agent.client import find_queen
from rbee_agent.errors import Refused
from rbee_agent.settings.places import Places


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def running(places: Places) -> Places:
    """A user whose own queen has left her record and her key."""
    put(places.queen_record, json.dumps({"pid": 1, "url": "http://127.0.0.1:7777"}))
    put(places.admin_token, "own-key\n")
    return places


def test_without_anything_it_is_the_default(places: Places) -> None:
    """Nobody configured anything: loopback, the documented port."""
    found = find_queen(places, env={})

    assert (found.url, found.token) == ("http://127.0.0.1:8080", None)


def test_the_queen_that_runs_is_found_with_her_key(running: Places) -> None:
    """A record of a running queen beats the default port, and her admin key is used."""
    found = find_queen(running, env={})

    assert (found.url, found.token) == ("http://127.0.0.1:7777", "own-key")


@pytest.mark.parametrize("where", ["flag", "environment"])
def test_the_own_key_goes_to_no_other_queen(running: Places, where: str) -> None:
    """The admin key of this user's queen is never sent to an address that was named."""
    other = "http://gpu.example:8080"
    found = (
        find_queen(running, env={}, url=other)
        if where == "flag"
        else find_queen(running, env={"RBEE_QUEEN_URL": other})
    )

    assert (found.url, found.token) == (other, None)


def test_flag_beats_environment_beats_file_beats_record(running: Places) -> None:
    """The precedence of the contract."""
    put(running.config_file, '[queen]\nurl = "http://file:1"\ntoken = "file-key"\n')
    env = {"RBEE_QUEEN_URL": "http://env:1"}

    assert find_queen(running, env=env, url="http://flag:1").url == "http://flag:1"
    assert find_queen(running, env=env).url == "http://env:1"
    found = find_queen(running, env={})
    assert (found.url, found.token) == ("http://file:1", "file-key")


def test_a_port_from_the_environment_counts_where_nothing_runs(places: Places) -> None:
    """RBEE_QUEEN_PORT says where the queen will be."""
    assert find_queen(places, env={"RBEE_QUEEN_PORT": "9999"}).url == "http://127.0.0.1:9999"


def test_the_original_token_variable_works(places: Places) -> None:
    """LLORCH_API_TOKEN is the key, as users of the original know it."""
    assert find_queen(places, env={"LLORCH_API_TOKEN": "k"}).token == "k"


def test_a_bad_config_is_refused(places: Places) -> None:
    """A typo in config.toml is named, not skipped."""
    put(places.config_file, "[queen]\nurll = 'x'\n")

    with pytest.raises(Refused, match=r"did you mean queen\.url"):
        find_queen(places, env={})


def test_an_address_never_prints_its_key(running: Places) -> None:
    """A repr in a log shows that there is a key, not which."""
    assert "own-key" not in repr(find_queen(running, env={}))
