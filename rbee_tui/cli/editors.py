"""Settings that point editors and coding agents at a queen."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rbee_agent.errors import Refused


@dataclass(frozen=True, slots=True)
class Access:
    """What a program needs to be told."""

    url: str
    """Of the queen, without a path."""
    key: str
    model: str

    @property
    def openai_url(self) -> str:
        """Where the OpenAI API is."""
        return f"{self.url}/v1"


def snippet(editor: str, access: Access) -> str:
    """Settings of an editor or coding agent: the file they go into, then what goes there.

    Raises:
        Refused: an editor that is not known here; names those that are.
    """
    if editor not in EDITORS:
        raise Refused(f"no settings for {editor}; there are: {', '.join(EDITORS)}")
    return EDITORS[editor](access)


def _aider(access: Access) -> str:
    exports = {"OPENAI_API_BASE": access.openai_url, "OPENAI_API_KEY": access.key}
    return _shell(exports, f"aider --model {shlex.quote(f'openai/{access.model}')}")


def _claude_code(access: Access) -> str:
    exports = {
        "ANTHROPIC_BASE_URL": access.url,
        "ANTHROPIC_AUTH_TOKEN": access.key,
        "ANTHROPIC_MODEL": access.model,
        "ANTHROPIC_SMALL_FAST_MODEL": access.model,
    }
    return _shell(exports, "claude")


def _cline(access: Access) -> str:
    return (
        "# Cline, Roo Code: settings, API provider\n"
        "API Provider: OpenAI Compatible\n"
        f"Base URL: {access.openai_url}\nAPI Key: {access.key}\nModel ID: {access.model}"
    )


def _codex(access: Access) -> str:
    # A JSON string is a basic string of TOML.
    model, url = json.dumps(access.model), json.dumps(access.openai_url)
    return (
        "# ~/.codex/config.toml; the key is read from OPENAI_API_KEY (see `rbee env`)\n"
        f'model = {model}\nmodel_provider = "rbee"\n\n'
        f'[model_providers.rbee]\nname = "rbee"\nbase_url = {url}\n'
        'env_key = "OPENAI_API_KEY"\nwire_api = "responses"'
    )


def _continue(access: Access) -> str:
    model, url, key = map(json.dumps, (access.model, access.openai_url, access.key))
    return (
        "# ~/.continue/config.yaml\nname: rbee\nversion: 1.0.0\nschema: v1\nmodels:\n"
        f"  - name: rbee\n    provider: openai\n    model: {model}\n"
        f"    apiBase: {url}\n    apiKey: {key}"
    )


def _opencode(access: Access) -> str:
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "name": "rbee",
        "options": {"baseURL": access.openai_url, "apiKey": access.key},
        "models": {access.model: {"name": access.model}},
    }
    return _json("// opencode.json", {"provider": {"rbee": provider}})


def _vscode(access: Access) -> str:
    note = "// settings.json: Copilot's model picker then offers the queen's models as Ollama's"
    return _json(note, {"github.copilot.chat.byok.ollamaEndpoint": access.url})


def _zed(access: Access) -> str:
    models = [{"name": access.model, "display_name": access.model, "max_tokens": 8192}]
    provider = {"api_url": access.openai_url, "available_models": models}
    note = "// ~/.config/zed/settings.json; the key is asked for, or read from RBEE_API_KEY"
    return _json(note, {"language_models": {"openai_compatible": {"rbee": provider}}})


def _shell(exports: dict[str, str], command: str) -> str:
    lines = [f"export {name}={shlex.quote(value)}" for name, value in exports.items()]
    return "\n".join(["# shell", *lines, command])


def _json(note: str, document: dict[str, Any]) -> str:
    return f"{note}\n{json.dumps(document, indent=2, ensure_ascii=False)}"


EDITORS: dict[str, Callable[[Access], str]] = {
    "aider": _aider,
    "claude-code": _claude_code,
    "cline": _cline,
    "codex": _codex,
    "continue": _continue,
    "opencode": _opencode,
    "vscode": _vscode,
    "zed": _zed,
}
