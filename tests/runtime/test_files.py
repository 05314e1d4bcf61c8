"""Small files are whole or not there, and secrets stay secret."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rbee_agent.runtime.files import read_json, secret_file, write_atomic


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk in mid-write changes nothing and leaves no litter."""
    path = tmp_path / "state.json"
    write_atomic(path, '{"a": 1}')

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomic(path, '{"a": 2}')

    assert read_json(path) == {"a": 1}
    assert [path] == list(tmp_path.iterdir())


def test_a_torn_file_reads_as_none(tmp_path: Path) -> None:
    """Half a record is no record."""
    path = tmp_path / "record.json"
    path.write_text('{"pid": 1')

    assert read_json(path) is None
    assert read_json(tmp_path / "missing.json") is None


def test_a_secret_is_made_once_and_only_for_its_owner(tmp_path: Path) -> None:
    """The first maker wins, the file is 0600, and a readable one is refused."""
    path = tmp_path / "deep" / "token"

    assert "one" == secret_file(path, "one") == secret_file(path, "two")
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o644)
    with pytest.raises(PermissionError, match="chmod 600"):
        secret_file(path, "three")
