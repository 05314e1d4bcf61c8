"""The token journal: whole lines, private, and what a killed queen left half is cut off."""

from __future__ import annotations

import errno
import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbee_agent.errors import Unavailable
from rbee_agent.store.journal import Journals, pack, unpack
from rbee_agent.wire.frames import token_frame


@pytest.fixture
def journals(tmp_path) -> Journals:
    made = Journals(tmp_path / "journals")
    made.prepare()
    return made


def test_ids_come_back_in_order(journals):
    """A second journal object (another queen) reads every id that was appended."""
    journal = journals.of("task-1")
    journal.append(token_frame(0, "a", [5]) + "\n")
    journal.append(token_frame(2, "bc", [6, 7]) + "\n")
    assert journals.of("task-1").token_ids() == [5, 6, 7]


def test_a_half_line_is_cut_off(journals):
    """What was never sent is not there after a kill, on the disk neither."""
    journal = journals.of("t")
    journal.append(token_frame(0, "a", [5]) + "\n")
    with journal.path.open("a") as file:
        file.write('{"type":"token","i":1,"t":"b')
    assert journals.of("t").token_ids() == [5]
    again = journals.of("t")
    again.append(token_frame(1, "c", [9]) + "\n")
    assert journals.of("t").token_ids() == [5, 9]
    assert [json.loads(line)["t"] for line in journal.path.read_text().splitlines()] == ["a", "c"]


def test_line_separators_in_text_are_text(journals):
    """U+2028 and its like do not end a line."""
    journal = journals.of("t")
    journal.append(token_frame(0, "a\u2028b\x85c", [5]) + "\n")
    assert len(journal.lines()) == 1


def test_ids_of_tasks_are_no_paths(journals):
    """An id with a slash stays inside the folder."""
    journal = journals.of("../../evil")
    journal.append("{}\n")
    assert journal.path.parent == journals.folder


def test_files_are_private(journals):
    """Only the owner reads what models said."""
    journal = journals.of("t")
    journal.append("{}\n")
    assert journal.path.stat().st_mode & 0o077 == 0


def test_a_full_disk_leaves_whole_lines(journals, monkeypatch):
    """A write that the disk took in part is undone, and refused."""
    journal = journals.of("t")
    journal.append('{"a":1}\n')
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, raw: real(fd, raw[:3]))
    with pytest.raises(Unavailable) as caught:
        journal.append('{"b":2}\n')
    monkeypatch.undo()
    assert caught.value.code == "STORE_UNAVAILABLE"
    assert journal.path.read_text() == '{"a":1}\n'


def test_no_space_is_told(journals, monkeypatch):
    """ENOSPC becomes our own error, with its reason."""

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(Unavailable, match="No space left"):
        journals.of("t").append("{}\n")


def test_sweep_keeps_open_tasks(journals):
    """Journals of tasks that are no more are deleted, others stay."""
    for name in ("a", "b", "c"):
        journals.of(name).append("{}\n")
    assert journals.sweep(["b"]) == 2
    assert journals.of("b").lines() == ["{}"]


LINE = st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]), min_size=1)


@given(st.lists(LINE))
def test_pack_and_unpack(lines):
    """The store gives back exactly the lines that it was given."""
    assert unpack(pack(lines)) == lines
