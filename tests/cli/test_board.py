"""Progress on many hosts: a line each on a terminal, lines in turn elsewhere."""

from __future__ import annotations

import io

import pytest

from rbee_tui.cli.board import QUIET_S, Board


class Terminal(io.StringIO):
    """Says that it is one."""

    def isatty(self) -> bool:
        return True


async def test_elsewhere_each_step_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    """A step is said once, and how far it is now and then."""
    now = [0.0]
    async with Board(io.StringIO(), lambda: now[0]) as board:
        board.tell("one", "copying", "1 %")
        for percent in range(2, 50):
            board.tell("one", "copying", f"{percent} %")
        now[0] += QUIET_S
        board.tell("one", "copying", "50 %")
        board.tell("two", "failed: no room\nfree some", lasting=True)
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["one: copying 1 %", "one: copying 50 %", "two: failed: no room", "free some"]


async def test_on_a_terminal_each_host_has_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Lines are rewritten and wiped at the end; what must not be overlooked is printed apart."""
    screen = Terminal()
    async with Board(screen, lambda: 0.0) as board:
        board.tell("one", "copying")
        board.tell("gpu-2", "installing")
        board.tell("one", "kept the model", lasting=True)
        board.tell("here", "building")
        board.drop("here")
    shown = screen.getvalue()
    assert "one    copying  0 s\ngpu-2  installing  0 s\n" in shown
    assert shown.endswith("\r\x1b[2A\x1b[J")
    assert capsys.readouterr().err == "one: kept the model\n"
