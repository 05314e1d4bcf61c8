"""Settings: flag before environment before file before default, and typos are errors."""

from __future__ import annotations

from pathlib import Path

import pytest

from rbee_agent.errors import Refused
from rbee_agent.settings.config import load


def test_the_defaults_need_no_file(tmp_path: Path) -> None:
    """A user without a config file gets the contract's ports."""
    loaded = load(tmp_path / "config.toml", env={})

    assert (loaded.settings.queen.port, loaded.settings.hive.port) == (8080, 9200)
    assert loaded.origin == {}


def test_precedence_and_origin(tmp_path: Path) -> None:
    """Each layer wins over the one below, and the result says where it came from."""
    path = tmp_path / "config.toml"
    path.write_text("[queen]\nport = 1\nqueue_limit = 2\nhost = '::1'\n[hive]\nport = 9\n")

    loaded = load(
        path,
        env={"RBEE_QUEEN_PORT": "3", "RBEE_HIVE_PORT": "4"},
        flags={"queen.port": 5, "queen.token": None},
    )

    queen = loaded.settings.queen
    assert (
        queen.port,
        queen.queue_limit,
        queen.host,
        loaded.settings.hive.port,
    ) == (5, 2, "::1", 4)
    assert loaded.origin["queen.port"] == "flag"
    assert loaded.origin["hive.port"] == "environment RBEE_HIVE_PORT"
    assert str(path) == loaded.origin["queen.queue_limit"]


def test_a_typo_names_file_key_and_the_nearest_key(tmp_path: Path) -> None:
    """A mistyped limit must not become the default in silence."""
    path = tmp_path / "config.toml"
    path.write_text("[queen]\nqueue_limmit = 5\n")

    with pytest.raises(Refused, match=r"config\.toml.*queen\.queue_limmit.*queen\.queue_limit\?"):
        load(path, env={})


@pytest.mark.parametrize("text", ["[queen", "queen = 5", "[queen]\nport = 'many'", "\udcff"])
def test_what_is_no_config_is_refused(tmp_path: Path, text: str) -> None:
    """Broken TOML, wrong types and wrong bytes name the file."""
    path = tmp_path / "config.toml"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))

    with pytest.raises(Refused, match=r"config\.toml"):
        load(path, env={})


def test_the_originals_environment_is_understood(tmp_path: Path) -> None:
    """ORCHD_BIND_ADDR and LLORCH_API_TOKEN mean what they meant."""
    loaded = load(
        tmp_path / "none", env={"ORCHD_BIND_ADDR": "0.0.0.0:81", "LLORCH_API_TOKEN": "t" * 20}
    )

    queen = loaded.settings.queen
    assert (queen.host, queen.port, queen.token) == ("0.0.0.0", 81, "t" * 20)
