"""Where rbee lies on a host, and how what happens there is told back."""

from __future__ import annotations

import errno
import json
import os
import select
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

CURRENT = "current"
WHOLE = "rbee-installed.json"
"""Written last into a version's folder: without it the folder is half made."""


class Failed(Exception):
    """A step did not work; the message says what was tried, came back, and is to be done."""

    def __init__(self, message: str, code: str = "INTERNAL") -> None:
        super().__init__(message)
        self.message = message
        self.code = code


def home() -> Path:
    """The user's home directory."""
    return Path.home()


def _xdg(name: str, fallback: str) -> Path:
    value = os.environ.get(name, "")
    return (Path(value) if value.startswith("/") else home() / fallback) / "rbee"


def data() -> Path:
    """Versions, ``current``, wheels."""
    return _xdg("XDG_DATA_HOME", ".local/share")


def state() -> Path:
    """Records, tokens, logs, as the agents keep them on Linux."""
    return _xdg("XDG_STATE_HOME", ".local/state")


def config() -> Path:
    """``config.toml`` of this host."""
    return _xdg("XDG_CONFIG_HOME", ".config")


def cache() -> Path:
    """Models that no other tool's cache holds."""
    return _xdg("XDG_CACHE_HOME", ".cache")


def incoming() -> Path:
    """Where the keeper puts wheels before an installation."""
    return data() / "incoming"


def current() -> Path:
    """The link to the version that is used."""
    return data() / CURRENT


def everything() -> list[Path]:
    """Every folder that rbee may have made for this user."""
    found = [data(), state(), config(), cache()]
    found += [Path(f"/run/user/{os.getuid()}/rbee")]
    if sys.platform == "darwin":
        library = home() / "Library"
        found += [library / part / "rbee" for part in ("Application Support", "Caches", "Logs")]
    return found


def made_file() -> Path:
    """Which folders around ours did not exist before us."""
    return data() / "made.json"


def around() -> list[Path]:
    """The folders between the home and ours, deepest first."""
    found = {parent for folder in everything() for parent in folder.parents}
    found.add(config().parent / "systemd" / "user")
    found.add(config().parent / "systemd")
    mine = [folder for folder in found if home() in folder.parents]
    return sorted(mine, key=lambda folder: len(folder.parts), reverse=True)


def begin() -> dict[str, Any]:
    """Note what is there before anything is put there, so that removing leaves just that."""
    if not made_file().exists():
        missing = [str(folder) for folder in around() if not folder.exists()]
        data().mkdir(mode=0o700, parents=True, exist_ok=True)
        made_file().write_text(json.dumps({"made": missing}))
    return {}


def end_with_the_keeper() -> None:
    """From now on a keeper who is gone ends this program, and every process that it started."""
    if os.getpgrp() != os.getpid():
        os.setsid()
    threading.Thread(target=_wait_for_the_end, daemon=True).start()


def _wait_for_the_end() -> None:
    waiting = select.poll()
    # No events of interest: that the other end of the pipe was closed is told all the same.
    waiting.register(sys.stdout.fileno(), 0)
    waiting.poll()
    os.killpg(0, signal.SIGTERM)


def step(text: str, detail: str = "") -> None:
    """Tell the keeper what is being done, and how far it is."""
    _say({"step": text, "detail": detail})


def perform(work: Callable[[], Any]) -> int:
    """Run one command and tell how it ended; the exit code is 0 or 1."""
    try:
        result = work()
    except Failed as error:
        _say({"failed": error.message, "code": error.code})
        return 1
    except OSError as error:
        _say({"failed": _os_sentence(error), "code": "INTERNAL"})
        return 1
    _say({"result": result})
    return 0


def _os_sentence(error: OSError) -> str:
    where = error.filename or data()
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk is full at {where}: free some space there and run it again"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{where} may not be written ({error.strerror}): look who owns it with `ls -ld`"
    return f"{where}: {error.strerror or error}"


def _say(value: Any) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()
