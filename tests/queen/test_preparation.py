"""A model that is not served yet: what callers are told while it comes."""

from __future__ import annotations

import json

from rbee_agent.contracts.workers import WorkerState
from rbee_agent.testing.hive import FakeHive
from rbee_agent.wire.sse import SseDecoder


class SlowHive(FakeHive):
    """Its workers load until the test reports them ready."""

    async def add(self, worker):
        worker.node_id = self.node_id
        await worker.__aenter__()
        self.workers[worker.id] = worker
        self.report(worker.id, WorkerState.LOADING)
        return worker


async def test_a_waiting_reader_sees_how_far_its_model_is(caller):
    """`metrics` frames tell the step; ready, the load is measured and the task runs."""
    async with SlowHive() as hive:
        await caller.register(hive)
        job = await caller.submit()
        decoder, steps, last = SseDecoder(), [], None
        async with caller.http.stream("GET", f"/v2/tasks/{job['job_id']}/events") as reply:
            async for chunk in reply.aiter_bytes():
                for last in decoder.feed(chunk):
                    prep = json.loads(last.data).get("prep")
                    if last.event == "metrics" and prep and not steps:
                        steps = prep["steps"]
                        for name in hive.workers:
                            hive.report(name)
        assert steps == [
            {
                "kind": "load",
                "node_id": "node-1",
                "text": "worker node-1.w1 is loading",
                "phase": "loading",
                "worker_id": "node-1.w1",
            }
        ]
        assert last is not None
        assert last.event == "end"
        text = (await caller.http.get("/metrics")).text
        assert "rbee_model_load_seconds_count 1.0" in text
