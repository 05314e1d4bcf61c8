"""Outputs that other servers hold their parsers against: ours reads every one of them.

`tool_corpus` has the outputs with their origin and licence. Left out are those that we read
otherwise on purpose: calls to tools that were not offered are text here, a thought holds no words
of the prompt, and tokens that end an answer are never shown to the parser.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tarfile
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from rbee_agent.contracts.tasks import Message
from rbee_agent.engine.template import ChatTemplate
from rbee_agent.engine.tools.families import STYLES, told_style
from rbee_agent.engine.tools.parse import OutputParser
from rbee_agent.engine.tools.pieces import Call

_FOLDER = Path(__file__).parent / "tool_corpus"
_STYLES = {style.name: style for style in (*map(told_style, STYLES), *STYLES)}
CORPUS: dict[str, list[dict[str, Any]]] = {
    path.stem: json.loads(path.read_text())["cases"] for path in sorted(_FOLDER.glob("*.json"))
}
_GROUPS = sorted({(origin, case["style"]) for origin, cases in CORPUS.items() for case in cases})


def _read(case: dict[str, Any], parts: list[str]) -> dict[str, Any]:
    parser = OutputParser(
        _STYLES[case["style"]],
        tools=case["tools"],
        opened=case["opened"],
        thinks=case["thinks"],
        call_id=str,
    )
    pieces = [piece for part in parts for piece in parser.push(part)] + parser.finish()
    found: dict[str, Any] = {"content": "", "reasoning": "", "calls": []}
    for piece in pieces:
        if not isinstance(piece, Call):
            found[piece.channel or "content"] += piece.text
            continue
        if piece.name is not None:
            found["calls"].append({"name": piece.name, "arguments": ""})
        found["calls"][piece.number]["arguments"] += piece.arguments
    assert parser.calls == len(found["calls"])
    return found


@pytest.mark.parametrize(("origin", "style"), _GROUPS)
def test_an_output_is_read_however_it_is_cut(origin: str, style: str) -> None:
    """The calls, the text and the thought that the model meant; whole, by letters, at random."""
    for case in CORPUS[origin]:
        if case["style"] != style:
            continue
        text: str = case["text"]
        found = _read(case, [text])

        meant = [{**call, "arguments": json.loads(call["arguments"])} for call in found["calls"]]
        assert case["calls"] == meant, text
        assert case["content"].strip() == found["content"].strip(), text
        assert case["reasoning"].strip() == found["reasoning"].strip(), text
        assert found == _read(case, list(text)), text
        chance = random.Random(text)
        for _ in range(5):
            cuts = sorted(chance.choices(range(len(text) + 1), k=9))
            parts = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
            assert found == _read(case, parts), parts


def test_the_corpus_is_not_empty() -> None:
    """Enough of each origin, with calls in most."""
    sizes = Counter({origin: len(cases) for origin, cases in CORPUS.items()})
    assert sizes["llama_cpp"] > 200
    assert sizes["vllm"] > 100
    calling = sum(bool(case["calls"]) for cases in CORPUS.values() for case in cases)
    assert calling > 300


@pytest.fixture(scope="session")
def templates(pytestconfig: pytest.Config) -> dict[str, str]:
    """The chat templates in the source archive of llama-cpp-python; fetched once, then cached."""
    assert pytestconfig.cache is not None
    folder = Path(pytestconfig.cache.mkdir("llama-cpp-source"))
    release = version("llama-cpp-python")
    archive = folder / f"llama_cpp_python-{release}.tar.gz"
    if not archive.is_file():
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--no-binary", ":all:", "--dest", str(folder), f"llama-cpp-python=={release}"]
        subprocess.run(command, capture_output=True, timeout=600, check=True)
    found = {}
    with tarfile.open(archive) as tar:
        for entry in tar:
            if "/llama.cpp/models/templates/" in entry.name and entry.name.endswith(".jinja"):
                handle = tar.extractfile(entry)
                assert handle is not None
                found[Path(entry.name).stem] = handle.read().decode()
    return found


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif("RBEE_LONG" not in os.environ, reason="fetches 75 MB; RBEE_LONG=1 runs it")
def test_a_template_tells_its_family(templates: dict[str, str]) -> None:
    """Each template of the corpus renders, and means the family in whose style its model writes."""
    made = {
        name: ChatTemplate(templates[name], bos="<s>", eos="</s>")
        for name in {case["template"] for case in CORPUS["llama_cpp"]}
    }
    for case in CORPUS["llama_cpp"]:
        template = made[case["template"]]
        tools = [
            {"type": "function", "function": {"name": name, "description": "", "parameters": kind}}
            for name, kind in case["tools"].items()
        ]
        ask = [Message(role="user", content="Hello")]
        known = [
            template.render(ask, tools or None, {"enable_thinking": thinks})
            for thinks in (True, False)
        ]
        assert {prompt.style.name for prompt in known} == {case["style"]}, case["template"]
        assert case["opened"] in {prompt.opened for prompt in known}, case["template"]
