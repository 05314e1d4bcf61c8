"""Every command and Python example of the docs is run, page by page, on a fleet of its own."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from rbee_agent.testing.live_fleet import LiveFleet
from tests.ports import own_port

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NOT_HERE = ("make ", "git ", "cd ", "pip ")
"""Beginnings of commands that set up a machine; `make` has tests of its own."""
BLOCK = re.compile(r"^```(console|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)
TOOLS = ("curl", "jq")
"""Programs that examples use and that a machine may lack."""
EXIT = re.compile(r"#\s*exit (\d+)\s*$")
PAGE_TIMEOUT_S = 600


@dataclass(frozen=True)
class Example:
    """One command or program of a page."""

    kind: str
    text: str
    exit_code: int = 0


def examples(page: Path) -> list[Example]:
    """The examples of a page in their order; backslash-continued lines are one command."""
    found = []
    for kind, body in BLOCK.findall(page.read_text()):
        if kind == "python":
            found.append(Example(kind, body))
            continue
        for line in body.replace("\\\n", " ").splitlines():
            if not line.startswith("$ ") or line[2:].startswith(NOT_HERE):
                continue
            code = EXIT.search(line)
            found.append(Example(kind, line[2:], int(code[1]) if code else 0))
    return found


@pytest.fixture
def page_fleet(tmp_path: Path, demo_model: Path) -> Iterator[LiveFleet]:
    """A fleet for one page, with the demo model known to it and nothing running."""
    fleet = LiveFleet(tmp_path, worker_port=own_port(18301))
    fleet.register_model(demo_model)
    try:
        yield fleet
    finally:
        fleet.end()


def fill(text: str, fleet: LiveFleet) -> str:
    """The command with the ids of this fleet in place of the words TASK, WORKER, HOST, KEY."""
    wanted = {word for word in ("TASK", "WORKER", "HOST", "KEY") if re.search(rf"\b{word}\b", text)}
    if "TASK" in wanted:
        text = re.sub(r"\bTASK\b", fleet.document("task", "ls")["tasks"][0]["job_id"], text)
    if "WORKER" in wanted:
        text = re.sub(r"\bWORKER\b", fleet.document("worker", "ls")["workers"][-1]["id"], text)
    if "HOST" in wanted:
        text = re.sub(r"\bHOST\b", fleet.document("hive", "ls")["nodes"][0]["id"], text)
    if "KEY" in wanted:
        keys = [k for k in fleet.document("key", "ls")["keys"] if k["name"] == "laptop"]
        text = re.sub(r"\bKEY\b", keys[0]["id"], text)
    if "http://127.0.0.1:8080" in text:
        text = text.replace("http://127.0.0.1:8080", fleet.record("queen")["url"])
    return text


def run(example: Example, fleet: LiveFleet) -> str | None:
    """Run one example; returns what went wrong, or None."""
    text = fill(example.text, fleet)
    if example.kind == "python":
        done = fleet.run(sys.executable, "-c", text)
    else:
        done = fleet.run("bash", "-o", "pipefail", "-c", text)
    if done.returncode == example.exit_code:
        return None
    return f"$ {text}\nended with {done.returncode}\n{done.stdout}\n{done.stderr}"


@pytest.mark.model
@pytest.mark.timeout(PAGE_TIMEOUT_S)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_example_works(page: Path, page_fleet: LiveFleet) -> None:
    """Each example of the page ends as the page says, in the page's order."""
    found = examples(page)
    if not found:
        return
    for tool in TOOLS:
        if shutil.which(tool) is None and any(tool in example.text for example in found):
            pytest.skip(f"{page.name} uses {tool}: install the package {tool}")
    if not any(example.text == "rbee up" for example in found):
        page_fleet.ok("up", "--model", "smollm2-135m")

    problems = [problem for example in found if (problem := run(example, page_fleet))]

    assert not problems, "\n\n".join(problems)


def test_every_command_is_in_the_docs() -> None:
    """docs/cli.md names each command of `rbee`, so none is added without a word about it."""
    from rbee_tui.cli.app import command

    text = (ROOT / "docs" / "cli.md").read_text()
    groups = {name: command().get_command(None, name) for name in command().list_commands(None)}
    words = [
        f"rbee {name} {sub}" if sub else f"rbee {name}"
        for name, group in groups.items()
        for sub in (group.list_commands(None) if hasattr(group, "list_commands") else [""])
    ]

    assert [word for word in words if word not in text] == []


def test_the_reader_of_examples_reads_them(tmp_path: Path) -> None:
    """Commands, their exit codes, continued lines and Python are found; set-up is left out."""
    page = tmp_path / "page.md"
    page.write_text(
        "```console\n$ rbee ps \\\n  --json\noutput\n$ rbee x    # exit 3\n$ make run\n```\n"
        "```python\nprint(1)\n```\n```sh\n$ rbee never\n```\n"
    )

    assert examples(page) == [
        Example("console", "rbee ps    --json"),
        Example("console", "rbee x    # exit 3", 3),
        Example("python", "print(1)\n"),
    ]
