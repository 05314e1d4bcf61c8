"""Ports that tests choose themselves."""

from __future__ import annotations

import os


def own_port(port: int) -> int:
    """`port`, moved by 1,000 for each process of tests that runs at the same time."""
    return port + 1000 * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
