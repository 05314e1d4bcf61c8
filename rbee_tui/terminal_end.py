"""A terminal that vanishes ends the control center, also where the system sends no SIGHUP.

It does not where the terminal is not the session's own (``docker exec``, ``setsid``): the app would
wait for ever on a writer that has failed, and its reader would use a whole core.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading


def end_with_terminal() -> None:
    """From now on the end of the terminal is a SIGHUP to this process; returns at once."""
    if sys.platform == "linux" and os.isatty(sys.stdin.fileno()):
        threading.Thread(target=_wait, args=(sys.stdin.fileno(),), daemon=True).start()


def _wait(terminal: int) -> None:
    poll = select.poll()
    poll.register(terminal, 0)  # asks for nothing: a hang-up is told all the same
    if any(told & select.POLLHUP for _, told in poll.poll()):
        os.kill(os.getpid(), signal.SIGHUP)
