"""httpx without its command line.

Where rich, click and pygments are installed (as they are beside Textual and typer) httpx imports
them for a command of its own: 46 of the 126 ms that ``import httpx`` takes, in every ``rbee ps``.
httpx does without when that module cannot be imported.
"""

from __future__ import annotations

import sys

_COMMAND = "httpx._main"
_hide = _COMMAND not in sys.modules
if _hide:
    sys.modules[_COMMAND] = None  # type: ignore[assignment]
try:
    import httpx as httpx
finally:
    if _hide:
        del sys.modules[_COMMAND]
