"""Installing rbee on hosts: what is copied, what is compiled where, what is reused."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rbee_agent.errors import RbeeError, Refused
from rbee_tui.fleet import package, wheels
from rbee_tui.fleet.remote import INSTALL_S, LOOK_S, Remote
from rbee_tui.fleet.wheels import Kind, Wheels

INCOMING = ".local/share/rbee/incoming"
_MUST = ("python", "venv", "disk", "exec", "memory")


@dataclass(frozen=True, slots=True)
class Package:
    """This rbee's wheel, and the name of the version that it makes on a host."""

    wheel: Path
    version: str

    @classmethod
    async def own(cls, folder: Path) -> Package:
        """Build it.

        Raises:
            RbeeError: that failed; says why.
        """
        wheel = await asyncio.to_thread(package.own_wheel, folder)
        version = wheel.name.split("-")[1]
        mark = await asyncio.to_thread(package.digest, wheel)
        return cls(wheel, f"{version}-{mark}")


async def install(
    remote: Remote,
    own: Package,
    store: Wheels,
    *,
    offline: bool = False,
    index: str | None = None,
    engine: bool = True,
) -> dict[str, Any]:
    """Install this rbee on a host; what is there already is left as it is.

    Args:
        remote: the host.
        own: what to install.
        store: the keeper's wheels; a wheel that the host compiled is fetched into it.
        offline: the host reaches no package index: copy everything.
        index: a package index for the host, in place of its own configuration's.
        engine: with llama.cpp; a queen needs none.

    Raises:
        Refused: the host lacks something; each failed check with its remedy.
        RbeeError: a step failed; what was installed before is still there.
    """
    remote.tell("looking")
    seen = await remote.look()
    installed = seen.get("installed") or {}
    # A queen's installation lacks the engine that a hive needs, so that one goes beside it.
    own = own if engine else Package(own.wheel, own.version + "-queen")
    there = str(installed.get("name"))
    if there == own.version or (not engine and there == own.version.removesuffix("-queen")):
        remote.tell("is installed already", lasting=True)
        return {"version": own.version, "already": True, "switched": False, "built": None}
    if own.version in seen["versions"]:
        remote.tell("switching to it: it lies there whole")
        return await remote.call("install", {"version": own.version}, timeout=LOOK_S)
    backend = remote.host.backend or str(seen["backend"]["name"])
    kind = Kind.of(seen["facts"], backend)
    check(remote, seen, compiles=False)
    if not engine:
        return await _transfer(remote, own, store, kind, offline=offline, index=index, engine=False)
    # The first host of a kind compiles; those behind it wait here and find its wheel.
    async with store.building(kind):
        if store.llama(kind) is None:
            if not offline:
                check(remote, seen, compiles=True)
            return await _transfer(remote, own, store, kind, offline=offline, index=index)
    return await _transfer(remote, own, store, kind, offline=offline, index=index)


def check(remote: Remote, seen: dict[str, Any], *, compiles: bool) -> None:
    """Refuse a host that lacks something.

    Raises:
        Refused: names each failed check, what was found, and its remedy.
    """
    must = (*_MUST, "compiler") if compiles else _MUST
    bad = [each for each in seen["checks"] if not each["ok"] and each["name"] in must]
    if bad:
        lines = "\n".join(f"  {b['name']}: {b['found']}\n    -> {b['remedy']}" for b in bad)
        raise Refused(f"{remote.host.name} cannot take rbee yet:\n{lines}", code="CONFLICT")


async def from_source(remote: Remote, store: Wheels, *, index: str | None = None) -> dict[str, Any]:
    """Install what the host's own checkout holds.

    Raises:
        RbeeError: there is no checkout, or a step failed.
    """
    seen = await remote.look()
    check(remote, seen, compiles=False)
    kind = Kind.of(seen["facts"], remote.host.backend or str(seen["backend"]["name"]))
    await remote.call("install", {"begin": True}, timeout=LOOK_S)
    made = await remote.call("source", {"do": "wheel", "index": index}, timeout=INSTALL_S)
    version = f"git-{made['commit'][:12]}"
    async with store.building(kind):
        llama = store.llama(kind)
        if llama is None:
            check(remote, seen, compiles=True)
        else:
            await _copy(remote, llama)
        return await _finish(
            remote, store, kind, version, str(made["wheel"]), llama, offline=False, index=index
        )


async def _transfer(
    remote: Remote,
    own: Package,
    store: Wheels,
    kind: Kind,
    *,
    offline: bool,
    index: str | None,
    engine: bool = True,
) -> dict[str, Any]:
    llama = store.llama(kind) if engine else None
    if offline and engine and llama is None:
        raise Refused(
            f"{remote.host.name}: no llama.cpp wheel for {kind} is in {store.llama_folder(kind)}, "
            f"and one cannot be compiled offline: install one host of this kind without --offline "
            f"first, or put a wheel into that folder",
            code="CONFLICT",
        )
    files = [own.wheel, *([llama] if llama else [])]
    if offline:
        remote.tell("gathering packages")
        files += await store.dependencies(kind, own.wheel)
    await remote.call("install", {"begin": True}, timeout=LOOK_S)
    for file in files:
        await _copy(remote, file)
    return await _finish(
        remote,
        store,
        kind,
        own.version,
        own.wheel.name,
        llama,
        offline=offline,
        index=index,
        engine=engine,
    )


async def _copy(remote: Remote, file: Path) -> None:
    def tell(sent: int, size: int) -> None:
        remote.tell(f"copying {file.name}", f"{sent * 100 // max(1, size)} %")

    remote.tell(f"copying {file.name}")
    await remote.shell.put(file, f"{INCOMING}/{file.name}", on_bytes=tell)


async def _finish(
    remote: Remote,
    store: Wheels,
    kind: Kind,
    version: str,
    wheel: str,
    llama: Path | None,
    *,
    offline: bool,
    index: str | None,
    engine: bool = True,
) -> dict[str, Any]:
    """Install from what was copied, keep what was compiled, put the copies away."""
    try:
        result = await remote.call(
            "install",
            {
                "version": version,
                "wheel": wheel,
                "llama": llama.name if llama else None,
                "llama_requirement": wheels.llama_requirement(),
                "cmake": wheels.CMAKE.get(kind.backend, ""),
                "backend": kind.backend,
                "constraints": wheels.constraints_text(),
                "offline": offline,
                "index": index,
                "engine": engine,
            },
            timeout=INSTALL_S,
        )
        if result.get("built"):
            remote.tell("fetching the compiled wheel for other hosts of its kind")
            name = Path(str(result["built"])).name
            await remote.shell.get(f"{INCOMING}/{name}", store.llama_folder(kind) / name)
    finally:
        await _clear(remote)
    return result


async def _clear(remote: Remote) -> None:
    """Put the copied wheels away; an error here must not hide the one before it."""
    try:
        await remote.call("install", {"clear": True}, timeout=LOOK_S)
    except RbeeError as error:
        remote.tell(f"copied wheels could not be removed: {error.message}", lasting=True)
