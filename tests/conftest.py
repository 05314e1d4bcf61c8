"""Fixtures that every room shares. No test sees the developer's own configuration."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import hypothesis
import pytest

from rbee_agent.hive.shelf import Shelf
from rbee_agent.runtime.clock import SystemClock
from rbee_agent.settings.places import Places

_OWN_PREFIXES = ("RBEE_", "TEXTUAL_", "XDG_", "ORCHD_", "LLORCH_", "HF_")
_HARNESS = "TEXTUAL_SNAPSHOT_"
"""What the snapshot plug-in tells its own tests."""
_OWN_NAMES = ("NO_COLOR", "FORCE_COLOR", "SSH_AUTH_SOCK", "HTTP_PROXY", "HTTPS_PROXY")


def _find_demo_model() -> Path | None:
    """What RBEE_DEMO_MODEL names, else what `rbee-hive models download` brought this user."""
    named = os.environ.get("RBEE_DEMO_MODEL")
    if named is not None:
        return Path(named)
    known = Shelf(Places.of_user(), SystemClock()).get("smollm2-135m")
    return None if known is None else Path(known.path)


# How long an example takes says more of the machine than of the code.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")
# Threads that spin at barriers starve each other where cores are shared, as test machines' are.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell has what it starts with `&` ignore Ctrl-C, and so would all that tests interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)
# Found while the user's own home is still in sight.
_DEMO_MODEL = _find_demo_model()


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
    """The demo model's file; `make test` has put it in the user's cache."""
    if _DEMO_MODEL is None:
        pytest.skip("the demo model is not here: run `make model`, or set RBEE_DEMO_MODEL")
    assert _DEMO_MODEL.is_file(), f"the demo model should be {_DEMO_MODEL}, which is no file"
    return _DEMO_MODEL


@pytest.fixture(scope="session")
def second_model(demo_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GGUF of another architecture, on which some shortcuts are not exact."""
    from tests.second_model import write_second_model

    path = tmp_path_factory.mktemp("second") / "second.gguf"
    write_second_model(demo_model, path)
    return path


_WHOLE = ("hosts", "engine", "docs", "e2e", "determinism", "faults", "clients", "worker")
"""Rooms whose daemons, hosts or proofs are made once: one process runs all of such a room."""


@pytest.hookimpl(tryfirst=True)  # pytest-xdist reads the marks in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Say which tests belong into one process, and begin with the rooms that take longest."""
    here = Path(__file__).parent

    def place(item: pytest.Item) -> tuple[int, str]:
        room = item.path.relative_to(here).parts[0]
        if room in _WHOLE:
            return _WHOLE.index(room), room
        return len(_WHOLE), str(item.path.relative_to(here))

    items.sort(key=lambda item: place(item)[0])
    for item in items:
        item.add_marker(pytest.mark.xdist_group(place(item)[1]))
