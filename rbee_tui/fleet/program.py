"""The modules of `onhost` as one program that a bare host's Python reads from its stdin."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

_MODULES = (
    ("rbee_tui.fleet.preflight", "preflight.py"),
    ("rbee_tui.fleet.bootstrap", "bootstrap.py"),
    ("rbee_tui.fleet.onhost.places", "onhost/places.py"),
    ("rbee_tui.fleet.onhost.daemon", "onhost/daemon.py"),
    ("rbee_tui.fleet.onhost.look", "onhost/look.py"),
    ("rbee_tui.fleet.onhost.install", "onhost/install.py"),
    ("rbee_tui.fleet.onhost.source", "onhost/source.py"),
    ("rbee_tui.fleet.onhost.remove", "onhost/remove.py"),
    ("rbee_tui.fleet.onhost.keys", "onhost/keys.py"),
)
"""In the order in which they import each other."""

_LOADER = """
import sys, types
def _module(name, source):
    module = types.ModuleType(name)
    sys.modules[name] = module
    parent, _, last = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], last, module)
    exec(compile(source, "<" + name + ">", "exec"), module.__dict__)
for _name in ("rbee_tui", "rbee_tui.fleet", "rbee_tui.fleet.onhost"):
    _module(_name, "")
"""


def program(module: str, arguments: dict[str, Any]) -> bytes:
    """A program that runs ``onhost.MODULE.main(arguments)``.

    The arguments travel in it rather than on the command line, which others on the host can read.
    """
    fleet = resources.files("rbee_tui.fleet")
    parts = [_LOADER]
    for name, path in _MODULES:
        source = fleet.joinpath(path).read_text(encoding="utf-8")
        parts.append(f"_module({name!r}, {source!r})\n")
    parts.append(
        f"import json\nsys.exit(sys.modules['rbee_tui.fleet.onhost.{module}']"
        f".main(json.loads({json.dumps(arguments)!r})))\n"
    )
    return "".join(parts).encode()
