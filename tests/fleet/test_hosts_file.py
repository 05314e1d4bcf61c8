"""hives.toml: written without losing a word, refused where it is not understood."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbee_agent.errors import Conflict, NotFound, Refused
from rbee_tui.fleet import hosts_file
from rbee_tui.fleet.hosts_file import Host

WRITTEN = """\
# my machines

[hosts.attic]   # the loud one
address = "10.0.0.4"  # DHCP, careful
user = "ada"

# a comment that belongs to the cellar
[hosts.cellar]
port = 2222

[hosts.cellar.labels]
gpu = "old"
"""


def test_changing_one_host_keeps_every_other_byte(tmp_path: Path) -> None:
    """Comments and tables of other hosts stay; the changed host reads back as it was put."""
    path = tmp_path / "hives.toml"
    path.write_text(WRITTEN)
    hosts_file.put(path, Host("attic", address="10.0.0.5", user="ada", hive_port=9300))
    text = path.read_text()
    assert text.startswith("# my machines\n\n")
    assert text.endswith(WRITTEN[WRITTEN.index("# a comment that") :])
    assert hosts_file.read(path) == {
        "attic": Host("attic", address="10.0.0.5", user="ada", hive_port=9300),
        "cellar": Host("cellar", port=2222, labels={"gpu": "old"}),
    }


def test_removing_a_host_keeps_the_others(tmp_path: Path) -> None:
    """A host with sub-tables goes whole; nothing of the others does."""
    path = tmp_path / "hives.toml"
    path.write_text(WRITTEN)
    hosts_file.remove(path, "cellar")
    assert set(hosts_file.read(path)) == {"attic"}
    assert "# DHCP, careful" in path.read_text()
    with pytest.raises(NotFound):
        hosts_file.remove(path, "cellar")


names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,12}", fullmatch=True)
words = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=12)
hosts = st.builds(
    Host,
    name=names,
    address=st.none() | words,
    user=st.none() | words,
    port=st.none() | st.integers(1, 65535),
    labels=st.dictionaries(words, words, max_size=3),
)


@given(st.lists(hosts, max_size=6))
def test_whatever_is_put_reads_back(tmp_path_factory, entries: list[Host]) -> None:
    """Any hosts, put one after the other, read back as they were put last."""
    path = tmp_path_factory.mktemp("hives") / "hives.toml"
    for entry in entries:
        hosts_file.put(path, entry)
    assert hosts_file.read(path) == {entry.name: entry for entry in entries}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[hosts.a]\nadress = '1'\n", "hosts.a.adress; did you mean address?"),
        ("[host.a]\n", "did you mean hosts?"),
        ("[hosts.a]\nport = 'ssh'\n", "hosts.a.port must be a int"),
        ("[hosts.a\n", "not TOML"),
    ],
)
def test_what_is_not_understood_is_refused(tmp_path: Path, text: str, words: str) -> None:
    """The file, the key and the nearest known key are named."""
    path = tmp_path / "hives.toml"
    path.write_text(text)
    with pytest.raises(Refused) as refused:
        hosts_file.read(path)
    assert str(path) in refused.value.message
    assert words in refused.value.message


def test_a_layout_that_would_lose_something_is_left_alone(tmp_path: Path) -> None:
    """Hosts written as inline tables are not rewritten: the file stays byte for byte."""
    path = tmp_path / "hives.toml"
    path.write_text('hosts = { a = { user = "x" } }\n')
    with pytest.raises((Conflict, Refused)):
        hosts_file.put(path, Host("a", user="y"))
    assert path.read_text() == 'hosts = { a = { user = "x" } }\n'


def test_a_name_that_nearly_exists(tmp_path: Path) -> None:
    """A typo gets the near names."""
    path = tmp_path / "hives.toml"
    path.write_text(WRITTEN)
    with pytest.raises(NotFound, match="attic"):
        hosts_file.one(path, "atic")


def test_what_is_not_said_anew_stays() -> None:
    """A host that is added again under another address keeps its key, Python and labels."""
    known = Host("a", address="10.0.0.1", host_key="k", python="/p", labels={"x": "y"}, port=23)
    assert hosts_file.merged(known, Host("a", address="10.0.0.2")) == replace(
        known, address="10.0.0.2"
    )
