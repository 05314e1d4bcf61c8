"""``/openapi.json`` and what is served are one: requests made from it, answers held against it."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from rbee_agent.queen.api.app import all_routes
from rbee_agent.queen.api.openapi import document
from rbee_agent.settings.places import Places
from rbee_agent.testing.hive import FakeHive
from rbee_agent.testing.queen import InProcessQueen
from rbee_agent.testing.worker import FakeWorker

EXAMPLES = 200 if os.environ.get("RBEE_LONG") else 8
ENDLESS = r"/v2/events$|/v2/streams/tap$|/v2/tasks/\{id\}/events$"
"""Streams that do not end by themselves; they have tests of their own."""
OUTWARD = r"/v2/hosts"
"""Connects to whatever it is given."""
CHECKS = [status_code_conformance, content_type_conformance, response_schema_conformance]

schema = (
    schemathesis.openapi.from_dict(document(all_routes()))
    .exclude(path_regex=ENDLESS)
    .exclude(path_regex=OUTWARD, method="POST")
)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A queen with one host and one worker, on a loop of her own: schemathesis is synchronous."""
    places = Places.under(tmp_path_factory.mktemp("rbee"))
    told: list[str] = []
    ready, stop = threading.Event(), threading.Event()

    async def live() -> None:
        async with AsyncExitStack() as stack:
            hive = await stack.enter_async_context(FakeHive())
            queen = await stack.enter_async_context(InProcessQueen(places))
            await hive.add(FakeWorker("w1", slots=64))
            await queen.queen.register_node(hive.registration())
            told.append(queen.url)
            ready.set()
            await asyncio.to_thread(stop.wait)

    thread = threading.Thread(target=lambda: asyncio.run(live()))
    thread.start()
    assert ready.wait(20)
    yield told[0]
    stop.set()
    thread.join(20)


@schema.parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
def test_what_is_served_is_what_is_described(case, url):
    """Sound or absurd, every request gets a described answer, and never a 500."""
    response = case.call(base_url=url, timeout=30)
    assert response.status_code != 500, response.text
    case.validate_response(response, checks=CHECKS)


def test_an_answer_that_may_be_a_stream_is_described_as_both():
    """JSON, and events or lines, for each route whose body says which."""
    paths = document(all_routes())["paths"]
    kinds = {
        path: set(paths[path]["post"]["responses"]["200"]["content"])
        for path in ("/v1/chat/completions", "/v1/messages", "/api/chat", "/completion")
    }
    events = {"application/json", "text/event-stream"}
    lines = {"application/json", "application/x-ndjson"}
    assert kinds == {
        "/v1/chat/completions": events,
        "/v1/messages": events,
        "/api/chat": lines,
        "/completion": events,
    }
