"""A control center whose terminal is pulled away ends, whoever holds the terminal."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys

import pytest


@pytest.mark.skipif(sys.platform != "linux", reason="other systems tell of it by SIGHUP only")
def test_a_vanished_terminal_ends_the_control_center() -> None:
    """No SIGHUP comes, for it is nobody's own terminal; no core is left burning behind it."""
    ours, theirs = pty.openpty()
    words = [sys.executable, "-m", "rbee_tui", "--queen", "http://127.0.0.1:9"]
    process = subprocess.Popen(
        words, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    try:
        drawn = b""
        while b"connecting" not in drawn:
            drawn += os.read(ours, 65536)
        assert process.poll() is None

        os.close(ours)

        assert process.wait(timeout=20) == -signal.SIGHUP
    finally:
        process.kill()
        process.wait()
