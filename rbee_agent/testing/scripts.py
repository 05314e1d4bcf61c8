"""Frames that a fake worker can be told to say: thinking, tool calls, log-probabilities."""

from __future__ import annotations

from typing import Any

Script = list[tuple[str, dict[str, Any]]]

THINKING: Script = [
    ("token", {"i": 0, "t": "Hm", "channel": "reasoning", "ids": [1]}),
    ("token", {"i": 2, "t": ", bees.", "channel": "reasoning", "ids": [2, 3]}),
    ("token", {"i": 3, "t": "Yes", "ids": [4]}),
    ("token", {"i": 4, "t": ".", "ids": [5]}),
    ("end", {"tokens_in": 7, "tokens_out": 5, "tokens_cached": 2, "finish_reason": "stop"}),
]
CALLING: Script = [
    ("token", {"i": 0, "t": "Let me see.", "ids": [1]}),
    (
        "tool_call",
        {"i": 1, "index": 0, "id": "call_a", "name": "weather", "arguments_delta": "", "ids": [2]},
    ),
    ("tool_call", {"i": 2, "index": 0, "arguments_delta": '{"city":', "ids": [3]}),
    ("tool_call", {"i": 3, "index": 0, "arguments_delta": '"Bern"}', "ids": [4]}),
    (
        "tool_call",
        {"i": 4, "index": 1, "id": "call_b", "name": "time", "arguments_delta": "{}", "ids": [5]},
    ),
    ("end", {"tokens_in": 7, "tokens_out": 5, "finish_reason": "tool_calls"}),
]
LOGGED: Script = [
    (
        "token",
        {
            "i": 0,
            "t": "Hi",
            "lp": [
                {
                    "token": "Hi",
                    "logprob": -0.5,
                    "bytes": [72, 105],
                    "top": [
                        {"token": "Hi", "logprob": -0.5, "bytes": [72, 105]},
                        {"token": "Ho", "logprob": -1.5, "bytes": [72, 111]},
                    ],
                }
            ],
            "ids": [1],
        },
    ),
    (
        "token",
        {
            "i": 1,
            "t": " you",
            "lp": [{"token": " you", "logprob": -0.25, "bytes": [32, 121, 111, 117], "top": []}],
            "ids": [2],
        },
    ),
    ("end", {"tokens_in": 3, "tokens_out": 2, "finish_reason": "length"}),
]
