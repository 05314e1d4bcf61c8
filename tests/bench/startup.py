"""How long whole commands take: ``rbee --version`` and ``rbee ps --json`` beside a bare Python."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time

RUNS = 11
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "rbee --version": [sys.executable, "-m", "rbee_tui", "--version"],
    "rbee ps --json (no queen)": [sys.executable, "-m", "rbee_tui", "ps", "--json"],
}


def main() -> None:
    """Interleave the commands and print each one's least, median and greatest seconds."""
    env = {**os.environ, "RBEE_QUEEN_URL": os.environ.get("RBEE_QUEEN_URL", "http://127.0.0.1:9")}
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for run in range(RUNS + 1):
        for name, command in COMMANDS.items():
            began = time.perf_counter()
            subprocess.run(command, env=env, capture_output=True, check=False)
            if run:  # the first fills the file cache
                times[name].append(time.perf_counter() - began)
    print("| command | min s | median s | max s |\n|---|---|---|---|")
    for name, took in times.items():
        print(f"| `{name}` | {min(took):.3f} | {statistics.median(took):.3f} | {max(took):.3f} |")


if __name__ == "__main__":
    main()
