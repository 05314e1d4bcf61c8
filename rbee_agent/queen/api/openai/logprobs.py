"""Log-probabilities as the newer routes have them."""

from __future__ import annotations

from typing import Any


def logprob(entry: dict[str, Any]) -> dict[str, Any]:
    """One token's log-probability, from an `lp` entry of a token frame."""
    return {
        "token": entry["token"],
        "logprob": entry["logprob"],
        "bytes": entry.get("bytes"),
        "top_logprobs": [
            {"token": one["token"], "logprob": one["logprob"], "bytes": one.get("bytes")}
            for one in entry.get("top", ())
        ],
    }
