"""``hive import``: which names ~/.ssh/config holds."""

from __future__ import annotations

from pathlib import Path

from rbee_tui.fleet.ssh_config import names


def test_names_are_found_and_patterns_are_not(tmp_path: Path) -> None:
    """Host lines with several names, includes and equals signs count; patterns do not."""
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d/more").write_text("Host=cellar\n  User ada\n")
    (tmp_path / "config").write_text(
        "# Host commented\nHost attic *.lan !x\n  HostName 10.0.0.1\n"
        "Include conf.d/*\nHost *\n  User eve\nhost attic roof\n"
    )
    assert names(tmp_path / "config") == ["attic", "cellar", "roof"]


def test_a_config_that_includes_itself_ends(tmp_path: Path) -> None:
    """A loop of includes is left after a few rounds; no file is no names."""
    (tmp_path / "config").write_text("Include config\nHost attic\n")
    assert names(tmp_path / "config") == ["attic"]
    assert names(tmp_path / "none") == []
