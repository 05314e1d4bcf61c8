"""After a restart: queued tasks wait again, running ones go on behind their last token."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from rbee_agent.contracts.tasks import TaskRequest, TaskState
from rbee_agent.errors import RbeeError
from rbee_agent.observe import logs
from rbee_agent.queen.stream import rebuilt
from rbee_agent.queen.task import Task
from rbee_agent.store.base import TaskRecord

if TYPE_CHECKING:
    from rbee_agent.queen.service import Queen


async def recover(queen: Queen) -> int:
    """Take up every task that was accepted and has not ended; how many they were."""
    records = await queen.store.open_tasks()
    queen.journals.sweep(record.job_id for record in records)
    for record in records:
        task = revive(record, queen)
        final = task.stream.last_frame()
        if final is not None:
            await _end_again(task, json.loads(final), queen)
            continue
        queen.tasks.accepted(task, again=True)
        if task.request.reconnect_grace_ms == 0 and not task.request.detach:
            # Its reader is gone with the queen before, and was given no time to come back.
            queen.abandon(task)
    if records:
        queen.feed.narrate(f"{len(records)} tasks of the queen before go on")
        logs.get("recovery").info("recovered", tasks=len(records))
    return len(records)


def revive(record: TaskRecord, queen: Queen) -> Task:
    """A task as its record and its journal tell of it."""
    request = TaskRequest.read_json(record.request).model_copy(update={"task_id": record.job_id})
    journal = queen.journals.of(record.job_id)
    lines = journal.lines()
    origins = origins_of(lines)
    origin, latest = (origins[0], origins[-1]) if origins else ({}, {})
    now, utc = queen.clock.monotonic(), queen.clock.utc()
    accepted = now - max(0.0, utc - record.created_at)
    task = Task(
        job_id=record.job_id,
        request=request,
        model=record.model,
        owner=record.owner,
        created_at=record.created_at,
        accepted=accepted,
        journal=journal,
        body=record.request,
        body_sha256=record.body_sha256,
        deadline=None if request.deadline_ms is None else accepted + request.deadline_ms / 1000,
        worker_id=latest.get("worker_id"),
        fingerprint=origin.get("fingerprint"),
        profile=origin.get("profile"),
        prompt_sha256=origin.get("prompt_sha256"),
        tokens_in=int(origin.get("tokens_in") or 0),
        started_at=origin.get("started_at"),
        resumed=int(latest.get("resumed") or 0),
    )
    if lines:
        task.stream = rebuilt(lines, started=task.started_frame())
    if task.has_output:
        task.state = TaskState.RUNNING
        task.placed = task.accepted
        task.resumed += 1
    return task


async def _end_again(task: Task, final: dict[str, Any], queen: Queen) -> None:
    """The former queen was killed between a stream's end and its writing down."""
    if final["type"] == "end":
        await queen.tasks.end_recovered(task, final)
    else:
        await queen.tasks.fail_recovered(
            task, RbeeError(str(final.get("message", "")), code=str(final.get("code", "INTERNAL")))
        )


def origins_of(lines: list[str]) -> list[dict[str, Any]]:
    """Who made a stream, in their order: each worker's first line in the journal."""
    return [json.loads(line) for line in lines if line.startswith('{"type":"origin"')]
