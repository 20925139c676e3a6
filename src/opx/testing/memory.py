# SPDX-License-Identifier: Apache-2.0

"""Fakes of the storage ports, in memory: for the tests of whatever stands on them.

Each passes the contract suite its real adapter passes (``opx.testing.contracts``) and is
as strict: the same errors, the same indexed fields. Nothing here survives the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import heapq
import operator
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import numpy as np

from opx.core.base.metrics import LOOK_BACK, PERCENTILES, Chooser, MetricAnswer, MetricQuery
from opx.core.base.reads import Stat
from opx.core.base.time import DAY, SECOND, Ms
from opx.core.ingest import identity
from opx.core.ingest.signals import MetricBatch, Series
from opx.engine import records
from opx.engine.ports import Batch, Chunk, Clock, Entry, ReadTx, Where, WriteTx
from opx.errors import Conflict, Unavailable

R = TypeVar("R")
T = TypeVar("T")
Rows = dict[type, dict[Any, Any]]


class ManualClock:
    """Time that passes only when told to; entropy that repeats from its ``seed``."""

    def __init__(self, now: Ms = 1_767_225_600_000, seed: int = 0) -> None:
        self._now = now
        self._seed = seed
        self._drawn = 0
        self._sleepers: list[tuple[Ms, int, asyncio.Future[None]]] = []
        self._slept = 0

    def now(self) -> Ms:
        return self._now

    def entropy(self, size: int) -> bytes:
        self._drawn += 1
        return hashlib.shake_256(f"{self._seed}/{self._drawn}".encode()).digest(size)

    async def sleep(self, span: Ms) -> None:
        if span <= 0:
            await asyncio.sleep(0)
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._slept += 1
        heapq.heappush(self._sleepers, (self._now + span, self._slept, woken))
        await woken

    async def advance(self, span: Ms) -> None:
        """Let ``span`` pass: wake sleepers in order and let everybody run after each."""
        until = self._now + span
        await _let_run()
        while self._sleepers and self._sleepers[0][0] <= until:
            self._now, _, woken = heapq.heappop(self._sleepers)
            if not woken.done():
                woken.set_result(None)
            await _let_run()
        self._now = until
        await _let_run()


async def _let_run() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


# ---------------------------------------------------------------- operational store

_OPS: dict[str, Callable[[Any, Any], bool]] = {
    "eq": operator.eq,
    "in": lambda value, options: value in options,
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
}


def _holds(row: object, where: Where) -> bool:
    value = operator.attrgetter(where.field)(row)
    if where.op in ("null", "not_null"):
        return (value is None) == (where.op == "null")
    return value is not None and _OPS[where.op](value, where.value)


class _MemoryTx:
    """Works on a copy of what it changes; the store takes ``rows`` over at the end."""

    def __init__(self, rows: Rows, journal: tuple[Entry, ...]) -> None:
        self.rows = dict(rows)
        self.journal = journal
        self._copied: set[type] = set()

    def get(self, kind: type[R], id: str) -> R | None:
        records.of(kind).check("id")
        return self.rows.get(kind, {}).get(id)

    def count(self, kind: type, *where: Where) -> int:
        return len(self.find(kind, *where))

    def find(
        self, kind: type[R], *where: Where, order: str = "", limit: int | None = None
    ) -> list[R]:
        record = records.of(kind)
        order = order or record.key
        by = order.removeprefix("-")
        for path in (by, *(one.field for one in where)):
            record.check(path)
        every = self.journal if kind is Entry else self.rows.get(kind, {}).values()
        found: list[Any] = [row for row in every if all(_holds(row, one) for one in where)]

        def place(row: object) -> tuple[bool, Any, Any]:
            value = operator.attrgetter(by)(row)
            return (value is not None, 0 if value is None else value, getattr(row, record.key))

        found.sort(key=place, reverse=order.startswith("-"))
        return found[:limit]

    def add(self, *rows: object) -> int:
        new = 0
        for row in rows:
            kept = self._kept(row)
            new += row.id not in kept  # type: ignore[attr-defined]
            kept.setdefault(row.id, row)  # type: ignore[attr-defined]
        return new

    def save(self, *rows: object) -> None:
        for row in rows:
            kept = self._kept(row)
            record = records.of(type(row))
            if not record.versioned:
                raise ValueError(f"{record.kind.__name__} has no version: add or set it")
            id, version = row.id, row.version  # type: ignore[attr-defined]
            stands = kept[id].version if id in kept else 0
            if version != stands + 1:
                raise Conflict(f"{record.kind.__name__} {id} was changed by somebody else")
            kept[id] = row

    def set(self, *rows: object) -> None:
        for row in rows:
            self._kept(row)[row.id] = row  # type: ignore[attr-defined]

    def drop(self, kind: type, *where: Where) -> int:
        if not where or not records.of(kind).droppable:
            raise ValueError(f"not every {kind.__name__} can be dropped")
        going: list[Any] = self.find(kind, *where)
        for row in going:
            del self._own(kind)[row.id]
        return len(going)

    def append(self, *entries: Entry) -> None:
        first = len(self.journal) + 1
        numbered = (replace(entry, seq=first + n) for n, entry in enumerate(entries))
        self.journal = (*self.journal, *numbered)

    def _kept(self, row: object) -> dict[Any, Any]:
        kind = type(row)
        if records.of(kind).kind is Entry:
            raise ValueError("the journal is only appended to")
        return self._own(kind)

    def _own(self, kind: type) -> dict[Any, Any]:
        if kind not in self._copied:
            self.rows[kind] = dict(self.rows.get(kind, {}))
            self._copied.add(kind)
        return self.rows[kind]


class MemoryStore:
    """``Store``. The wait of ``changed`` is the event loop's, so it may be virtual."""

    def __init__(self) -> None:
        self._rows: Rows = {}
        self._journal: tuple[Entry, ...] = ()
        self._commits = 0
        self._committed = asyncio.Event()
        self._seen: WeakKeyDictionary[asyncio.Task[Any], int] = WeakKeyDictionary()

    async def read(self, fn: Callable[[ReadTx], T]) -> T:
        self._seen.setdefault(_task(), self._commits)
        return fn(_MemoryTx(self._rows, self._journal))

    async def write(self, fn: Callable[[WriteTx], T]) -> T:
        self._seen.setdefault(_task(), self._commits)
        tx = _MemoryTx(self._rows, self._journal)
        result = fn(tx)
        self._rows, self._journal = tx.rows, tx.journal
        self._commits += 1
        self._committed.set()
        self._committed = asyncio.Event()
        return result

    async def changed(self, within: Ms) -> bool:
        """True at once when somebody has committed since this task last asked."""
        seen = self._seen.setdefault(_task(), self._commits)
        if self._commits == seen:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(within / SECOND):
                    await self._committed.wait()
        self._seen[_task()] = self._commits
        return self._commits != seen

    async def close(self) -> None:
        self._rows, self._journal = {}, ()


def _task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task


# ---------------------------------------------------------------- write-ahead log


class MemoryLog:
    """``Appender`` and ``Tail`` in one. Set ``full`` to have it refuse, as a full disk does."""

    def __init__(self, clock: Clock, floor: int = 0) -> None:
        self.full = False
        self._clock = clock
        self._seq = floor
        self._chunks: list[Chunk] = []
        self._series: dict[int, Series] = {}
        self._news = asyncio.Event()
        self._news.set()

    async def append(self, batch: Batch) -> int:
        if self.full:
            raise Unavailable("the log cannot be written")
        new = tuple(series for series in batch.series if series.sid not in self._series)
        if batch.points is not None:
            named = {*self._series, *(series.sid for series in batch.series)}
            if not named.issuperset(batch.points.sid.tolist()):
                raise Unavailable("a series of these points is not in the log: send it along")
        self._series.update((series.sid, series) for series in new)
        self._seq += 1
        chunk = Chunk(
            seq=self._seq, at=self._clock.now(), series=new, points=batch.points, items=batch.items
        )
        self._chunks.append(chunk)
        self._news.set()
        return self._seq

    def series(self) -> Sequence[Series]:
        return [self._series[sid] for sid in sorted(self._series)]

    def read(self, after: int, limit: int) -> list[Chunk]:
        found = [chunk for chunk in self._chunks if chunk.seq > after][:limit]
        if not found:
            self._news.clear()
        return found

    async def changed(self, within: Ms) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within / SECOND):
                await self._news.wait()

    def drop(self, through: int) -> None:
        newest = self._chunks[-1:]
        self._chunks = [c for c in self._chunks[:-1] if c.seq > through] + newest

    async def close(self) -> None:
        self.full = True


# ---------------------------------------------------------------- telemetry

Point = tuple[Ms, float]

_STATS: dict[Stat, Callable[[list[float]], float]] = {
    Stat.COUNT: lambda values: float(len(values)),
    Stat.SUM: sum,
    Stat.AVG: lambda values: sum(values) / len(values),
    Stat.MIN: min,
    Stat.MAX: max,
    Stat.RATE: sum,
}


def _stat(stat: Stat, values: list[float]) -> float:
    """Of at least one value; between two neighbours a percentile is in proportion."""
    if stat in PERCENTILES:
        return float(np.quantile(values, PERCENTILES[stat]))
    return _STATS[stat](values)


def _grown(points: Iterable[Point]) -> list[Point]:
    """How much a counter grew since the point before, at each but the first."""
    pairs = pairwise(sorted(points))
    return [(at, now - before if now >= before else now) for (_, before), (at, now) in pairs]


@dataclass(slots=True)
class _Part:
    seq: int
    points: MetricBatch


class MemoryTelemetry:
    """``Telemetry`` whose disk is a number."""

    def __init__(self, committed: int = 0) -> None:
        self._committed = committed
        self._last = committed
        self._parts: list[_Part] = []
        self._series: dict[int, Series] = {}

    def add(self, seq: int, series: Sequence[Series], points: MetricBatch | None) -> None:
        self._series.update((one.sid, one) for one in series)
        if seq <= self._last:
            return
        self._last = seq
        if points is not None:
            self._parts.append(_Part(seq, points))

    async def flush(self) -> int:
        self._committed = self._last
        return self._committed

    def committed(self) -> int:
        return self._committed

    async def query(self, query: MetricQuery) -> MetricAnswer:
        query.starts()
        chooser = Chooser(query)
        for one in self._series.values():
            if one.metric == query.metric:
                chooser.offer(one.sid, identity.labels_of(one))
        start, rate = query.window.start, query.stat is Stat.RATE
        found: dict[tuple[int, int], list[float]] = defaultdict(list)
        points = self._points(start - LOOK_BACK * rate, query.window.end)
        for sid, group in chooser.chosen.items():
            for at, value in _grown(points[sid]) if rate else points[sid]:
                if at >= start:
                    found[group, (at - start) // query.step].append(value)
        values = {place: _stat(query.stat, of) for place, of in found.items()}
        if rate:
            values = {(g, n): grown / query.seconds(n) for (g, n), grown in values.items()}
        return chooser.answer(values)

    def _points(self, start: Ms, end: Ms) -> dict[int, list[Point]]:
        """Those from ``start`` before ``end``, by series."""
        found: dict[int, list[Point]] = defaultdict(list)
        for part in self._parts:
            mine = _those(part.points, (part.points.at >= start) & (part.points.at < end))
            rows = zip(mine.sid.tolist(), mine.at.tolist(), mine.value.tolist(), strict=True)
            for sid, at, value in rows:
                found[sid].append((at, value))
        return found

    async def tidy(self) -> bool:
        return False

    async def forget(self, before: Ms) -> int:
        end = before // DAY
        days = {int(at) // DAY for part in self._parts for at in part.points.at}
        for part in self._parts:
            part.points = _those(part.points, part.points.at >= end * DAY)
        return sum(day < end for day in days)

    async def close(self) -> None:
        self._parts = []


def _those(points: MetricBatch, which: np.ndarray[Any, Any]) -> MetricBatch:
    return MetricBatch(sid=points.sid[which], at=points.at[which], value=points.value[which])
