"""``make bench [ONLY=name]``: run the benchmarks and print what docs/benchmarks.md holds.

Each file in this folder with a ``main()`` is one benchmark; it prints its own table in Markdown.
They run one after the other, each in a process of its own, so that none warms up another.
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
from pathlib import Path

_HERE = Path(__file__).parent


def main() -> int:
    """Run the named benchmarks, or all; exit 1 where one failed."""
    names = sorted(path.stem for path in _HERE.glob("[a-z]*.py"))
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(names)}")
    chosen = parser.parse_args().names or names
    unknown = sorted(set(chosen) - set(names))
    if unknown:
        parser.error(f"no benchmark called {', '.join(unknown)}; there are {', '.join(names)}")
    print(f"{platform.machine()}, {_cpu()}, Python {platform.python_version()}\n", flush=True)
    failed = []
    for name in chosen:
        print(f"## {name}\n", flush=True)
        if subprocess.run([sys.executable, "-m", f"tests.bench.{name}"]).returncode:
            failed.append(name)
        print(flush=True)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _cpu() -> str:
    import os

    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return f"{os.cpu_count()} x {line.partition(':')[2].strip()}"
    return f"{os.cpu_count()} cores"


if __name__ == "__main__":
    sys.exit(main())
