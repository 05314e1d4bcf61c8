"""Models on a hub of this machine, and a home to pull them into."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from rbee_agent.contracts.models import CatalogModel, ModelFile, PullProgress
from rbee_agent.hive import download, pulls
from rbee_agent.hive.pulls import Puller
from rbee_agent.hive.shelf import Shelf
from rbee_agent.models import references
from rbee_agent.runtime.clock import SystemClock
from rbee_agent.settings.places import Places
from tests.gguf_files import write_gguf
from tests.models.hub_server import Hub, Repository


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for seconds between tries need not wait here; all progress is told."""
    monkeypatch.setattr(download, "FIRST_WAIT_S", 0.0)
    monkeypatch.setattr(download, "BLOCK", 16 * 1024)
    monkeypatch.setattr(pulls, "TELL_EVERY_S", 0.0)


@pytest.fixture(scope="session")
def gguf_bytes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Whole models as a repository has them, one of them in three parts."""
    folder = tmp_path_factory.mktemp("gguf")
    found = {}
    for number, quant in enumerate(("Q4_K_M", "Q8_0", "F16")):
        path = write_gguf(folder / "one.gguf", rows=512, seed=number)
        found[f"tiny-{quant}.gguf"] = path.read_bytes()
    for number in range(3):
        path = write_gguf(folder / "part.gguf", rows=300, seed=9 + number, part=(number, 3))
        found[f"BF16/tiny-BF16-{number + 1:05}-of-00003.gguf"] = path.read_bytes()
    return found


@pytest.fixture
async def hub(gguf_bytes: dict[str, bytes]) -> AsyncIterator[Hub]:
    """A hub with one open repository, one gated one, and plain files."""
    files = {"README.md": b"# tiny\n", "mmproj-tiny-Q8_0.gguf": b"GGUF no language", **gguf_bytes}
    one = gguf_bytes["tiny-Q8_0.gguf"]
    made = Hub(
        {
            "org/tiny-GGUF": Repository(files),
            "org/gated-GGUF": Repository({"tiny-Q8_0.gguf": one}, gated_for="hf_good"),
            "org/no-GGUF": Repository({"README.md": b"nothing"}),
            "files": Repository({"a/tiny.gguf": one, "b/tiny.gguf": gguf_bytes["tiny-F16.gguf"],
                                 "bad.gguf": b"no model at all"}),
        }
    )  # fmt: skip
    async with made:
        yield made


class Home:
    """One user's shelf, model folder and hub cache."""

    def __init__(self, root: Path, hub: Hub, *, keep_free: int = 0, **env: str) -> None:
        self.root = root
        self.places = Places.under(root / "rbee")
        self.cache = root / "hf" / "hub"
        self.env = {"HOME": str(root), "HF_HOME": str(root / "hf"), "HF_ENDPOINT": hub.url, **env}
        self.shelf = Shelf(self.places, SystemClock())
        self.news: list[PullProgress] = []
        self.puller = Puller(
            self.places, self.shelf, SystemClock(), keep_disk_free=keep_free, env=self.env
        )

    async def pull(self, what: str | CatalogModel, **entry: Any) -> ModelFile:
        """Pull a reference or an entry."""
        model = references.parse(what) if isinstance(what, str) else what
        return await self.puller.pull(model.model_copy(update=entry), self.news.append)

    def files(self) -> set[str]:
        """Everything on this disk but locks, relative to the home."""
        return {
            path.relative_to(self.root).as_posix()
            for path in self.root.rglob("*")
            if (path.is_file() or path.is_symlink()) and path.suffix != ".lock"
        }


@pytest.fixture
def home(tmp_path: Path, hub: Hub) -> Home:
    """A home with nothing in it."""
    return Home(tmp_path / "home", hub)
