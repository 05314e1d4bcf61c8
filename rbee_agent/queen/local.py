"""The hive that this user runs on this machine."""

from __future__ import annotations

from pathlib import Path

from rbee_agent.contracts.nodes import NodeRegistration
from rbee_agent.runtime.files import read_json
from rbee_agent.settings.places import Places


def local_hive(places: Places) -> NodeRegistration | None:
    """How to reach the hive that this user runs here, from the record it left."""
    record = read_json(places.hive_record)
    if record is None or "url" not in record or "node_id" not in record:
        return None
    token_file = Path(str(record.get("token_file") or places.hive_token))
    try:
        token = token_file.read_text().strip()
    except OSError:
        return None
    return NodeRegistration(node_id=str(record["node_id"]), url=str(record["url"]), token=token)
