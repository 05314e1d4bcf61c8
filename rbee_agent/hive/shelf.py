"""The model files that this host knows: registered, checked, found again."""

from __future__ import annotations

import fcntl
import json
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rbee_agent.contracts.models import ModelFile, Source
from rbee_agent.errors import NotFound
from rbee_agent.hive.download import sha256_of
from rbee_agent.models.facts import read_facts
from rbee_agent.models.fingerprint import fingerprint
from rbee_agent.models.parts import part_names, parts
from rbee_agent.models.references import nearest
from rbee_agent.runtime.clock import Clock
from rbee_agent.runtime.files import read_json, write_atomic
from rbee_agent.settings.places import Places


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
        brought: Sequence[Path] = (),
    ) -> ModelFile:
        """Check a file and know it from now on.

        Args:
            model_id: the name it gets.
            path: the file, or the first of several.
            source: where it is from; None: it lay here.
            sha256: of its bytes, where it is known.
            brought: what rbee itself put on the disk for it.

        Raises:
            Refused: it is no GGUF, is cut short or a part is missing; names file and reason.
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
            owned=bool(brought),
            brought=[str(item) for item in brought],
            registered_at=self._clock.utc(),
        )
        with self._changing() as files:
            files[model_id] = file
        return file

    def get(self, model_id: str) -> ModelFile | None:
        """A model whose file is still there in its full size."""
        file = self._read().get(model_id)
        return file if file is not None and _is_whole(file) else None

    def known(self, model_id: str) -> ModelFile | None:
        """What was registered under a name, whether its file is still whole or not."""
        return self._read().get(model_id)

    def all(self) -> list[ModelFile]:
        """Every model whose file is there."""
        return [file for file in self._read().values() if _is_whole(file)]

    def missing(self, model_id: str) -> NotFound:
        """The refusal of a model that is not here: damaged, or unknown, with the near names."""
        known = self._read().get(model_id)
        if known is not None:
            return NotFound(
                f"the file of {model_id} is gone or cut short: {known.path} had {known.size} "
                f"bytes; get it again: rbee-hive models remove {model_id}, then "
                f"rbee-hive models download {model_id}",
                code="MODEL_NOT_FOUND",
            )
        there = [file.id for file in self.all()]
        near = nearest(model_id, there)
        hint = (
            f"did you mean {', '.join(near)}?"
            if near
            else f"there are: {', '.join(there) or 'none'}"
        )
        return NotFound(
            f"{model_id} is not on this host; {hint} Get it with: "
            f"rbee-hive models download {model_id}",
            code="MODEL_NOT_FOUND",
            details={"nearest": near},
        )

    def remove(self, model_id: str, delete: bool) -> bool:
        """Forget a model, and with `delete` the bytes that rbee brought; whether it was there."""
        with self._changing() as files:
            file = files.pop(model_id, None)
            if file is None:
                return False
            used = {path for other in files.values() for path in [other.path, *other.brought]}
            heirs = [other for other in files.values() if other.path == file.path]
            if heirs and file.brought:
                # The same file under another name: whoever keeps it keeps what belongs to it.
                more = [path for path in file.brought if path not in heirs[0].brought]
                kept = {"owned": True, "brought": [*heirs[0].brought, *more]}
                files[heirs[0].id] = heirs[0].model_copy(update=kept)
        if delete and file.owned and not heirs:
            discard(Path(path) for path in file.brought or [file.path] if path not in used)
        return True

    def verify(self, model_id: str, *, stop: threading.Event | None = None) -> dict[str, Any]:
        """Hash all bytes of a model; blocks for as long as that takes, or until `stop` is set.

        Returns:
            ``ok``, the ``sha256`` found, and the one ``expected`` if it is known. A model that was
            registered without one gets the one found, and is checked by its fingerprint.

        Raises:
            NotFound: it is not on this host.
            InterruptedError: `stop` was set meanwhile.
        """
        file = self.get(model_id)
        if file is None:
            raise self.missing(model_id)
        found = sha256_of(*parts(Path(file.path)), stop=stop)
        same = fingerprint(Path(file.path)) == file.fingerprint
        if file.sha256 is None and same:
            with self._changing() as files:
                if model_id in files:
                    files[model_id] = files[model_id].model_copy(update={"sha256": found})
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


def discard(paths: Iterable[Path]) -> None:
    """Remove files that rbee brought, and the folders that were theirs alone."""
    for path in paths:
        path.unlink(missing_ok=True)
        folders = list(path.parents)
        # In the hub's cache all below a repository's folder is the repository's.
        own = next((n for n, item in enumerate(folders) if item.name.startswith("models--")), 0)
        for folder in folders[: own + 1]:
            try:
                folder.rmdir()
            except OSError:
                # Others have something in there, or it is gone.
                break


def _is_whole(file: ModelFile) -> bool:
    path = Path(file.path)
    try:
        names = part_names(path.name)
        return sum(path.with_name(name).stat().st_size for name in names) == file.size
    except OSError:
        return False
