"""Take rbee off a host: processes, folders, units; other people's models stay."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

from rbee_tui.fleet.onhost import daemon, places

_END_S = 10.0


def remove(arguments: dict[str, Any]) -> dict[str, Any]:
    """End everything and remove every folder; downloaded models go with ``purge_models``."""
    for agent in daemon.AGENTS:
        places.step(f"stopping the {agent}")
        daemon.stop(agent, _END_S)
    for pid in daemon.own_processes():
        daemon.end(pid, _END_S)
    places.step("removing folders")
    owned = owned_models()
    kept = []
    models = places.cache() / "models"
    if arguments.get("purge_models"):
        for path in owned:
            path.unlink(missing_ok=True)
            _prune_empty(path.parent)
    else:
        kept = [str(path) for path in owned if path.exists()]
    for folder in places.everything():
        if folder == places.cache() and kept and models.is_dir():
            _remove_but(folder, models)
            continue
        if folder.is_symlink():
            # The operator put it onto another disk: what lies there is ours all the same.
            shutil.rmtree(folder.resolve(), ignore_errors=True)
            folder.unlink()
        elif folder.exists():
            shutil.rmtree(folder)
    for folder in [*places.everything(), daemon.unit_path("hive")]:
        _prune_empty(folder.parent)
    return {"kept_models": kept}


def owned_models() -> list[Path]:
    """The files that rbee itself downloaded, as the hive's manifest names them."""
    found = []
    for name in ("models.json", "manifest.json"):
        manifest = daemon.read(places.state() / name) or daemon.read(places.data() / name)
        for model in (manifest or {}).get("models", []):
            if isinstance(model, dict) and model.get("owned") and model.get("path"):
                found.append(Path(str(model["path"])))
    return found


def _remove_but(folder: Path, kept: Path) -> None:
    for child in folder.iterdir():
        if child == kept:
            continue
        if child.is_dir() and not child.is_symlink():
            shutil.rmtree(child)
        else:
            child.unlink()


def _prune_empty(folder: Path) -> None:
    """Remove a folder and its parents below the home while they are empty and young."""
    while folder != places.home() and places.home() in folder.parents:
        try:
            folder.rmdir()
        except OSError:
            return
        folder = folder.parent


def main(arguments: dict[str, Any]) -> int:
    """Remove all."""
    began = time.monotonic()
    return places.perform(lambda: {**remove(arguments), "seconds": time.monotonic() - began})
