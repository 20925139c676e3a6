# SPDX-License-Identifier: Apache-2.0

"""Telemetry: the newest points in memory, the rest in a Delta table, read as one.

``brain`` adds what it reads from the write-ahead log and flushes every few seconds; until
a flush is on disk the log is where the points are kept. A query sees one immutable view:
the table's files and the points that are not in them, exchanged in one assignment once a
commit stands, so no point is seen twice or missed. A commit of the log that is added again
(after a restart) is known by its seq and changes nothing. Merging happens beside all that, a
piece at a time; only the exchange of the files has its turn with the flushes.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import duckdb
import numpy as np
from deltalake.exceptions import DeltaError

from opx.adapters.stores import files
from opx.adapters.stores.telemetry import merging
from opx.adapters.stores.telemetry.delta import PointTable, Stored
from opx.adapters.stores.telemetry.merging import Merge
from opx.adapters.stores.telemetry.reading import Asked, Reader
from opx.adapters.stores.wal.series import SeriesLog
from opx.core.base.metrics import Chooser, MetricAnswer, MetricQuery
from opx.core.base.time import DAY, Ms, to_wire
from opx.core.ingest import identity
from opx.core.ingest.signals import MetricBatch, Series
from opx.errors import Unavailable

T = TypeVar("T")

CLEAN_EVERY = 60
"""Commits of the table; a day that none of so many has touched is quiet."""
MAX_TAIL = 5_000_000
"""Points in memory, 20 bytes each."""
MERGE_BELOW = 4096


@dataclass(frozen=True, slots=True)
class _Part:
    """The points of one commit of the log, or of several: ``seq`` is the newest."""

    seq: int
    points: MetricBatch


@dataclass(frozen=True, slots=True)
class _View:
    """``moving``: on its way to disk. ``tail``: still growing, at its end only."""

    files: tuple[Stored, ...]
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
        self._metrics: dict[str, dict[int, Series]] = {}
        for one in self._series_log.series.values():
            self._learn(one)
        self._fresh: dict[int, Series] = {}
        self._view = _View(self._table.files, (), [])
        self._committed = self._last = self._table.committed
        self._held = 0  # points in memory
        self._commits = 0  # of the table since it was opened
        self._cleaned = 0  # how many of them when it was cleaned
        self._grew: dict[str, int] = {}  # how many of them when a day last grew
        self._merge: Merge | None = None
        self._flushing, self._tidying = asyncio.Lock(), asyncio.Lock()
        self._flusher = ThreadPoolExecutor(1, thread_name_prefix="lake-flush")
        self._merger = ThreadPoolExecutor(1, thread_name_prefix="lake-merge")
        self._querying = asyncio.Semaphore(2)
        self._reader = Reader()

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
            await self._in(self._flusher, self._write, through, parts, series)
            for one in series:
                self._fresh.pop(one.sid, None)
            self._view = _View(self._table.files, (), self._view.tail)
            self._held -= sum(len(part.points) for part in parts)
            self._committed = through
            return through

    async def query(self, query: MetricQuery) -> MetricAnswer:
        """``TooLarge`` when it asks for more than is read at once; no such series is empty."""
        query.starts()
        async with self._querying:
            series, view = list(self._metrics.get(query.metric, {}).values()), self._view
            batches = [part.points for part in view.parts()]
            return await asyncio.to_thread(self._answer, query, series, view.files, batches)

    async def tidy(self) -> bool:
        """``Unavailable`` when the disk does not take it: nothing is lost, try again."""
        async with self._tidying:
            if self._merge is None:
                inputs = merging.plan(self._view.files, self._quiet())
                if not inputs:
                    await self._clean()
                    return False
                self._merge = Merge(inputs)
            try:
                await self._in(self._merger, self._merge.step)
            except Unavailable:
                self._merge = None
                raise
            if self._merge.done:
                merge, self._merge = self._merge, None
                async with self._flushing:
                    await self._in(self._flusher, self._exchange, merge)
                    self._see()
            return True

    async def forget(self, before: Ms) -> int:
        """``Unavailable`` when the disk does not take it: try again."""
        async with self._flushing:
            await self._in(self._flusher, self._table.refresh)
            days: int = await self._in(self._flusher, self._table.forget, before)
            self._see()
            return days

    async def close(self) -> None:
        """What is not flushed stays in the write-ahead log."""
        await asyncio.to_thread(self._merger.shutdown)
        await asyncio.to_thread(self._flusher.shutdown)
        self._reader.close()
        self._series_log.close()
        os.close(self._lock)

    def _learn(self, one: Series) -> None:
        self._metrics.setdefault(one.metric, {})[one.sid] = one

    def _see(self) -> None:
        """Exchange the files of the view for those of the table, which hold the same points."""
        self._view = _View(self._table.files, self._view.moving, self._view.tail)

    def _answer(
        self,
        query: MetricQuery,
        series: list[Series],
        stored: tuple[Stored, ...],
        batches: list[MetricBatch],
    ) -> MetricAnswer:
        chooser = Chooser(query)
        for one in series:
            chooser.offer(one.sid, identity.labels_of(one))
        if not chooser.chosen:
            return chooser.answer({})
        return chooser.answer(self._reader.read(Asked(query, chooser.chosen, stored, batches)))

    async def _in(self, thread: Executor, call: Callable[..., T], *args: Any) -> T:
        try:
            loop = asyncio.get_running_loop()
            result: T = await loop.run_in_executor(thread, call, *args)
        except (DeltaError, duckdb.Error, OSError) as error:
            raise Unavailable(f"telemetry cannot be written: {error}") from error
        return result

    def _quiet(self) -> set[str]:
        """The days that have not grown for a while."""
        since = self._commits - CLEAN_EVERY
        return {one.day for one in self._view.files if self._grew.get(one.day, 0) <= since}

    async def _clean(self) -> None:
        if self._commits - self._cleaned < CLEAN_EVERY:
            return
        self._cleaned = self._commits
        async with self._flushing:
            await self._in(self._flusher, self._table.refresh)
            await self._in(self._flusher, self._table.clean)
            self._see()

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
            for day in {to_wire(int(at))[:10] for part in left for at in _days(part.points)}:
                self._grew[day] = self._commits

    def _exchange(self, merge: Merge) -> None:
        self._table.refresh()
        self._table.replace(merge.inputs, merge.made)

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


def _days(points: MetricBatch) -> np.ndarray[Any, Any]:
    """An instant of each day that has points."""
    return np.unique(points.at // DAY) * DAY


def _joined(batches: Sequence[MetricBatch]) -> MetricBatch:
    return MetricBatch(
        sid=np.concatenate([batch.sid for batch in batches]),
        at=np.concatenate([batch.at for batch in batches]),
        value=np.concatenate([batch.value for batch in batches]),
    )
