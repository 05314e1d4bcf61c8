"""The process in which policy scripts run: little memory, little CPU time, nothing else to lose.

Requests and answers are JSON lines. A script that uses up its CPU time is ended by the kernel
(SIGPROF, default action), because the interpreter does not let Python run meanwhile; the queen sees
the pipe close, decides by herself, and starts another helper.
"""

from __future__ import annotations

import json
import re
import resource
import signal
import sys
from importlib import resources
from typing import Any

import starlark

MEMORY_BYTES = 512 * 1024 * 1024
CALL_CPU_S = 0.05
"""CPU time after which a call is ended. A sound decision needs less than a tenth of the 5 ms
that the contract grants; the rest is room for a busy machine's coarse clock."""
LOAD_CPU_S = 1.0
HOOKS = ("admit", "place", "evict")


def main() -> None:
    """Answer requests until stdin ends."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    script: starlark.FrozenModule | None = None
    for line in sys.stdin:
        request = json.loads(line)
        answer: dict[str, Any]
        try:
            if "source" in request:
                _limit(LOAD_CPU_S)
                script, hooks = load(request["source"], request["name"])
                answer = {"ok": hooks}
            elif script is None:
                answer = {"error": "no script is loaded"}
            else:
                _limit(CALL_CPU_S)
                answer = {"ok": script.call(request["hook"], *request["arguments"])}
                json.dumps(answer)
        except (starlark.StarlarkError, MemoryError, TypeError, ValueError) as error:
            answer = {"error": str(error) or type(error).__name__}
        finally:
            _limit(0.0)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def load(source: str, name: str) -> tuple[starlark.FrozenModule, list[str]]:
    """A script ready to be called, and which hooks it has.

    Raises:
        starlark.StarlarkError: it does not parse or its top level fails; with file and line.
    """
    standard = starlark.Globals.standard()
    module = starlark.Module()
    library = (resources.files("rbee_agent.queen") / "policy_library.star").read_text()
    starlark.eval(module, starlark.parse("library.star", library), standard)
    starlark.eval(module, starlark.parse(name, source), standard)
    hooks = [hook for hook in HOOKS if re.search(rf"^def {hook}\(", source, re.MULTILINE)]
    return module.freeze(), hooks


def _limit(seconds: float) -> None:
    signal.setitimer(signal.ITIMER_PROF, seconds)


if __name__ == "__main__":
    main()
