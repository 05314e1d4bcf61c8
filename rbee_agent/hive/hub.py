"""Hugging Face: which files make a model, and their place in the cache that other tools share.

The bytes are fetched by our own download, which goes on where an earlier one ended and knows the
checksum before it begins; they lie in the hub's own cache layout, so nothing is there twice.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from rbee_agent.contracts.models import Source
from rbee_agent.errors import NotFound, RbeeError, Refused, Unreachable
from rbee_agent.hive.disk import check_room
from rbee_agent.hive.download import CONNECT_TIMEOUT_S, Download
from rbee_agent.hive.fetching import Fetch, Fetched
from rbee_agent.models.parts import part_names
from rbee_agent.models.references import nearest

USUAL_QUANTS = ("Q4_K_M", "Q4_K_S", "Q4_0", "Q4_1", "Q5_K_M", "Q6_K", "Q8_0")
"""What is taken of a repository when no quantisation is named: the first that it has."""
_TRUE = ("1", "ON", "YES", "TRUE")


@dataclass(frozen=True, slots=True)
class HubFile:
    """One file of a repository."""

    name: str
    size: int | None = None
    blob: str | None = None
    """What the cache calls its bytes: for a model file their SHA-256."""

    @property
    def sha256(self) -> str | None:
        """The checksum, where the hub knows one."""
        return self.blob if self.blob is not None and len(self.blob) == 64 else None


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository's folder in the shared cache."""

    folder: Path
    revision: str

    @classmethod
    def of(cls, source: Source, env: Mapping[str, str]) -> Repository:
        """Where the cache keeps the repository of a source."""
        name = "models--" + source.location.replace("/", "--")
        return cls(cache_folder(env) / name, source.revision or "main")

    @property
    def ref(self) -> Path:
        """The file that says which commit the revision was last."""
        return self.folder / "refs" / self.revision

    def snapshot(self, commit: str | None = None) -> Path:
        """The folder of a commit's files; without one, of the commit known last."""
        if commit is None:
            commit = self.ref.read_text().strip() if self.ref.is_file() else self.revision
        return self.folder / "snapshots" / commit

    def cached(self) -> list[HubFile]:
        """The GGUF files of this revision that lie here already."""
        snapshot = self.snapshot()
        return [
            HubFile(path.relative_to(snapshot).as_posix(), path.stat().st_size)
            for path in sorted(snapshot.rglob("*.gguf"))
            if path.is_file()
        ]

    def link(self, file: HubFile, commit: str) -> list[Path]:
        """Put a blob under its name; returns what was made for it."""
        link = self.snapshot(commit) / file.name
        made = []
        if not link.exists():
            link.unlink(missing_ok=True)
            link.parent.mkdir(parents=True, exist_ok=True)
            up = Path(*[".."] * (len(Path(file.name).parts) + 1))
            link.symlink_to(up / "blobs" / str(file.blob))
            made.append(link)
        if self.revision != commit:
            if not self.ref.exists():
                made.append(self.ref)
            self.ref.parent.mkdir(parents=True, exist_ok=True)
            self.ref.write_text(commit)
        return made


def cache_folder(env: Mapping[str, str]) -> Path:
    """The folder that all tools of the hub share: HF_HUB_CACHE, else below HF_HOME."""
    named = env.get("HF_HUB_CACHE")
    return Path(named).expanduser() if named else _home(env) / "hub"


async def from_hub(source: Source, want: Fetch) -> Fetched:
    """Have a repository's model in the shared cache.

    Raises:
        RbeeError: the hub has no such thing, wants a licence accepted or a token, cannot be
            reached, or the disk is too full.
    """
    repository = Repository.of(source, want.env)
    try:
        commit, files = await asyncio.to_thread(_ask, source, want.env)
    except Unreachable:
        cached = _cached_choice(source, repository)
        if cached is None:
            raise
        return cached
    chosen = choose(files, source)
    missing = [file for file in chosen if not _blob(repository, file).exists()]
    check_room(repository.folder, sum(file.size or 0 for file in missing), keep_free=want.keep_free)
    made = await _fetch_all(source, want, repository, commit, chosen, missing)
    first = repository.snapshot(commit) / chosen[0].name
    return Fetched(first, brought=tuple(made), sha256=_only(chosen))


def choose(files: list[HubFile], source: Source) -> list[HubFile]:
    """The files that make the model that a source names: one, or all parts of a split one. Pure.

    Raises:
        NotFound: there are none; names the near ones.
    """
    models = {file.name: file for file in files if file.name.lower().endswith(".gguf")}
    whole = [name for name in models if "mmproj" not in name.lower()]
    if source.file is None:
        usual = (_matching(f"*{quant}*", whole) for quant in USUAL_QUANTS)
        found = next((names for names in usual if names), whole)
    else:
        found = _matching(source.file, whole if "*" in source.file else list(models))
    if not found:
        wanted = (source.file or "").strip("*")
        offered = [name for name in whole if part_names(name)[0] == name]
        near = nearest(wanted, offered) or sorted(offered)
        there = f"; there are {', '.join(near[:8])}" if near else "; it has no GGUF file at all"
        raise NotFound(
            f"{source.location} has no {wanted or 'GGUF file'}{there}", code="MODEL_NOT_FOUND"
        )
    # Shorter names first: Q4_K is meant before Q4_K_M where both are there.
    first = min(found, key=lambda name: (len(name), name))
    folder, _, base = first.rpartition("/")
    names = [f"{folder}/{name}" if folder else name for name in part_names(base)]
    missing = [name for name in names if name not in models]
    if missing:
        raise NotFound(
            f"{source.location} lacks {missing[0]}, a part of {first}", code="MODEL_NOT_FOUND"
        )
    return [models[name] for name in names]


def _matching(pattern: str, names: list[str]) -> list[str]:
    return [name for name in names if fnmatch(name.lower(), pattern.lower())]


async def _fetch_all(
    source: Source,
    want: Fetch,
    repository: Repository,
    commit: str,
    chosen: list[HubFile],
    missing: list[HubFile],
) -> list[Path]:
    """Download what is missing, link it all; returns every file that was made."""
    from huggingface_hub import hf_hub_url

    token = _token(want.env)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    total = sum(file.size or 0 for file in missing) or None
    before = 0
    made = []
    for file in missing:
        blob = _blob(repository, file)
        done_before = before

        def tell(done: int, of: int | None, base: int = done_before) -> None:
            want.tell("download", base + done, total or of)

        url = hf_hub_url(
            source.location, file.name, revision=commit, endpoint=want.env.get("HF_ENDPOINT")
        )
        part = blob.with_name(f"{blob.name}.rbee.incomplete")
        download = Download(
            url, part, want.keep_free, tell, headers, size=file.size, sha256=file.sha256
        )
        try:
            await download.run()
        except Refused as error:
            raise _explained(error, source, token) from error
        part.replace(blob)
        made.append(blob)
        before += file.size or 0
    fresh = {_blob(repository, file) for file in missing}
    try:
        for file in chosen:
            links = repository.link(file, commit)
            made += links if _blob(repository, file) in fresh else []
    except OSError as error:
        raise RbeeError(
            f"the cache {repository.folder} cannot be written: {error.strerror}", code="CONFLICT"
        ) from error
    return made


def _ask(source: Source, env: Mapping[str, str]) -> tuple[str, list[HubFile]]:
    """Thread: the commit of a repository's revision, and its files."""
    if env.get("HF_HUB_OFFLINE", "").upper() in _TRUE:
        raise Unreachable(f"{source.location}: HF_HUB_OFFLINE is set, and it is not in the cache")
    from huggingface_hub import HfApi
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    repo, token = source.location, _token(env)
    try:
        info = HfApi(endpoint=env.get("HF_ENDPOINT"), token=token or False).model_info(
            repo, revision=source.revision, files_metadata=True, timeout=CONNECT_TIMEOUT_S * 3
        )
    except GatedRepoError as error:
        raise _gated(repo, token) from error
    except RepositoryNotFoundError as error:
        raise NotFound(
            f"the hub has no repository {repo}, or it is private: then set HF_TOKEN; look for it "
            f"at {_endpoint(env)}/models?search={repo.rpartition('/')[2]}",
            code="MODEL_NOT_FOUND",
        ) from error
    except RevisionNotFoundError as error:
        raise NotFound(
            f"{repo} has no revision {source.revision}", code="MODEL_NOT_FOUND"
        ) from error
    except HFValidationError as error:
        raise Refused(f"{repo} is no name of a repository: {error}") from error
    except Exception as error:
        # Its HTTP library, which changes with its version, raises errors of its own.
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        said = str(error).strip().splitlines()
        raise Unreachable(f"{repo}: {said[0] if said else type(error).__name__}") from error
    return str(info.sha), [_file(item) for item in info.siblings or ()]


def _file(sibling: Any) -> HubFile:
    lfs = getattr(sibling, "lfs", None)
    blob = lfs.sha256 if lfs is not None else sibling.blob_id
    return HubFile(sibling.rfilename, sibling.size, blob)


def _cached_choice(source: Source, repository: Repository) -> Fetched | None:
    """What the cache holds of a model whose hub cannot be reached; None: not all of it."""
    try:
        chosen = choose(repository.cached(), source)
    except NotFound:
        return None
    return Fetched(repository.snapshot() / chosen[0].name)


def _blob(repository: Repository, file: HubFile) -> Path:
    return repository.folder / "blobs" / (file.blob or file.name.replace("/", "--"))


def _only(chosen: list[HubFile]) -> str | None:
    return chosen[0].sha256 if len(chosen) == 1 else None


def _explained(error: Refused, source: Source, token: str | None) -> RbeeError:
    """A refusal of a file whose repository is known: it is the licence."""
    return _gated(source.location, token) if error.code == "FORBIDDEN" else error


def _gated(repo: str, token: str | None) -> Refused:
    how = (
        "the account of HF_TOKEN has not accepted its licence yet"
        if token
        else "accept its licence on the hub and set HF_TOKEN"
    )
    return Refused(f"{repo} is gated: {how} (on the repository's page)", code="FORBIDDEN")


def _token(env: Mapping[str, str]) -> str | None:
    """The hub's token: from the environment, else where its own login keeps it."""
    if env.get("HF_TOKEN"):
        return env["HF_TOKEN"].strip()
    named = env.get("HF_TOKEN_PATH")
    path = Path(named).expanduser() if named else _home(env) / "token"
    try:
        return path.read_text().strip() or None
    except OSError:
        return None


def _home(env: Mapping[str, str]) -> Path:
    if env.get("HF_HOME"):
        return Path(env["HF_HOME"]).expanduser()
    home = Path(env["HOME"]) if env.get("HOME") else Path.home()
    return Path(env.get("XDG_CACHE_HOME") or home / ".cache") / "huggingface"


def _endpoint(env: Mapping[str, str]) -> str:
    return env.get("HF_ENDPOINT") or "https://huggingface.co"
