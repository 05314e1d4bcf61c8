"""Fixtures that every room shares. No test sees the developer's own configuration."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rbee_agent.settings.places import Places

_OWN_PREFIXES = ("RBEE_", "TEXTUAL_", "XDG_", "ORCHD_", "LLORCH_", "HF_")
_HARNESS = "TEXTUAL_SNAPSHOT_"
"""What the snapshot plug-in tells its own tests."""
_OWN_NAMES = ("NO_COLOR", "FORCE_COLOR", "SSH_AUTH_SOCK", "HTTP_PROXY", "HTTPS_PROXY")
_DEMO_MODEL = os.environ.get("RBEE_DEMO_MODEL")


@pytest.fixture(autouse=True)
def hermetic(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own and none of the developer's settings; returns that home."""
    home = tmp_path_factory.mktemp("home")
    for name in list(os.environ):
        if name.startswith(_HARNESS):
            continue
        if name.startswith(_OWN_PREFIXES) or name in _OWN_NAMES:
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    return home


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """Folders of a user who has never run rbee."""
    return Places.under(tmp_path / "rbee")


@pytest.fixture(scope="session")
def demo_model() -> Path:
    """The demo model's file; `make test` has put it in the cache and says where."""
    if _DEMO_MODEL is None:
        pytest.skip("the demo model is not here: run `make test`, or set RBEE_DEMO_MODEL")
    path = Path(_DEMO_MODEL)
    assert path.is_file(), f"RBEE_DEMO_MODEL names {path}, which is no file"
    return path
