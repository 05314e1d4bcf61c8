"""This project's wheel: from a checkout, and from an installation that has no checkout."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from rbee_agent.errors import RbeeError
from rbee_tui.fleet import package

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that the build backend makes."""
    return package.from_checkout(ROOT, tmp_path_factory.mktemp("built"))


def test_an_installed_rbee_makes_the_same_wheel(built: Path, tmp_path: Path) -> None:
    """Installed without a checkout, it puts its wheel together again: same files, same digest."""
    site = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--target", str(site), str(built)], check=True)
    code = (
        "import sys; from pathlib import Path; import rbee_agent;"
        "assert rbee_agent.__file__.startswith(sys.argv[2]), rbee_agent.__file__;"
        "from rbee_tui.fleet import package; print(package.own_wheel(Path(sys.argv[1])))"
    )
    again = subprocess.run(
        [sys.executable, "-P", "-c", code, str(tmp_path / "out"), str(site)],
        env={"PYTHONPATH": str(site), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert again.returncode == 0, again.stderr
    wheel = Path(again.stdout.strip())
    with zipfile.ZipFile(built) as one, zipfile.ZipFile(wheel) as two:
        assert set(one.namelist()) == set(two.namelist())
        assert "rbee_agent/constraints.txt" in two.namelist()
        different = [n for n in one.namelist() if one.read(n) != two.read(n)]
    assert [name.rsplit("/", 1)[-1] for name in different] in ([], ["RECORD"])
    assert package.digest(wheel) == package.digest(built)
    target = [*pip, "--target", str(tmp_path / "third"), str(wheel)]
    subprocess.run(target, check=True)


def test_an_unknown_distribution_is_refused(tmp_path: Path) -> None:
    """What is not installed cannot be put together; the sentence says what to do."""
    with pytest.raises(RbeeError, match="install it with pip"):
        package.from_installed(tmp_path, "no-such-distribution")
    assert list(tmp_path.iterdir()) == []


def test_a_broken_checkout_is_refused_with_its_last_lines(tmp_path: Path) -> None:
    """A build that fails says where, and what the backend said."""
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    (checkout / "pyproject.toml").write_text("[project\n")
    with pytest.raises(RbeeError, match=r"building this rbee's wheel from .*checkout failed"):
        package.from_checkout(checkout, tmp_path)
