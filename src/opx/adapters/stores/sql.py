# SPDX-License-Identifier: Apache-2.0

"""The operational store on SQL: one writer, a few readers, whole records.

All writes of a process go through one thread, and the database admits one writer of all
processes at a time, so a write transaction sees the newest state and nothing changes
beneath it. A commit is on disk when ``write`` returns. ``changed`` lets the processes of
one data folder wake each other without a message between them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar, cast
from weakref import WeakKeyDictionary

import sqlalchemy as sa
from sqlalchemy import exc

from opx.adapters.stores import rows, sqlite
from opx.adapters.stores.stir import Stir, tell
from opx.adapters.stores.tables import column_name
from opx.core.base.time import SECOND, Ms
from opx.engine import records
from opx.engine.ports import Entry, ReadTx, Where, WriteTx
from opx.engine.records import Record
from opx.errors import Conflict, Damaged, Unavailable

R = TypeVar("R")
T = TypeVar("T")

READERS = 2
POLL_S = 0.05
"""How late a commit of another process may be noticed where the system does not tell of it."""

_COMPARED = {"eq": "=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
_TESTED = {"null": "IS NULL", "not_null": "IS NOT NULL"}


class SqlReadTx:
    """``ReadTx`` on one connection in one transaction. The SQL is written here, not built by
    SQLAlchemy: building it would cost more than running it."""

    mark = "?"

    def __init__(self, connection: sa.Connection) -> None:
        self.connection = connection

    def get(self, kind: type[R], id: str) -> R | None:
        found = self.find(kind, Where("id", "eq", id), limit=1)
        return found[0] if found else None

    def find(
        self, kind: type[R], *where: Where, order: str = "", limit: int | None = None
    ) -> list[R]:
        codec = rows.of(kind)
        record = codec.record
        values: list[object] = []
        conditions = [self._condition(record, one, values) for one in where]
        path = order.removeprefix("-") or record.key
        record.check(path)
        down = " DESC" if order.startswith("-") else ""
        places = dict.fromkeys((column_name(path), record.key))
        statement = f"SELECT {codec.selected} FROM {record.table}"
        statement += f" WHERE {' AND '.join(conditions)}" if conditions else ""
        statement += " ORDER BY " + ", ".join(place + down for place in places)
        if limit is not None:
            statement += f" LIMIT {self.mark}"
            values.append(limit)
        found = self.connection.exec_driver_sql(statement, tuple(values))
        return [codec.decode(*row) for row in found]

    def count(self, kind: type, *where: Where) -> int:
        record = rows.of(kind).record
        values: list[object] = []
        conditions = [self._condition(record, one, values) for one in where]
        statement = f"SELECT count(*) FROM {record.table}"
        statement += f" WHERE {' AND '.join(conditions)}" if conditions else ""
        found = self.connection.exec_driver_sql(statement, tuple(values)).scalar()
        return int(found or 0)

    def _condition(self, record: Record, where: Where, values: list[object]) -> str:
        """One condition; what it compares with is added to ``values``."""
        record.check(where.field)
        column = column_name(where.field)
        if where.op in _TESTED:
            return f"{column} {_TESTED[where.op]}"
        if where.op != "in":
            values.append(rows.plain(where.value))
            return f"{column} {_COMPARED[where.op]} {self.mark}"
        options = [rows.plain(option) for option in cast("Iterable[object]", where.value)]
        values += options
        return f"{column} IN ({', '.join([self.mark] * len(options))})" if options else "1 = 0"


class SqlWriteTx(SqlReadTx):
    """``WriteTx``. ``connection`` is for an adapter whose vendor must write in the same
    transaction; the engine does not know that it is there."""

    def __init__(self, connection: sa.Connection) -> None:
        super().__init__(connection)
        self._entries: list[Entry] = []

    def find(
        self, kind: type[R], *where: Where, order: str = "", limit: int | None = None
    ) -> list[R]:
        if kind is Entry:
            self.finish()
        return super().find(kind, *where, order=order, limit=limit)

    def add(self, *rows_: object) -> int:
        return sum(
            self._many(codec.insert_new(self.mark), [codec.values(row) for row in same])
            for codec, same in _by_kind(rows_)
        )

    def save(self, *rows_: object) -> None:
        for codec, same in _by_kind(rows_):
            if not codec.record.versioned:
                raise ValueError(f"{codec.record.kind.__name__} has no version: add or set it")
            # One row after the other: the same record may be saved twice in one call.
            for row in same:
                self._swap(codec, row)

    def set(self, *rows_: object) -> None:
        for codec, same in _by_kind(rows_):
            self._many(codec.upsert(self.mark), [codec.values(row) for row in same])

    def drop(self, kind: type, *where: Where) -> int:
        record = records.of(kind)
        if not where or not record.droppable:
            raise ValueError(f"not every {kind.__name__} can be dropped")
        values: list[object] = []
        conditions = " AND ".join(self._condition(record, one, values) for one in where)
        statement = f"DELETE FROM {record.table} WHERE {conditions}"
        return self.connection.exec_driver_sql(statement, tuple(values)).rowcount

    def append(self, *entries: Entry) -> None:
        self._entries += entries

    def finish(self) -> None:
        """Write the entries that were appended: all in one go, they are many."""
        entries, self._entries = self._entries, []
        if entries:
            codec = rows.of(Entry)
            self._many(codec.insert(self.mark), [codec.values(entry) for entry in entries])

    def _swap(self, codec: rows.Codec, row: Any) -> None:
        values = codec.values(row)
        if row.version == 1:
            done = self._many(codec.insert_new(self.mark), [values])
        else:
            before = (*values, row.id, row.version - 1)
            done = self._many(codec.replace_version(self.mark), [before])
        if not done:
            raise Conflict(f"{codec.record.kind.__name__} {row.id} was changed by somebody else")

    def _many(self, statement: str, values: list[tuple[object, ...]]) -> int:
        return self.connection.exec_driver_sql(statement, values).rowcount


def _by_kind(rows_: Sequence[object]) -> Iterator[tuple[rows.Codec, list[object]]]:
    """The rows of each type, in the order the types first come."""
    grouped: dict[type, list[object]] = defaultdict(list)
    for row in rows_:
        grouped[type(row)].append(row)
    for kind, same in grouped.items():
        if records.of(kind).kind is Entry:
            raise ValueError("the journal is only appended to")
        yield rows.of(kind), same


class SqlStore:
    """``Store`` on the database at ``url``, which must be migrated. For one event loop."""

    def __init__(self, url: str) -> None:
        self._engine = sqlite.engine(url, connections=READERS + 1)
        self._watcher = sqlite.Watcher(url)
        self._folder = sqlite.folder(url)
        self._stir: Stir | None = None
        with contextlib.suppress(OSError):  # then it is looked every POLL_S, and no sooner
            self._stir = Stir(self._folder)
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="store-writer")
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="store-reader")
        self._commits = 0
        self._seen: WeakKeyDictionary[asyncio.Task[Any], int] = WeakKeyDictionary()
        self._waiting: set[asyncio.Future[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    async def read(self, fn: Callable[[ReadTx], T]) -> T:
        """``Unavailable`` when the database cannot be read now."""
        return await self._run(self._readers, self._read, fn)

    async def write(self, fn: Callable[[WriteTx], T]) -> T:
        """``Unavailable`` when it cannot be written: locked for long, or the disk is full.
        A caller that is cancelled does not learn whether it happened."""
        result: T = await self._run(self._writer, self._write, fn)
        self._look()
        return result

    async def changed(self, within: Ms) -> bool:
        """True at once when somebody has committed since this task last asked (or, at
        first, since it first used the store), so nothing falls between two calls."""
        if self._closed:
            raise Unavailable("the store is closed")
        self._look()
        task = _task()
        seen = self._seen.setdefault(task, self._commits)
        if self._commits == seen:
            await self._wait(within)
        self._seen[task] = self._commits
        return self._commits != seen

    async def close(self) -> None:
        """Finish what was begun, then close. Whoever waits for a change is let go."""
        if self._closed:
            return
        self._closed = True
        self._calm()
        self._wake()
        for pool in (self._writer, self._readers):
            await asyncio.to_thread(pool.shutdown)
        self._engine.dispose()
        self._watcher.close()
        if self._stir is not None:
            self._stir.close()

    async def _run(self, pool: ThreadPoolExecutor, call: Callable[..., T], *args: Any) -> T:
        if self._closed:
            raise Unavailable("the store is closed")
        if _task() not in self._seen:
            self._look()
            self._seen[_task()] = self._commits
        loop = asyncio.get_running_loop()
        result: T = await loop.run_in_executor(pool, call, *args)
        return result

    def _read(self, fn: Callable[[ReadTx], T]) -> T:
        with _translated(), self._engine.begin() as connection:
            return fn(SqlReadTx(connection))

    def _write(self, fn: Callable[[WriteTx], T]) -> T:
        with _translated(), self._engine.connect() as connection:
            connection = connection.execution_options(**{sqlite.WRITES: True})
            with connection.begin():
                tx = SqlWriteTx(connection)
                result = fn(tx)
                tx.finish()
        tell(self._folder)
        return result

    def _look(self) -> None:
        if not self._closed and self._watcher.moved():
            self._commits += 1
            self._wake()

    async def _wait(self, within: Ms) -> None:
        woken = asyncio.get_running_loop().create_future()
        self._waiting.add(woken)
        self._heed()
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(within / SECOND):
                    await woken
        finally:
            self._waiting.discard(woken)

    def _heed(self) -> None:
        """Look when somebody says that he has committed, or else in a while."""
        loop = asyncio.get_running_loop()
        if self._stir is not None:
            loop.add_reader(self._stir.descriptor, self._stirred, self._stir)
        elif self._timer is None:  # one chain of timers, however many wait
            self._timer = loop.call_later(POLL_S, self._tick)

    def _stirred(self, stir: Stir) -> None:
        stir.settle()
        self._look()

    def _tick(self) -> None:
        self._timer = None
        self._look()
        if self._waiting:
            self._heed()

    def _calm(self) -> None:
        """Look no more, whatever happens."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._stir is not None:
            asyncio.get_running_loop().remove_reader(self._stir.descriptor)

    def _wake(self) -> None:
        for woken in self._waiting:
            if not woken.done():
                woken.set_result(None)
        self._waiting.clear()


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except exc.IntegrityError as error:
        raise Conflict(f"the database refuses it: {error.orig}") from error
    except exc.OperationalError as error:  # its own text has the statement with what is in it
        raise Unavailable(f"the database does not answer: {error.orig}") from error
    except exc.TimeoutError as error:
        raise Unavailable("the database does not answer: every connection is taken") from error
    except exc.DatabaseError as error:
        if type(error) is not exc.DatabaseError:  # a mistake of ours, not of the file
            raise
        raise Damaged(f"the database is damaged: {error.orig}") from error


def _task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task
