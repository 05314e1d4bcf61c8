"""The protocol's version, apart from the contract types so that a client need not build those."""

from __future__ import annotations

PROTOCOL_VERSION = 1
"""Version of what the agents say to each other; sent as ``X-Rbee-Protocol``."""

OLDEST_PROTOCOL = 1
"""The oldest peer that this version still understands."""
