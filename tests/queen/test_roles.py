"""Who may do what at the queen, and what nobody is told."""

from __future__ import annotations

from rbee_agent.settings.config import QueenSettings
from rbee_agent.testing.queen import InProcessQueen
from rbee_agent.testing.worker import FakeWorker


def code(reply) -> str:
    return reply.json()["error"]["code"]


async def test_roles_are_asked(places, call):
    """A configured token closes the door; each role opens its own routes only."""
    token = "0123456789abcdef0123"
    async with InProcessQueen(places, settings=QueenSettings(token=token)) as queen:
        caller = call(queen)
        assert (await caller.http.get("/health")).status_code == 200
        assert code(await caller.http.get("/v2/tasks")) == "MISSING_TOKEN"
        admin = {"Authorization": f"Bearer {token}"}
        made = await caller.http.post(
            "/v2/keys", json={"name": "reader", "roles": ["read"]}, headers=admin
        )
        assert made.status_code == 201
        reader = {"Authorization": f"Bearer {made.json()['token']}"}
        assert (await caller.http.get("/v2/tasks", headers=reader)).status_code == 200
        body = {"model": "demo", "prompt": "x"}
        refused = await caller.http.post("/v2/tasks", json=body, headers=reader)
        assert code(refused) == "FORBIDDEN"
        assert code(await caller.http.get("/v2/keys", headers=reader)) == "FORBIDDEN"
        listed = await caller.http.get("/v2/keys", headers=admin)
        assert made.json()["token"] not in listed.text
        await caller.http.aclose()


async def test_a_task_is_read_by_its_owner_only(places, hive, call):
    """Another key's task is not there for a submitter."""
    token = "0123456789abcdef0123"
    async with InProcessQueen(places, settings=QueenSettings(token=token)) as queen:
        caller = call(queen)
        admin = {"Authorization": f"Bearer {token}"}
        await hive.add(FakeWorker("w1"))
        await caller.http.post("/v2/nodes/register", json=hive.registration().dump(), headers=admin)
        keys = []
        for name in ("ann", "ben"):
            made = await caller.http.post(
                "/v2/keys", json={"name": name, "roles": ["submit"]}, headers=admin
            )
            keys.append({"Authorization": f"Bearer {made.json()['token']}"})
        body = {"model": "demo", "prompt": "x", "max_tokens": 2}
        job = (await caller.http.post("/v2/tasks", json=body, headers=keys[0])).json()["job_id"]
        for path in ("", "/events", "/explain"):
            mine = await caller.http.get(f"/v2/tasks/{job}{path}", headers=keys[0])
            other = await caller.http.get(f"/v2/tasks/{job}{path}", headers=keys[1])
            assert (mine.status_code, other.status_code) == (200, 404)
        assert (await caller.http.get("/v2/tasks", headers=keys[1])).json()["tasks"] == []
        outside = {**body, "model": "file:/etc/passwd"}
        refused = await caller.http.post("/v2/tasks", json=outside, headers=keys[0])
        assert code(refused) == "FORBIDDEN"
        await caller.http.aclose()


async def test_web_pages_are_refused(caller):
    """A foreign Host or Origin does not reach the queen."""
    for headers in ({"Host": "evil.example"}, {"Origin": "https://evil.example"}):
        reply = await caller.http.get("/v2/tasks", headers=headers)
        assert (reply.status_code, code(reply)) == (403, "FORBIDDEN")


async def test_clients_never_see_an_address(caller, hive):
    """Neither a worker's URL nor a token stands in any answer or event."""
    worker = await hive.add(FakeWorker("w1"))
    await caller.register(hive)
    job = await caller.submit()
    await caller.events(job["job_id"], verbose=True)
    for path in ("/v2/workers", "/v2/nodes", "/v2/pools", "/v2/tasks", "/v2/deployments"):
        text = (await caller.http.get(path)).text
        assert worker.url not in text
        assert worker.token not in text
        assert hive.token not in text
    async with caller.http.stream("GET", "/v2/events") as reply:
        async for chunk in reply.aiter_text():
            assert worker.token not in chunk
            assert worker.url not in chunk
            break
