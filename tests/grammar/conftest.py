"""The public JSON-Schema-Test-Suite, as the `jsonschema` package's source archive carries it."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

VERSION = "4.25.1"
DRAFT = "draft2020-12"


@dataclass(frozen=True)
class Case:
    """One schema of the suite."""

    name: str
    schema: Any
    satisfiable: bool
    """Whether the suite knows a value that is valid."""


@pytest.fixture(scope="session")
def suite(pytestconfig: pytest.Config) -> list[Case]:
    """Every schema of the suite for the draft that is enforced; fetched once, then cached."""
    assert pytestconfig.cache is not None
    folder = Path(pytestconfig.cache.mkdir("json-schema-suite"))
    archive = folder / f"jsonschema-{VERSION}.tar.gz"
    if not archive.is_file():
        _download(folder)
    cases = []
    with tarfile.open(archive) as tar:
        for entry in sorted(tar.getmembers(), key=lambda one: one.name):
            _, found, file = entry.name.partition(f"/json/tests/{DRAFT}/")
            if not found or not file.endswith(".json"):
                continue
            handle = tar.extractfile(entry)
            assert handle is not None
            for group in json.load(handle):
                valid = any(test["valid"] for test in group["tests"])
                cases.append(Case(f"{file}: {group['description']}", group["schema"], valid))
    return cases


def _download(folder: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--no-binary", "jsonschema", "--dest", str(folder), f"jsonschema=={VERSION}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    if done.returncode != 0:
        pytest.skip(f"the suite is fetched from the package index: {done.stderr[-300:]}")
