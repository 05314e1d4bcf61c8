"""The control center on a terminal: 64 streams of 80 tokens/s, 200 hosts, 1,600 workers.

``rbee`` runs as its own process on a pseudo-terminal whose bytes are read as a terminal would,
on a queen on paper in a third process. Reported: CPU of a core, bytes drawn, key to screen,
memory, and the time from the command to the first screen that shows the fleet.

``python -m tests.bench.tui --minutes 30`` watches the memory for longer.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from rbee_agent.testing.large_fleet import MARK_MS, marked
from tests.e2e.terminal import Terminal

GREEK = "αβγδεζηθικλμνξοπρστυφχψω"
"""Letters that nothing else on the screen has: their first sight is the echo of a key."""
STARTS = 5
HOSTS = 200
LOOK_MINUTES = 3


@dataclass
class Use:
    """What the app took over a while."""

    cpu: float
    """Of one core, 0 to 1."""
    bytes_per_s: float
    rss_start: int
    rss_end: int


@contextlib.contextmanager
def paper_queen(streams: int, *, change_every_s: float = 0.0) -> Iterator[str]:
    """A queen with a large fleet in a process of its own; gives her URL."""
    command = [sys.executable, "-m", "rbee_agent.testing.large_fleet", "--hosts", str(HOSTS)]
    command += ["--streams", str(streams), "--change-every", str(change_every_s)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait(timeout=10)


@contextlib.contextmanager
def center(url: str, size: tuple[int, int]) -> Iterator[Terminal]:
    """The control center on that queen, in a home of its own."""
    with tempfile.TemporaryDirectory() as home:
        env = {name: value for name, value in os.environ.items() if not name.startswith("RBEE_")}
        env |= {"HOME": home, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
        terminal = Terminal(["--queen", url], env=env, cwd=Path(home), size=size)
        try:
            yield terminal
        finally:
            terminal.kill()


def used(terminal: Terminal, seconds: float) -> Use:
    """What it takes for so many seconds when nobody presses a key."""
    process = psutil.Process(terminal.process.pid)
    before, drawn, rss = process.cpu_times(), terminal.count, process.memory_info().rss
    began = time.perf_counter()
    time.sleep(seconds)
    took = time.perf_counter() - began
    after = process.cpu_times()
    cpu = (after.user + after.system - before.user - before.system) / took
    return Use(cpu, (terminal.count - drawn) / took, rss, process.memory_info().rss)


def echoes(terminal: Terminal, rounds: int) -> list[float]:
    """Seconds from a letter typed into the prompt to its sight."""
    found = []
    terminal.time_to("1", "HOST")
    terminal.time_to("p", "type a prompt")
    for _ in range(rounds):
        for letter in GREEK:
            found.append(terminal.time_to(letter, letter))
            time.sleep(0.043)  # no multiple of the app's own beats
        terminal.press("\x15")  # clears the field
        time.sleep(0.2)
    terminal.time_to("\x1b", "p: send a prompt")  # a key right behind it would be Alt and that key
    return found


SWITCHES = (("2", "DEVICE"), ("3", "SLOTS"), ("4", "T/S"), ("5", "TOKENS"), ("6", "QUANT"))
"""A screen's key and a word of its header that neither it nor the one before it draws elsewhere,
and that is there at 120 columns: with the details beside them, tables leave columns out."""


def switches(terminal: Terminal, rounds: int) -> tuple[list[float], list[float]]:
    """Seconds from the key of a screen to the header of its table: first visits, and later ones."""
    firsts, found = [], []
    for at in range(rounds + 1):
        for key, word in SWITCHES:
            took = terminal.time_to(key, word)
            (found if at else firsts).append(took)
            time.sleep(0.31)
    return firsts, found


def changes(terminal: Terminal, rounds: int) -> list[float]:
    """Seconds from a change of a worker's state at the queen to its sight on the workers screen."""
    found: list[float] = []
    terminal.time_to("3", "SLOTS")
    last = terminal.when(lambda: marked(terminal.drawn))

    def next_one() -> float | None:
        """A change that was not seen yet: its row is also drawn again for other reasons."""
        at = marked(terminal.drawn)
        return None if at == last else at

    for _ in range(rounds):
        at = terminal.when(next_one)
        seen = time.time() % (MARK_MS / 1000)
        found.append(math.inf if at is None else seen - at)
        last = at
    return found


def starts(url: str, size: tuple[int, int]) -> list[float]:
    """Seconds from the command to the first screen that shows the whole fleet."""
    found = []
    for _ in range(STARTS):
        began = time.perf_counter()
        with center(url, size) as terminal:
            terminal.until(f"{HOSTS} hosts")
            found.append(time.perf_counter() - began)
    return found


def memory(minutes: float, size: tuple[int, int]) -> None:
    """Print the memory every three minutes while 64 streams run and workers change."""
    with paper_queen(64, change_every_s=0.77) as url, center(url, size) as terminal:
        terminal.until("64 running")
        print("| minutes | memory |\n|---|---|")
        for minute in range(0, math.ceil(minutes), LOOK_MINUTES):
            rss = psutil.Process(terminal.process.pid).memory_info().rss
            print(f"| {minute} | {rss / 2**20:.1f} MiB |", flush=True)
            time.sleep(LOOK_MINUTES * 60)
        rss = psutil.Process(terminal.process.pid).memory_info().rss
        print(f"| {minute + LOOK_MINUTES} | {rss / 2**20:.1f} MiB |")


def millis(values: list[float]) -> str:
    """Median, 95th of a hundred and worst of some times, and how many never came."""
    ordered = sorted(value for value in values if value < math.inf)
    lost = len(values) - len(ordered)
    if not ordered:
        return "none was seen"
    p95 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))]
    told = " / ".join(f"{x * 1000:.0f}" for x in (statistics.median(ordered), p95, ordered[-1]))
    return f"{told}, {lost} not seen" if lost else told


def say(name: str, use: Use) -> None:
    """Print a use of the machine as a row."""
    rss = f"{use.rss_start / 2**20:.0f} → {use.rss_end / 2**20:.0f} MiB"
    drawn = f"{use.bytes_per_s / 1000:.0f} kB/s"
    print(f"| {name} | {use.cpu:.1%} | {drawn} | {rss} |", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.tui", description=__doc__)
    parser.add_argument("--minutes", type=float, help="only look at the memory, for so long")
    parser.add_argument("--size", default="120x40")
    given = parser.parse_args()
    columns, rows = map(int, given.size.split("x"))
    size = (columns, rows)

    print(f"{HOSTS} hosts, {HOSTS * 8} workers, {given.size}, bytes written to a terminal\n")
    if given.minutes:
        memory(given.minutes, size)
        return
    print("| | CPU of a core | drawn | memory |\n|---|---|---|---|")
    with paper_queen(0) as url:
        begun = starts(url, size)
        with center(url, size) as terminal:
            terminal.until(f"{HOSTS} hosts")
            time.sleep(3)
            say("at rest, telemetry of all, overview", used(terminal, 20))
            for key, name in (("2", "hosts"), ("3", "workers")):
                terminal.press(key)
                time.sleep(2)
                say(f"at rest, telemetry of all, {name}", used(terminal, 10))
    with paper_queen(64, change_every_s=0.77) as url, center(url, size) as terminal:
        terminal.until("64 running")
        time.sleep(5)
        say("64 streams of 80 tokens/s, overview", used(terminal, 30))
        terminal.press("4")
        time.sleep(2)
        say("64 streams of 80 tokens/s, streams, text hidden", used(terminal, 10))
        terminal.press("t")
        time.sleep(2)
        say("64 streams of 80 tokens/s, streams, text shown", used(terminal, 15))
        echo, (first, switch) = echoes(terminal, 8), switches(terminal, 8)
        change = changes(terminal, 40)

    print("\n| | median / p95 / worst |\n|---|---|")
    print(f"| a letter typed, ms ({len(echo)}) | {millis(echo)} |")
    print(f"| another screen, ms ({len(switch)}) | {millis(switch)} |")
    print(f"| another screen, its first visit, ms ({len(first)}) | {millis(first)} |")
    print(f"| a worker's change of state at the queen, ms ({len(change)}) | {millis(change)} |")
    print(f"| start to the fleet on the screen, ms ({STARTS}) | {millis(begun)} |")


if __name__ == "__main__":
    main()
