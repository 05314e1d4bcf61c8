"""`rbee env`: each program gets settings that it can read, whatever is in them."""

from __future__ import annotations

import json
import shlex
import tomllib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from rbee_tui.cli.editors import EDITORS, Access, snippet
from rbee_tui.cli.env import exports

Rbee = Callable[..., Awaitable[Any]]

ODD = Access("http://127.0.0.1:8080", "k'\"$(x) \\", 'hf:org/"repo:Q4_K_M')
DOCS = Path(__file__).parents[2] / "docs/cli.md"


def settings(editor: str) -> Any:
    """What the program reads out of its snippet."""
    note, _, text = snippet(editor, ODD).partition("\n")
    if note.startswith("//"):
        return json.loads(text)
    if editor == "continue":
        return yaml.safe_load(text)
    return tomllib.loads(text)


def test_json_settings() -> None:
    """Zed, opencode and VS Code read address, key and model."""
    zed = settings("zed")["language_models"]["openai_compatible"]["rbee"]
    opencode = settings("opencode")["provider"]["rbee"]
    vscode = settings("vscode")

    assert (zed["api_url"], zed["available_models"][0]["name"]) == (ODD.openai_url, ODD.model)
    assert opencode["options"] == {"baseURL": ODD.openai_url, "apiKey": ODD.key}
    assert list(opencode["models"]) == [ODD.model]
    assert vscode["github.copilot.chat.byok.ollamaEndpoint"] == ODD.url


def test_yaml_and_toml_settings() -> None:
    """Continue and Codex too."""
    (model,) = settings("continue")["models"]
    codex = settings("codex")

    assert (model["model"], model["apiBase"], model["apiKey"]) == (
        ODD.model,
        ODD.openai_url,
        ODD.key,
    )
    assert codex["model"] == ODD.model
    assert codex["model_providers"]["rbee"]["base_url"] == ODD.openai_url


@pytest.mark.parametrize("editor", ["aider", "claude-code"])
def test_shell_settings(editor: str) -> None:
    """The shell gets the values as they are."""
    lines = [shlex.split(line) for line in snippet(editor, ODD).splitlines()[1:]]
    given = dict(line[1].split("=", 1) for line in lines if line[0] == "export")

    assert ODD.key in given.values()
    assert {ODD.url, ODD.openai_url} & set(given.values())
    assert any(ODD.model in word for line in lines for word in line)


def test_settings_for_a_form() -> None:
    """Cline is told by hand what to type."""
    assert {ODD.openai_url, ODD.key, ODD.model} <= {
        line.partition(": ")[2] for line in snippet("cline", ODD).splitlines()
    }


async def test_the_command_prints_them(rbee: Rbee) -> None:
    """Every program that is known; another is refused with those that are."""
    done = await rbee("env", "--editor", "continue", "-m", "m1")
    other = await rbee("env", "--editor", "ed")

    assert (done.code, yaml.safe_load(done.out)["models"][0]["model"]) == (0, "m1")
    assert other.code == 2
    assert all(editor in other.err for editor in EDITORS)


def test_the_docs_name_every_program() -> None:
    """None is added without a word about it."""
    assert [editor for editor in EDITORS if editor not in DOCS.read_text()] == []


def test_exports_have_an_address_and_a_key_for_each_client() -> None:
    """OpenAI's with /v1, the others without."""
    given = exports("http://h:1", "k")

    assert {name for name, value in given.items() if value == "k"} == {
        "OPENAI_API_KEY",
        "ANTHROPIC_API_KEY",
        "OLLAMA_API_KEY",
    }
    assert given["OPENAI_BASE_URL"] == given["OPENAI_API_BASE"] == "http://h:1/v1"
    assert given["ANTHROPIC_BASE_URL"] == given["OLLAMA_HOST"] == "http://h:1"
