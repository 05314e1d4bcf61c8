"""The commands as processes: tables, JSON, exit codes, help."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from rbee_agent.testing.scripted_queen import ScriptedQueen
from rbee_tui.cli.app import COMMANDS, command

Rbee = Callable[..., Awaitable[Any]]

WORKER = {
    "id": "worker-1",
    "model": "smollm2-135m",
    "node_id": "node-1",
    "state": "ready",
    "device": "cpu",
    "slots": 4,
    "slots_busy": 1,
    "tokens_per_s": 31.44,
    "memory_bytes": 512 * 1024**2,
}
NODE = {
    "id": "node-1",
    "hostname": "pi4",
    "state": "online",
    "models": ["smollm2-135m"],
    "devices": [
        {
            "id": "cpu",
            "backend": "cpu",
            "name": "Cortex-A72",
            "memory_total": 8 * 1024**3,
            "memory_used": 1024**3,
            "memory_free": 7 * 1024**3,
        }
    ],
}


@pytest.fixture
def fleet(scripted: ScriptedQueen) -> ScriptedQueen:
    """A queen with one host and one worker."""
    scripted.workers = [WORKER]
    scripted.nodes = [NODE]
    scripted.models = [{"id": "smollm2-135m", "state": "Active", "size": 98_000_000}]
    return scripted


async def test_ps_prints_a_plain_table(fleet: ScriptedQueen, rbee: Rbee) -> None:
    """Columns are aligned, without colour, spinner or box."""
    done = await rbee("ps")

    head, row = done.out.splitlines()
    assert head.split() == ["ID", "STATE", "MODEL", "NODE", "DEVICE", "SLOTS", "TOK/S", "MEMORY"]
    assert row.split() == [
        *("worker-1", "ready", "smollm2-135m", "node-1", "cpu", "1/4", "31.4", "512M")
    ]
    assert head.index("STATE") == row.index("ready")
    assert "\x1b" not in done.out + done.err


async def test_ps_json_is_one_stable_document(fleet: ScriptedQueen, rbee: Rbee) -> None:
    """`--json` is what the queen knows, under its noun."""
    done = await rbee("ps", "--json")

    assert done.document() == {"workers": [WORKER]}
    assert done.err == ""


@pytest.mark.parametrize(
    ("args", "keys"),
    [
        (("status",), {"queen", "nodes", "workers", "tasks"}),
        (("top",), {"queen", "nodes", "workers", "tasks"}),
        (("hive", "ls"), {"nodes"}),
        (("model", "ls"), {"models"}),
        (("task", "ls"), {"tasks"}),
        (("worker", "ls"), {"workers"}),
        (("version",), {"rbee", "protocol", "python", "queen"}),
        (("queen", "status"), {"running", "url", "pid", "version", "health"}),
        (("config", "show"), {"file", "values"}),
        (("env",), {"OPENAI_BASE_URL", "OPENAI_API_KEY", "OLLAMA_HOST", *()}),
    ],
)
async def test_every_reading_command_has_json(
    fleet: ScriptedQueen, rbee: Rbee, args: tuple[str, ...], keys: set[str]
) -> None:
    """One document with its documented keys on stdout, nothing on stderr, exit 0."""
    done = await rbee(*args, "--json")

    assert (done.code, done.err) == (0, "")
    assert keys <= set(done.document())


async def test_without_terminal_rbee_alone_prints_the_status(
    fleet: ScriptedQueen, rbee: Rbee
) -> None:
    """No command and no terminal: the status, as `rbee --no-tui`."""
    alone, no_tui = await rbee(), await rbee("--no-tui")

    assert alone.code == 0
    assert "pi4" in alone.out
    assert alone.out == no_tui.out


async def test_escape_sequences_of_others_never_reach_the_output(
    scripted: ScriptedQueen, rbee: Rbee
) -> None:
    """A model's name that tries to retitle the terminal is printed as harmless text."""
    scripted.workers = [{**WORKER, "model": "evil\x1b]0;owned\x07\x1b[31mred"}]
    done = await rbee("ps")

    assert "\x1b" not in done.out
    assert "evilred" in done.out


async def test_watch_prints_again_when_something_changes(scripted: ScriptedQueen) -> None:
    """`--watch --json` prints a line per change of the feed, without asking again."""
    snapshot = {"seq": 0, "at": 1.0, "queen": {"version": "1", "started_at": 1.0, "epoch": "e"}}
    scripted.snapshot = json.dumps({**snapshot, "workers": [WORKER]})
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "rbee_tui", "ps", "--watch", "--json"),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "RBEE_QUEEN_URL": scripted.url},
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(30):
            first = json.loads(await process.stdout.readline())
            change = {"seq": 1, "at": 2.0, "noun": "worker", "id": "worker-1", "op": "put"}
            value = {**WORKER, "state": "draining"}
            scripted.feed.put_nowait(("change", json.dumps({**change, "value": value})))
            second = json.loads(await process.stdout.readline())
            process.send_signal(2)
            code = await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()

    assert [d["workers"][0]["state"] for d in (first, second)] == ["ready", "draining"]
    assert code == 130
    assert len(scripted.last_event_ids) == 1


async def test_wrong_words_are_usage_errors(rbee: Rbee) -> None:
    """An unknown command or option is exit 2 and says so on stderr."""
    for args in (("pss",), ("ps", "--nonsense"), ("infer",), ("--queen",)):
        done = await rbee(*args)
        assert (done.code, done.out) == (2, "")
        assert done.err


async def test_nobody_there_is_exit_5_everywhere(scripted: ScriptedQueen, rbee: Rbee) -> None:
    """Every command that needs the queen says how to start one."""
    await scripted.stop()
    for args in (("ps",), ("status",), ("model", "ls"), ("task", "ls"), ("hive", "ls")):
        done = await rbee(*args)
        assert (done.code, done.out) == (5, "")
        assert "rbee up" in done.err


async def test_a_wrong_key_is_exit_4(scripted: ScriptedQueen, rbee: Rbee) -> None:
    """A refused token is "not allowed"."""
    scripted.token = "right"

    assert (await rbee("ps", RBEE_QUEEN_TOKEN="wrong")).code == 4
    assert (await rbee("ps", RBEE_QUEEN_TOKEN="right")).code == 0


async def test_a_missing_task_is_exit_3(rbee: Rbee) -> None:
    """What was named and is not there is "not found"."""
    assert (await rbee("task", "show", "task-9")).code == 3


async def test_a_reader_that_is_gone_is_no_error(fleet: ScriptedQueen) -> None:
    """`rbee ps | head -0` ends without a traceback."""
    process = await asyncio.create_subprocess_exec(
        *("bash", "-c", 'set -o pipefail; "$0" -m rbee_tui task ls | true', sys.executable),
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "RBEE_QUEEN_URL": fleet.url},
    )
    _, err = await asyncio.wait_for(process.communicate(), 30)

    assert b"Traceback" not in err
    assert b"BrokenPipe" not in err


async def test_env_quotes_for_the_shell(scripted: ScriptedQueen, rbee: Rbee) -> None:
    """A shell that evaluates `rbee env` gets the values, whatever is in them."""
    process = await asyncio.create_subprocess_exec(
        *("bash", "-c", 'eval "$("$0" -m rbee_tui env)"; echo "$OPENAI_BASE_URL|$OPENAI_API_KEY"'),
        sys.executable,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "RBEE_QUEEN_URL": scripted.url, "RBEE_QUEEN_TOKEN": "a b'$(x)"},
    )
    out, _ = await asyncio.wait_for(process.communicate(), 30)

    assert out.decode().strip() == f"{scripted.url}/v1|a b'$(x)"


def _walk(group: Any, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    found = []
    for name in group.list_commands(None):
        found.append(((*path, name), group.get_command(None, name)))
        if hasattr(found[-1][1], "list_commands"):
            found += _walk(found[-1][1], (*path, name))
    return found


def test_every_command_has_help_with_an_example() -> None:
    """Each command explains itself and shows how it is typed."""
    commands = _walk(command())

    assert len(commands) > len(COMMANDS)
    missing = []
    for path, found in commands:
        help_text = (found.help or "").replace("--no-tui ", "")
        if not help_text:
            missing.append((*path, "help"))
        if not hasattr(found, "list_commands") and f"rbee {' '.join(path)}" not in help_text:
            missing.append((*path, "example"))
        missing += [(*path, p.name) for p in found.params if not getattr(p, "help", None)]
    assert missing == []


async def test_completion_knows_the_commands(rbee: Rbee) -> None:
    """The shell is offered the commands that begin as the word does."""
    done = await rbee(_RBEE_COMPLETE="complete_bash", COMP_WORDS="rbee mo", COMP_CWORD="1")
    script = await rbee("completion", "bash")

    assert done.out.split() == ["model"]
    assert "_RBEE_COMPLETE" in script.out
