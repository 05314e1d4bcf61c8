"""The first thing a person sees: what is missing is said before anything is attempted."""

from __future__ import annotations

import ast
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from rbee_tui.fleet import bootstrap, preflight

_ROOT = Path(bootstrap.__file__).resolve().parents[2]


def test_a_machine_without_compiler_is_told_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """No compiler on PATH is a failed check with the command that mends it."""
    monkeypatch.setenv("PATH", str(tmp_path))

    check = preflight.check_compiler()

    assert not check.ok
    assert "build-essential" in check.remedy


def test_a_full_disk_is_said_before_anything_is_made(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The installer stops at the check: no .venv is begun."""
    monkeypatch.setattr(preflight, "DISK_WITH_ENGINE", 2**62)
    root = _fake_checkout(tmp_path)
    monkeypatch.setattr(sys, "argv", ["bootstrap", "--root", str(root)])

    assert bootstrap.main() == 1

    assert "free at least" in capsys.readouterr().err
    assert not (root / ".venv").exists()


def test_an_unchanged_installation_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The second `make run` installs nothing; a changed project file installs again."""
    root = _fake_checkout(tmp_path)
    (root / ".venv" / "bin").mkdir(parents=True)
    (root / ".venv" / "bin" / "rbee").touch()
    stamp = root / ".venv" / "rbee-installed.json"
    stamp.write_text(
        json.dumps(
            {
                "fingerprint": bootstrap.fingerprint(root),
                "root": str(root),
                "extras": ["llama", "test"],
            }
        )
    )
    installs: list[set[str]] = []
    monkeypatch.setattr(bootstrap, "install", lambda _, extras, __: installs.append(extras) or 0)
    monkeypatch.setattr(sys, "argv", ["bootstrap", "--root", str(root), "--extras", "llama"])

    assert bootstrap.main() == 0
    assert installs == []
    (root / "pyproject.toml").write_text("changed")
    assert bootstrap.main() == 0
    assert [{"llama"}] == installs


def test_compiling_is_shown_as_it_goes() -> None:
    """Ninja's steps become a phase a person understands."""
    assert bootstrap.gist("  [12/210] Building CXX object x.o") == (
        "compiling llama.cpp (a few minutes)",
        "12 of 210",
    )
    assert bootstrap.gist("Collecting aiohttp>=3.12 (from") == ("downloading packages:", "aiohttp")
    assert bootstrap.gist("  some noise") is None


def test_progress_without_a_terminal_is_a_line_now_and_then() -> None:
    """A log file gets each phase once, not a line for each step."""
    out = io.StringIO()
    progress = bootstrap.Progress(out)

    for step in range(100):
        progress.say("compiling", f"{step} of 100")

    assert out.getvalue().count("\n") == 1
    assert "\033" not in out.getvalue()


def test_the_checks_run_on_a_bare_python_through_a_pipe() -> None:
    """The same file, piped to a host's Python, answers in JSON."""
    source = Path(preflight.__file__).read_bytes()

    done = subprocess.run(
        [sys.executable, "-I", "-S", "-", "--json"], input=source, capture_output=True, timeout=60
    )

    said = json.loads(done.stdout)
    assert "python" in {check["name"] for check in said["checks"]}
    assert said["facts"]["machine"]


@pytest.mark.parametrize("module", [preflight, bootstrap])
def test_an_old_python_can_read_the_installer(module: object) -> None:
    """Python 3.8 must get as far as being told that it is too old."""
    source = Path(str(module.__file__)).read_text()  # type: ignore[attr-defined]

    ast.parse(source, feature_version=(3, 8))


def _fake_checkout(tmp_path: Path) -> Path:
    root = tmp_path / "checkout"
    (root / "rbee_agent").mkdir(parents=True)
    for name in ("pyproject.toml", "rbee_agent/constraints.txt"):
        (root / name).write_bytes((_ROOT / name).read_bytes())
    return root
