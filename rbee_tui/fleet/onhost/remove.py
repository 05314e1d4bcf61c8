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
    made = (daemon.read(places.made_file()) or {}).get("made", [])
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
            for folder in _own_folders(path):
                _remove_empty(folder)
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
    for folder in places.around():
        if str(folder) in made:
            _remove_empty(folder)
    return {"kept_models": kept}


def owned_models() -> list[Path]:
    """The files that rbee itself downloaded, as the hive's list of models names them."""
    models = (daemon.read(places.data() / "models.json") or {}).get("models", {})
    return [
        Path(str(path))
        for model in (models.values() if isinstance(models, dict) else ())
        if isinstance(model, dict) and model.get("owned") and model.get("path")
        for path in model.get("brought") or [model["path"]]
    ]


def _own_folders(path: Path) -> list[Path]:
    """The folders that a model's file was put into; in the hub's cache up to its repository's."""
    folders = list(path.parents)
    own = next((n for n, item in enumerate(folders) if item.name.startswith("models--")), 0)
    return folders[: own + 1]


def _remove_but(folder: Path, kept: Path) -> None:
    for child in folder.iterdir():
        if child == kept:
            continue
        if child.is_dir() and not child.is_symlink():
            shutil.rmtree(child)
        else:
            child.unlink()


def _remove_empty(folder: Path) -> None:
    """Remove a folder, unless somebody else has put something there since."""
    try:
        folder.rmdir()
    except OSError:
        return


def main(arguments: dict[str, Any]) -> int:
    """Remove all."""
    began = time.monotonic()
    return places.perform(lambda: {**remove(arguments), "seconds": time.monotonic() - began})
