"""What ``rbee ps`` may import, and how long it may take as a whole process.

pydantic is not in the list because typer itself imports it; our contract types are.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rbee_agent.testing.scripted_queen import ScriptedQueen

FORBIDDEN = (
    *("textual", "rich", "pygments", "markdown_it"),
    *("aiohttp", "asyncssh", "cryptography", "uvloop"),
    *("rbee_agent.contracts.tasks", "structlog", "prometheus_client", "psutil", "sqlite3"),
    *("huggingface_hub", "gguf", "numpy", "llama_cpp", "starlark", "tomli_w"),
)
VERSION_BUDGET_S = 0.25
PS_BUDGET_S = 0.4
TRIES = 5

PROBE = """
import sys
from rbee_tui.cli.app import main
code = main(sys.argv[1:])
heavy = [name for name in {forbidden!r} if name in sys.modules]
sys.exit(f"exit {{code}}" if code else "imported: " + " ".join(heavy) if heavy else 0)
"""


@pytest.mark.parametrize("args", [("ps",), ("ps", "--json"), ("status", "--json")])
async def test_quick_commands_import_nothing_heavy(
    scripted: ScriptedQueen, args: tuple[str, ...]
) -> None:
    """Reading commands run without a screen, a server, validation or SSH."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PROBE.format(forbidden=FORBIDDEN), *args),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "RBEE_QUEEN_URL": scripted.url},
    )
    _, err = await asyncio.wait_for(process.communicate(), 30)

    assert (process.returncode, err.decode()) == (0, "")


def test_the_version_imports_next_to_nothing() -> None:
    """`--version` answers before even the command line is built."""
    probe = (
        "import sys; sys.argv = ['rbee', '--version']\n"
        "from rbee_tui.__main__ import main\n"
        "main(); sys.exit(' '.join(m for m in ('typer', 'httpx', 'asyncio') if m in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=False
    )

    assert done.stderr.strip() == ""


def test_the_version_is_quick() -> None:
    """`rbee --version` as a whole process stays within its budget (best of five)."""
    script = Path(sys.executable).with_name("rbee")
    assert min(_seconds([str(script), "--version"], {}) for _ in range(TRIES)) <= VERSION_BUDGET_S


async def test_ps_is_quick(scripted: ScriptedQueen) -> None:
    """`rbee ps --json` as a whole process stays within its budget (best of five)."""
    script = Path(sys.executable).with_name("rbee")
    env = {"RBEE_QUEEN_URL": scripted.url}
    taken = [
        await asyncio.to_thread(_seconds, [str(script), "ps", "--json"], env) for _ in range(TRIES)
    ]

    assert min(taken) <= PS_BUDGET_S


def _seconds(args: list[str], env: dict[str, str]) -> float:
    """Processor time of the whole process: its wall time on a machine that does nothing else."""
    process = subprocess.Popen(
        args, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, **env}
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_utime + usage.ru_stime
