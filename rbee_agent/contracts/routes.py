"""Names that both ends of a wire use: headers, ports, paths."""

from __future__ import annotations

QUEEN_PORT = 8080
HIVE_PORT = 9200
QUEEN_TLS_PORT = 8443
HIVE_TLS_PORT = 9201
"""Where an agent listens that was told an address and no port."""
WORKER_PORT_FIRST = 8001
WORKER_PORTS = 64
"""How many ports from the first one workers may use: what the queen's SSH key opens on a host."""

WORKER_WAY = "way"
"""``/v1/workers/ID/way/…`` on a hive's port leads to that worker's own API."""

CORRELATION_HEADER = "X-Correlation-Id"
PROTOCOL_HEADER = "X-Rbee-Protocol"
VERSION_HEADER = "X-Rbee-Version"
BACKOFF_HEADER = "X-Backoff-Ms"
DETERMINISM_HEADER = "X-Rbee-Determinism"
OVERHEAD_HEADER = "x-rbee-overhead-ms"
QUEUE_HEADER = "x-rbee-queue-ms"
REQUEST_ID_HEADER = "X-Request-Id"
SESSION_HEADER = "X-Session-ID"

SSE_CONTENT_TYPE = "text/event-stream"
PING_INTERVAL_S = 15.0
