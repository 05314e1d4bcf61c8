"""What any store must do; SQLite is the first to be held to it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator

import pytest

from rbee_agent.errors import Refused, Unavailable
from rbee_agent.store.base import Ending, Store, TaskRecord
from rbee_agent.store.sqlite import SqliteStore, migrations


def record(job_id: str, **changes) -> TaskRecord:
    fields = {
        "job_id": job_id,
        "body_sha256": "h",
        "owner": "o",
        "state": "queued",
        "model": "m",
        "session_id": None,
        "created_at": 1.0,
        "request": "{}",
        "info": f'{{"job_id":"{job_id}"}}',
    }
    return TaskRecord(**{**fields, **changes})


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "queen.db"


@pytest.fixture
async def store(path) -> AsyncIterator[Store]:
    made = await SqliteStore.open(path)
    yield made
    await made.close()


async def test_a_task_is_there_after_a_crash(store, path):
    """What add_task answered is on the disk, whoever looks and without any close."""
    assert await store.add_task(record("a"))
    with sqlite3.connect(path) as other:
        assert other.execute("SELECT job_id FROM tasks").fetchall() == [("a",)]


async def test_an_id_is_given_once(store):
    """A second task of the same id is refused and changes nothing."""
    assert await store.add_task(record("a", owner="first"))
    assert not await store.add_task(record("a", owner="second"))
    assert (await store.task("a")).owner == "first"


async def test_one_duplicate_does_not_spoil_its_group(store):
    """Writes that are committed together succeed and fail each for itself."""
    results = await asyncio.gather(
        *(store.add_task(record(name)) for name in ["a", "b", "a", "c", "b"])
    )
    assert results == [True, True, False, True, False]


async def test_ended_tasks_keep_their_frames(store):
    """The end is written with everything that belongs to it, and closes the task."""
    await store.add_task(record("a"))
    await store.add_task(record("b", created_at=2.0))
    await store.end_task("a", Ending("done", 9.0, '{"x":1}', '{"why":1}', b"zip"))
    ended = await store.task("a")
    assert (ended.state, ended.ended_at, ended.info) == ("done", 9.0, '{"x":1}')
    assert (ended.decision, ended.frames) == ('{"why":1}', b"zip")
    assert [r.job_id for r in await store.open_tasks()] == ["b"]


async def test_listing_filters_and_pages(store):
    """Newest first; every filter narrows; `before` goes on behind a page."""
    for number in range(5):
        await store.add_task(
            record(
                f"t{number}",
                created_at=float(number),
                model="m" if number % 2 else "n",
                owner=f"o{number % 2}",
                session_id="s" if number == 3 else None,
            )
        )
    ids = [info[11:13] for info in await store.task_infos(limit=3)]
    assert ids == ["t4", "t3", "t2"]
    assert len(await store.task_infos(limit=9, model="n")) == 3
    assert len(await store.task_infos(limit=9, owner="o1")) == 2
    assert len(await store.task_infos(limit=9, session_id="s")) == 1
    assert len(await store.task_infos(limit=9, state="done")) == 0
    assert [i[11:13] for i in await store.task_infos(limit=9, before=2.0)] == ["t1", "t0"]


async def test_retention_forgets_ended_tasks_only(store):
    """What is open stays, however old it is."""
    for name in ("old", "new", "open"):
        await store.add_task(record(name))
    await store.end_task("old", Ending("done", 10.0, "{}"))
    await store.end_task("new", Ending("done", 20.0, "{}"))
    assert await store.forget_tasks(15.0) == 1
    assert await store.task("old") is None
    assert await store.task("new") is not None
    assert await store.task("open") is not None


async def test_documents_by_kind(store):
    """A document is replaced under its id; kinds do not mix; dropping twice is no error."""
    await store.put("node", "a", "1")
    await store.put("node", "a", "2")
    await store.put("key", "a", "3")
    assert await store.documents("node") == {"a": "2"}
    await store.delete("node", "a")
    await store.delete("node", "a")
    assert await store.documents("node") == {}
    assert await store.documents("key") == {"a": "3"}


async def test_it_survives_reopening(path):
    """A second open finds the schema up to date and the data as it was."""
    first = await SqliteStore.open(path)
    await first.add_task(record("a"))
    await first.close()
    second = await SqliteStore.open(path)
    assert await second.task("a") is not None
    await second.close()


async def test_the_file_is_private(store, path):
    """Nobody else may read tasks and keys."""
    assert path.stat().st_mode & 0o077 == 0
    assert path.parent.stat().st_mode & 0o077 == 0


async def test_a_newer_schema_is_refused_by_name(path):
    """A queen that is too old says so and leaves the file alone."""
    await (await SqliteStore.open(path)).close()
    with sqlite3.connect(path) as other:
        other.execute("PRAGMA user_version = 999")
    with pytest.raises(Refused, match="newer rbee"):
        await SqliteStore.open(path)


async def test_no_database_is_refused_by_name(path):
    """A file of something else is not overwritten."""
    path.parent.mkdir()
    path.write_bytes(b"this is a letter, not a database" * 100)
    with pytest.raises(Refused, match="no database of rbee"):
        await SqliteStore.open(path)
    assert path.read_bytes().startswith(b"this is a letter")


async def test_a_locked_store_is_a_503_and_loses_nothing(store, path, monkeypatch):
    """While another process holds the file, writes are refused; afterwards they go on."""
    store._writer.execute("PRAGMA busy_timeout = 50")
    with sqlite3.connect(path, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable) as caught:
            await store.add_task(record("a"))
        assert caught.value.code == "STORE_UNAVAILABLE"
        assert caught.value.http_status == 503
        other.execute("ROLLBACK")
    assert await store.add_task(record("a"))


async def test_a_full_disk_is_a_503_and_loses_nothing(store):
    """A full database refuses new tasks whole; with room again it takes them."""
    await store.add_task(record("a"))
    pages = store._writer.execute("PRAGMA page_count").fetchone()[0]
    store._writer.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(Unavailable, match="full"):
        await store.add_task(record("b", request="x" * 100_000))
    assert await store.task("b") is None
    store._writer.execute("PRAGMA max_page_count = 1000000")
    assert await store.add_task(record("b", request="x" * 100_000))


def test_migrations_are_numbered_without_gaps():
    """The scripts are package data, found in order."""
    numbers = [number for number, _ in migrations()]
    assert numbers == list(range(1, len(numbers) + 1))
