"""Our own small supervisor, for hosts whose systemd keeps nothing running for this user."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from types import FrameType

from rbee_tui.fleet.onhost import daemon

FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 60.0
STEADY_S = 60.0
"""An agent that lived so long begins again with the shortest wait."""
FINAL_CODES = (0, 2, 4, 7)
"""Ended on purpose, usage, not allowed, conflict: starting again would only repeat it."""
GRACE_S = 15.0


class Supervisor:
    """Keeps one agent running until it is told to stop."""

    def __init__(self, agent: str) -> None:
        self.agent = agent
        self.stopping = False
        self._child: subprocess.Popen[bytes] | None = None

    def run(self) -> int:
        """Until SIGTERM, or until the agent ends for good."""
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)
        self._write_record()
        wait = FIRST_WAIT_S
        try:
            while not self.stopping:
                began = time.monotonic()
                code = self._one_life()
                if self.stopping or code in FINAL_CODES:
                    return code
                wait = FIRST_WAIT_S if time.monotonic() - began > STEADY_S else wait
                sys.stderr.write(f"the {self.agent} ended with {code}; again in {wait:g} s\n")
                sys.stderr.flush()
                self._sleep(wait)
                wait = min(LONGEST_WAIT_S, wait * 2)
        finally:
            daemon.supervisor_record(self.agent).unlink(missing_ok=True)
        return 0

    def _one_life(self) -> int:
        self._child = subprocess.Popen(
            daemon.command_of(self.agent), stdin=subprocess.DEVNULL, env=dict(os.environ)
        )
        while True:
            try:
                return self._child.wait(timeout=GRACE_S if self.stopping else None)
            except subprocess.TimeoutExpired:
                self._child.kill()

    def _sleep(self, seconds: float) -> None:
        """Wait; a signal ends it."""
        end = time.monotonic() + seconds
        while not self.stopping and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, 0.5))

    def _stop(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - signature
        self.stopping = True
        if self._child is not None and self._child.poll() is None:
            self._child.terminate()

    def _write_record(self) -> None:
        path = daemon.supervisor_record(self.agent)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        pid = os.getpid()
        path.write_text(json.dumps({"pid": pid, "start_time": daemon.start_time(pid)}))


def main() -> int:
    """Supervise the agent that the first argument names."""
    return Supervisor(sys.argv[1]).run()


if __name__ == "__main__":
    sys.exit(main())
