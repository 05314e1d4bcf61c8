"""The store in one SQLite file: WAL, synchronous FULL, one writer thread with group commit.

Writers put their statement into a queue and wait; the thread takes all that wait, runs them in one
transaction and commits once, so that a thousand tasks at a time cost one fsync and not a thousand.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import queue
import sqlite3
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from rbee_agent.errors import Refused, Unavailable
from rbee_agent.observe import logs
from rbee_agent.store.base import Ending, TaskRecord

GROUP_MAX = 2000
"""Most statements in one transaction, so that no waiter waits long."""
BUSY_TIMEOUT_MS = 5000
_COLUMNS = (
    "job_id, body_sha256, owner, state, model, session_id, created_at, "
    "request, info, ended_at, decision, frames"
)

_ADD_TASK = f"INSERT OR IGNORE INTO tasks ({_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)"  # noqa: S608
_ADD_TASKS = (
    f"INSERT OR IGNORE INTO tasks ({_COLUMNS}) SELECT "  # noqa: S608
    + ", ".join(f"value ->> {place}" for place in range(len(_COLUMNS.split(", "))))
    + " FROM json_each(?)"
)
"""Many new tasks in one statement: each statement gives the interpreter's lock away and must get
it back from a busy event loop, which costs more than the insert."""

Params = Sequence[Any]


@dataclass(slots=True)
class _Write:
    sql: str
    params: Params
    done: asyncio.Future[int]
    """Gets the number of rows changed."""


class SqliteStore:
    """See :class:`rbee_agent.store.base.Store`. Make it with :meth:`open`."""

    def __init__(self, path: Path, loop: asyncio.AbstractEventLoop) -> None:
        self._path = path
        self._loop = loop
        self._writes: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._reader = connect(path)
        self._reader_lock = threading.Lock()
        self._writer = connect(path)
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._closed = False

    @classmethod
    async def open(cls, path: Path) -> SqliteStore:
        """Open the file (0600; made where it is missing) and bring its schema up to date.

        Raises:
            Refused: the file is no database of ours, or of a newer rbee.
            Unavailable: the disk is full or the file may not be written.
        """
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            await asyncio.to_thread(_prepare, path)
            store = cls(path, asyncio.get_running_loop())
        except sqlite3.OperationalError as error:
            raise _unavailable(path, error) from error
        except sqlite3.DatabaseError as error:
            raise Refused(f"{path} is no database of rbee: {error}", code="CONFLICT") from error
        store._thread.start()
        return store

    async def close(self) -> None:
        """Write what is waiting and close both connections."""
        if not self._closed:
            self._closed = True
            self._writes.put(None)
            await asyncio.to_thread(self._thread.join)
            self._reader.close()

    async def add_task(self, record: TaskRecord) -> bool:
        """Keep a new task; False (and nothing written) where its id is taken."""
        changed = await self._write(
            _ADD_TASK,
            (
                record.job_id,
                record.body_sha256,
                record.owner,
                record.state,
                record.model,
                record.session_id,
                record.created_at,
                record.request,
                record.info,
                record.ended_at,
                record.decision,
                record.frames,
            ),
        )
        return changed == 1

    async def end_task(self, job_id: str, ending: Ending) -> None:
        """Write how a task ended."""
        await self._write(
            "UPDATE tasks SET state = ?, ended_at = ?, info = ?, decision = ?, frames = ? "
            "WHERE job_id = ?",
            (ending.state, ending.ended_at, ending.info, ending.decision, ending.frames, job_id),
        )

    async def task(self, job_id: str) -> TaskRecord | None:
        """One task, whole."""
        rows = await self._read(
            f"SELECT {_COLUMNS} FROM tasks WHERE job_id = ?",  # noqa: S608
            (job_id,),
        )
        return TaskRecord(*rows[0]) if rows else None

    async def task_infos(
        self,
        *,
        limit: int,
        state: str | None = None,
        model: str | None = None,
        owner: str | None = None,
        session_id: str | None = None,
        before: float | None = None,
    ) -> list[str]:
        """TaskInfo JSON of the newest tasks, newest first; `before` pages by creation time."""
        wanted = {"state": state, "model": model, "owner": owner, "session_id": session_id}
        terms = [f"{name} = ?" for name, value in wanted.items() if value is not None]
        params: list[Any] = [value for value in wanted.values() if value is not None]
        if before is not None:
            terms.append("created_at < ?")
            params.append(before)
        where = f"WHERE {' AND '.join(terms)} " if terms else ""
        rows = await self._read(
            f"SELECT info FROM tasks {where}ORDER BY created_at DESC LIMIT ?",  # noqa: S608
            (*params, limit),
        )
        return [row[0] for row in rows]

    async def open_tasks(self) -> list[TaskRecord]:
        """Tasks that were accepted and have not ended, oldest first."""
        rows = await self._read(
            f"SELECT {_COLUMNS} FROM tasks WHERE ended_at IS NULL ORDER BY created_at",  # noqa: S608
            (),
        )
        return [TaskRecord(*row) for row in rows]

    async def forget_tasks(self, ended_before: float) -> int:
        """Delete tasks whose retention is over; how many they were."""
        return await self._write("DELETE FROM tasks WHERE ended_at < ?", (ended_before,))

    async def put(self, kind: str, id: str, value: str) -> None:
        """Keep a document."""
        await self._write("INSERT OR REPLACE INTO documents VALUES (?, ?, ?)", (kind, id, value))

    async def delete(self, kind: str, id: str) -> None:
        """Drop a document; nothing happens where there is none."""
        await self._write("DELETE FROM documents WHERE kind = ? AND id = ?", (kind, id))

    async def documents(self, kind: str) -> dict[str, str]:
        """All documents of a kind, by id."""
        rows = await self._read("SELECT id, value FROM documents WHERE kind = ?", (kind,))
        return {row[0]: row[1] for row in rows}

    async def _write(self, sql: str, params: Params) -> int:
        if self._closed:
            raise Unavailable("the store is closed", code="STORE_UNAVAILABLE")
        done: asyncio.Future[int] = self._loop.create_future()
        self._writes.put(_Write(sql, params, done))
        return await done

    async def _read(self, sql: str, params: Params) -> list[tuple[Any, ...]]:
        def run() -> list[tuple[Any, ...]]:
            with self._reader_lock:
                return self._reader.execute(sql, params).fetchall()

        try:
            return await asyncio.to_thread(run)
        except sqlite3.Error as error:
            raise _unavailable(self._path, error) from error

    def _run(self) -> None:
        """The writer thread: one transaction for all that wait, again and again."""
        last = False
        while not last:
            item = self._writes.get()
            group: list[_Write] = []
            while item is not None:
                group.append(item)
                if len(group) == GROUP_MAX or self._writes.empty():
                    break
                item = self._writes.get()
            last = item is None
            if group:
                self._answer(group, *self._commit(group))
        self._writer.close()

    def _commit(self, group: list[_Write]) -> tuple[list[int], sqlite3.Error | None]:
        changed: list[int] = []
        try:
            self._writer.execute("BEGIN IMMEDIATE")
            if not self._add_together(group):
                for write in group:
                    changed.append(self._writer.execute(write.sql, write.params).rowcount)
            else:
                changed = [1] * len(group)
            self._writer.execute("COMMIT")
        except sqlite3.Error as error:
            # A full disk may have rolled back already; a second ROLLBACK then has nothing to do.
            with contextlib.suppress(sqlite3.Error):
                self._writer.execute("ROLLBACK")
            logs.get("store").error("write failed", problem=str(error), writes=len(group))
            return changed, error
        return changed, None

    def _add_together(self, group: list[_Write]) -> bool:
        """Insert a group of nothing but new tasks at once; False (and nothing done) otherwise."""
        if len(group) < 2 or any(write.sql is not _ADD_TASK for write in group):
            return False
        rows = json.dumps([write.params for write in group])
        if self._writer.execute(_ADD_TASKS, (rows,)).rowcount == len(group):
            return True
        # Some ids were taken: which ones is found out one by one.
        self._writer.execute("ROLLBACK")
        self._writer.execute("BEGIN IMMEDIATE")
        return False

    def _answer(self, group: list[_Write], changed: list[int], error: sqlite3.Error | None) -> None:
        def resolve() -> None:
            for place, write in enumerate(group):
                if write.done.done():
                    continue
                if error is not None:
                    write.done.set_exception(_unavailable(self._path, error))
                else:
                    write.done.set_result(changed[place])

        with contextlib.suppress(RuntimeError):  # the loop is gone: nobody waits any more
            self._loop.call_soon_threadsafe(resolve)


def connect(path: Path) -> sqlite3.Connection:
    """A connection with our pragmas; usable from any one thread at a time."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA wal_autocheckpoint = 4000")
    return connection


def migrations() -> list[tuple[int, str]]:
    """The numbered SQL scripts of this version: ``0001_initial.sql`` and so on."""
    folder = resources.files("rbee_agent.store") / "migrations"
    found = sorted(item.name for item in folder.iterdir() if item.name.endswith(".sql"))
    return [(int(name.split("_")[0]), (folder / name).read_text()) for name in found]


def _prepare(path: Path) -> None:
    path.touch(mode=0o600)
    with contextlib.closing(connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        scripts = migrations()
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        if version > scripts[-1][0]:
            raise Refused(
                f"{path} was written by a newer rbee (schema {version}, this one knows "
                f"{scripts[-1][0]}): run `rbee version` and update",
                code="VERSION_SKEW",
            )
        for number, script in scripts:
            if number > version:
                _migrate(connection, number, script)


def _migrate(connection: sqlite3.Connection, number: int, script: str) -> None:
    """Run one script and note its number, both or neither."""
    connection.executescript(
        f"BEGIN IMMEDIATE;\n{script}\nPRAGMA user_version = {number};\nCOMMIT;"
    )


def _unavailable(path: Path, error: sqlite3.Error) -> Unavailable:
    reason = str(error)
    if "full" in reason:
        reason = f"the disk of {path.parent} is full"
    elif "locked" in reason or "busy" in reason:
        reason = f"another process holds {path}"
    return Unavailable(
        f"the queen cannot write her store: {reason}",
        code="STORE_UNAVAILABLE",
        retry_after_ms=2000,
    )
