"""The model files that this host knows: registered, checked, found again."""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rbee_agent.contracts.models import ModelFile, Source
from rbee_agent.errors import NotFound
from rbee_agent.models.facts import read_facts
from rbee_agent.models.fingerprint import fingerprint
from rbee_agent.runtime.clock import Clock
from rbee_agent.runtime.files import read_json, write_atomic
from rbee_agent.settings.places import Places

_BLOCK = 4 * 1024 * 1024


class Shelf:
    """Model files by name, in one file that the daemon and the command line share."""

    def __init__(self, places: Places, clock: Clock) -> None:
        self._path = places.data / "models.json"
        self._clock = clock
        self._seen: tuple[int, int] | None = None
        self._files: dict[str, ModelFile] = {}

    def register(
        self,
        model_id: str,
        path: Path,
        *,
        source: Source | None = None,
        sha256: str | None = None,
        owned: bool = False,
    ) -> ModelFile:
        """Check a file and know it from now on.

        Raises:
            Refused: it is no GGUF or is cut short; names the file and the reason.
            OSError: the list could not be written.
        """
        facts = read_facts(path)
        file = ModelFile(
            id=model_id,
            path=str(path),
            size=facts.size,
            fingerprint=fingerprint(path),
            sha256=sha256,
            facts=facts,
            source=source,
            owned=owned,
            registered_at=self._clock.utc(),
        )
        with self._changing() as files:
            files[model_id] = file
        return file

    def get(self, model_id: str) -> ModelFile | None:
        """A model whose file is still there in its full size."""
        file = self._read().get(model_id)
        return file if file is not None and _is_whole(file) else None

    def all(self) -> list[ModelFile]:
        """Every model whose file is there."""
        return [file for file in self._read().values() if _is_whole(file)]

    def remove(self, model_id: str, delete: bool) -> bool:
        """Forget a model, and with `delete` the bytes that rbee brought; whether it was there."""
        with self._changing() as files:
            file = files.pop(model_id, None)
            shared = file is not None and any(other.path == file.path for other in files.values())
        if file is not None and delete and file.owned and not shared:
            Path(file.path).unlink(missing_ok=True)
        return file is not None

    def verify(self, model_id: str) -> dict[str, Any]:
        """Hash all bytes of a model; blocks for as long as that takes.

        Returns:
            ``ok``, the ``sha256`` found, and the one ``expected`` if it is known. A model that was
            registered without one gets the one found, and is checked by its fingerprint.

        Raises:
            NotFound: it is not on this host.
        """
        file = self.get(model_id)
        if file is None:
            raise NotFound(f"{model_id} is not on this host", code="MODEL_NOT_FOUND")
        found = sha256_of(Path(file.path))
        same = fingerprint(Path(file.path)) == file.fingerprint
        if file.sha256 is None and same:
            with self._changing() as files:
                files[model_id] = file.model_copy(update={"sha256": found})
        ok = same and file.sha256 in (None, found)
        return {"ok": ok, "sha256": found, "expected": file.sha256}

    def _read(self) -> dict[str, ModelFile]:
        try:
            stat = self._path.stat()
        except FileNotFoundError:
            self._seen, self._files = None, {}
            return self._files
        seen = (stat.st_mtime_ns, stat.st_ino)
        if seen != self._seen:
            said = read_json(self._path) or {}
            self._files = {
                name: ModelFile.read(value) for name, value in said.get("models", {}).items()
            }
            self._seen = seen
        return self._files

    @contextmanager
    def _changing(self) -> Iterator[dict[str, ModelFile]]:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            files = dict(self._read())
            yield files
            said = {"models": {name: file.dump() for name, file in files.items()}}
            write_atomic(self._path, json.dumps(said, indent=1))


def sha256_of(path: Path) -> str:
    """SHA-256 of a file in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _is_whole(file: ModelFile) -> bool:
    try:
        return Path(file.path).stat().st_size == file.size
    except OSError:
        return False
