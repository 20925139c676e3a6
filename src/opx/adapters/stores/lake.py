# SPDX-License-Identifier: Apache-2.0

"""Telemetry: the newest points in memory, the rest in a Delta table, read as one.

``brain`` adds what it reads from the write-ahead log and flushes every few seconds; until
a flush is on disk the log is where the points are kept. A query sees one immutable view:
the table's files and the points that are not in them, exchanged in one assignment once a
commit stands, so no point is seen twice or missed. A commit of the log that is added again
(after a restart) is known by its seq and changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import duckdb
import numpy as np
from deltalake.exceptions import DeltaError

from opx.adapters.stores import files
from opx.adapters.stores.delta import PointTable
from opx.adapters.stores.wal.series import SeriesLog
from opx.core.base import canonical
from opx.core.base.reads import Stat
from opx.core.base.time import Ms, Window, to_wire
from opx.core.ingest.signals import MetricBatch, Series
from opx.engine.ports import Bucket, MetricQuery
from opx.errors import BadInput, Unavailable

T = TypeVar("T")
Files = tuple[tuple[str, str], ...]

TIDY_EVERY = 60
"""Commits of the table."""
MAX_TAIL = 5_000_000
"""Points in memory, 20 bytes each."""
MERGE_BELOW = 4096
MAX_BUCKETS = 100_000
_DUCKDB: dict[str, Any] = {
    "memory_limit": "256MB",
    "threads": 2,
    "temp_directory": "",  # nothing is spilled to disk
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
}
_ZERO_WHEN_EMPTY = (Stat.COUNT, Stat.SUM)
_TAIL = "SELECT ts, value FROM tail"
_FILES = """
    SELECT ts, value FROM read_parquet($files, hive_partitioning = false)
    WHERE sid IN ({sids}) AND ts >= $start AND ts < $end UNION ALL """
_QUERY = """
    SELECT (ts - $start) // $step AS bucket, CAST({stat}(value) AS DOUBLE) AS value
    FROM ({points}) GROUP BY bucket"""
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Part:
    """The points of one commit of the log, or of several: ``seq`` is the newest."""

    seq: int
    points: MetricBatch


@dataclass(frozen=True, slots=True)
class _View:
    """``moving``: on its way to disk. ``tail``: still growing, at its end only."""

    files: Files
    moving: tuple[_Part, ...]
    tail: list[_Part]

    def parts(self) -> tuple[_Part, ...]:
        return (*self.moving, *self.tail)


class Lake:
    """``Telemetry`` in ``folder``. ``Conflict`` while another process has it open."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = files.lock(folder / "lock")
        self._table = PointTable(folder / "points")
        self._series_log = SeriesLog(folder / "series.log")
        self._sids: dict[tuple[str, bytes], set[int]] = {}
        for one in self._series_log.series.values():
            self._learn(one)
        self._fresh: dict[int, Series] = {}
        self._view = _View(self._table.files, (), [])
        self._committed = self._last = self._table.committed
        self._held = 0  # points in memory
        self._commits = 0  # of the table since it was tidied
        self._flushing = asyncio.Lock()
        self._flusher = ThreadPoolExecutor(1, thread_name_prefix="lake-flush")
        self._querying = asyncio.Semaphore(2)
        self._reader = _Reader()

    def add(self, seq: int, series: Sequence[Series], points: MetricBatch | None) -> None:
        """``Unavailable`` when memory is full of points that cannot be flushed."""
        tail = self._view.tail
        for one in series:
            if one.sid not in self._series_log.series:
                self._fresh[one.sid] = one
                self._learn(one)
        if seq <= self._last:
            return
        if points is not None and self._held > MAX_TAIL:
            raise Unavailable("more points wait for the disk than memory may hold")
        self._last = seq
        if points is None:
            return
        self._held += len(points)
        if tail and len(tail[-1].points) + len(points) < MERGE_BELOW:
            tail[-1] = _Part(seq, _joined([tail[-1].points, points]))
        else:
            tail.append(_Part(seq, points))

    def committed(self) -> int:
        return self._committed

    async def flush(self) -> int:
        """``Unavailable`` when the disk does not take it: nothing is lost, flush again."""
        async with self._flushing:
            through, before = self._last, self._view
            parts, series = before.parts(), tuple(self._fresh.values())
            self._view = _View(before.files, parts, [])
            await self._in_flusher(self._write, through, parts, series)
            for one in series:
                self._fresh.pop(one.sid, None)
            self._view = _View(self._table.files, (), self._view.tail)
            self._held -= sum(len(part.points) for part in parts)
            self._committed = through
            if self._commits >= TIDY_EVERY:
                self._commits = 0
                await self._tidy()
            return through

    async def query(self, query: MetricQuery) -> list[Bucket]:
        """``BadInput`` for more than ``MAX_BUCKETS``; no such series is all empty buckets."""
        window = query.window
        if query.step < 1 or (window.end - window.start) / query.step > MAX_BUCKETS:
            raise BadInput(f"a query has 1 to {MAX_BUCKETS} buckets")
        sids = sorted(self._sids.get((query.metric, canonical.dumps(query.labels)), ()))
        found: dict[int, float] = {}
        if sids:
            async with self._querying:
                view = self._view
                parts = view.parts()
                found = await asyncio.to_thread(self._reader.read, query, sids, view.files, parts)
        empty = 0.0 if query.stat in _ZERO_WHEN_EMPTY else None
        starts = range(window.start, window.end, query.step)
        return [Bucket(at, found.get(number, empty)) for number, at in enumerate(starts)]

    async def forget(self, before: Ms) -> int:
        """``Unavailable`` when the disk does not take it: try again."""
        async with self._flushing:
            await self._in_flusher(self._table.refresh)
            days: int = await self._in_flusher(self._table.forget, before)
            if days:
                await self._tidy()
            self._view = _View(self._table.files, self._view.moving, self._view.tail)
            return days

    async def close(self) -> None:
        """What is not flushed stays in the write-ahead log."""
        await asyncio.to_thread(self._flusher.shutdown)
        self._reader.close()
        self._series_log.close()
        os.close(self._lock)

    def _learn(self, one: Series) -> None:
        self._sids.setdefault((one.metric, canonical.dumps(one.labels)), set()).add(one.sid)

    async def _in_flusher(self, call: Callable[..., T], *args: Any) -> T:
        try:
            loop = asyncio.get_running_loop()
            result: T = await loop.run_in_executor(self._flusher, call, *args)
        except (DeltaError, OSError) as error:
            raise Unavailable(f"telemetry cannot be written: {error}") from error
        return result

    async def _tidy(self) -> None:
        try:
            await self._in_flusher(self._table.tidy)
        except Unavailable as error:  # what was flushed is safe: try again in a while
            log.warning("the telemetry table was not tidied: %s", error)
        else:
            self._view = _View(self._table.files, self._view.moving, self._view.tail)

    # ------------------------------------------------------------ in the flusher's thread

    def _write(self, through: int, parts: tuple[_Part, ...], series: tuple[Series, ...]) -> None:
        """Series first, then the points with their seq: what an earlier try, or one that
        was cancelled, has brought to disk already is left out."""
        self._table.refresh()
        self._define(through, series)
        left = [part for part in parts if part.seq > self._table.committed]
        if left:
            self._table.append(through, [part.points for part in left])
            self._commits += 1

    def _define(self, seq: int, series: tuple[Series, ...]) -> None:
        new = [one for one in series if one.sid not in self._series_log.series]
        if not new:
            return
        try:
            self._series_log.append(seq, 0, new)
        except OSError:
            self._series_log.undo()
            raise
        self._series_log.keep(seq, new)


def _joined(batches: Sequence[MetricBatch]) -> MetricBatch:
    return MetricBatch(
        sid=np.concatenate([batch.sid for batch in batches]),
        at=np.concatenate([batch.at for batch in batches]),
        value=np.concatenate([batch.value for batch in batches]),
    )


class _Reader:
    """DuckDB over the files and the parts of a view. Opened when first asked."""

    def __init__(self) -> None:
        self._opening = threading.Lock()
        self._database: duckdb.DuckDBPyConnection | None = None

    def read(
        self, query: MetricQuery, sids: list[int], there: Files, parts: tuple[_Part, ...]
    ) -> dict[int, float]:
        """The value of each bucket that has one, by its number."""
        window = query.window
        first, last = _day(window.start), _day(window.end - 1)
        names = [path for day, path in there if first <= day <= last]
        points = (_FILES.format(sids=", ".join(map(str, sids))) if names else "") + _TAIL
        values: dict[str, object] = {"start": window.start, "step": query.step}
        if names:
            values |= {"files": names, "end": window.end}
        cursor = self._open().cursor()
        try:
            cursor.register("tail", _within(parts, sids, window))
            statement = _QUERY.format(stat=query.stat.value, points=points)
            rows = cursor.execute(statement, values).fetchall()
        except duckdb.Error as error:
            raise Unavailable(f"telemetry cannot be read: {error}") from error
        finally:
            cursor.close()
        return dict(rows)

    def close(self) -> None:
        if self._database is not None:
            self._database.close()

    def _open(self) -> duckdb.DuckDBPyConnection:
        with self._opening:
            if self._database is None:
                self._database = duckdb.connect(config=_DUCKDB)
            return self._database


def _day(at: Ms) -> str:
    return to_wire(at)[:10]


def _within(
    parts: tuple[_Part, ...], sids: list[int], window: Window
) -> dict[str, np.ndarray[Any, Any]]:
    """The points of these series in the window that are not on disk yet."""
    times, values = [np.empty(0, np.int64)], [np.empty(0)]
    for part in parts:
        points = part.points
        mine = np.isin(points.sid, sids) & (points.at >= window.start) & (points.at < window.end)
        times.append(points.at[mine])
        values.append(points.value[mine])
    return {"ts": np.concatenate(times), "value": np.concatenate(values)}
