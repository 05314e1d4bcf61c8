"""The doctor's judgement, from what a host told; and what tells hosts' kinds apart."""

from __future__ import annotations

from typing import Any

import pytest

from rbee_agent import __version__
from rbee_tui.fleet.doctor import Finding, healthy, judge
from rbee_tui.fleet.hosts_file import Host
from rbee_tui.fleet.remote import no_python, parse_pythons
from rbee_tui.fleet.wheels import Kind, llama_requirement

FACTS = {"system": "Linux", "machine": "x86_64", "libc": "glibc 2.36", "python": "3.11.7"}
HOST = Host("attic")


def seen(**changes: Any) -> dict[str, Any]:
    """What a healthy host tells."""
    return {
        "facts": FACTS,
        "checks": [{"name": "disk", "ok": True, "found": "9 GiB", "remedy": ""}],
        "backend": {"name": "cpu", "found": "x86_64", "build": True},
        "time": 1000.0,
        "installed": None,
        "hive": {"running": False},
        "systemd": True,
    } | changes


def found(name: str, **changes: Any) -> Finding:
    """One finding on such a host."""
    findings = judge(seen(**changes), HOST, before=1000.0, after=1000.5)
    return next(each for each in findings if each.name == name)


def test_a_healthy_host_is_healthy() -> None:
    """Nothing stands in the way, and nothing that is only advice does."""
    assert healthy(judge(seen(systemd=False), HOST, before=999.0, after=1001.0))


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("clock", {"time": 1060.0}, "60 s apart"),
        ("backend", {"backend": {"name": "cuda", "found": "A6000", "build": False}}, "no compiler"),
        ("rbee", {"installed": {"version": "0.0.1"}}, "older"),
        ("rbee", {"installed": {"version": "99.0.0"}}, "newer"),
    ],
)
def test_each_trouble_has_a_remedy(name: str, changes: dict[str, Any], words: str) -> None:
    """What is wrong is said, with what to do about it."""
    finding = found(name, **changes)
    assert not finding.ok
    assert words in finding.found
    assert finding.remedy


def test_the_clock_is_not_blamed_for_a_slow_answer() -> None:
    """A host that answers late, but with a time between question and answer, is right."""
    findings = judge(seen(time=1030.0), HOST, before=1000.0, after=1060.0)
    assert next(each for each in findings if each.name == "clock").ok


def test_our_own_version_is_fine() -> None:
    """The same version on both sides is no trouble."""
    assert found("rbee", installed={"version": __version__, "backend": "cpu"}).ok


def test_kinds_differ_where_a_wheel_would_not_fit() -> None:
    """Another CPU, C library, Python or backend is another kind; a patch release is not."""
    one = Kind.of(FACTS | {"cpu": "avx2"}, "cpu")
    assert one == Kind.of(FACTS | {"cpu": "avx2", "python": "3.11.9"}, "cpu")
    others = [
        Kind.of(FACTS | {"cpu": "avx512"}, "cpu"),
        Kind.of(FACTS | {"cpu": "avx2", "libc": "glibc 2.31"}, "cpu"),
        Kind.of(FACTS | {"cpu": "avx2", "python": "3.12.1"}, "cpu"),
        Kind.of(FACTS | {"cpu": "avx2"}, "cuda"),
    ]
    assert len({str(kind) for kind in [one, *others]}) == 5
    assert "/" not in str(Kind.of(FACTS | {"libc": "musl ../1.2"}, "cpu"))


def test_pythons_are_read_and_named() -> None:
    """Noise is left out, a path counts once, and a refusal names all that were found."""
    text = "hello\n3.9 /usr/bin/python3\n3.9 /usr/bin/python3\n3.x /bin/p\n2.7 python\n"
    pythons = parse_pythons(text)
    assert [(each.version, each.path) for each in pythons] == [((3, 9), "/usr/bin/python3")]
    refusal = no_python(Host("attic", python="/opt/py"), pythons)
    assert "/opt/py was asked for" in refusal.message
    assert "3.9 (/usr/bin/python3)" in refusal.message


def test_the_engines_version_is_the_tested_one() -> None:
    """What a host compiles is what constraints.txt names."""
    assert llama_requirement().startswith("llama-cpp-python==")
