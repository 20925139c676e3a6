# SPDX-License-Identifier: Apache-2.0

"""One query over the files and the points in memory of a view, with DuckDB.

Whatever holds points is brought to one form, the partial: what some of a series' points
amount to in a span of time. A roll-up is one, and so is a single point; partials of one
query add up whatever they come from. Growth alone needs them in order: where partials of a
series overlap in time (points that came late, not merged yet) the day is read point by point.
"""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import duckdb
import numpy as np

from opx.adapters.stores.telemetry import rollups
from opx.adapters.stores.telemetry.delta import Stored
from opx.adapters.stores.telemetry.rollups import Columns
from opx.core.base.metrics import LOOK_BACK, PERCENTILES, SPANS, MetricQuery, Resolution
from opx.core.base.reads import Stat
from opx.core.base.time import DAY, MINUTE, Ms, to_wire
from opx.core.ingest.signals import MetricBatch
from opx.errors import TooLarge, Unavailable

MAX_POINTS = 100_000_000
"""Points and roll-ups that one query reads, by what the files say of themselves."""
WITHIN_S = 25.0
"""Sooner than whoever asks gives up, and long before a file that was replaced goes."""
_NAMED = 200
"""Series that are named one by one: files keep what they hold of each together."""
_DUCKDB: dict[str, Any] = {
    "memory_limit": "256MB",
    "threads": 2,
    "temp_directory": "",  # nothing is spilled to disk
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
}
_NARROWER = "a shorter window, fewer series, or whole minutes to read roll-ups by"

_POINT = "sid, ts, value AS x, 1 AS n"
_ROLLED = {
    Stat.COUNT: "sid, ts, count AS x, count AS n",
    Stat.AVG: "sid, ts, sum AS x, count AS n",
    Stat.SUM: "sid, ts, sum AS x, count AS n",
    Stat.MIN: "sid, ts, min AS x, count AS n",
    Stat.MAX: "sid, ts, max AS x, count AS n",
    Stat.RATE: "sid, ts, first_at, last_at, first, last, growth, count AS n, true AS rolled",
}
_COUNTER_POINT = """
    sid, ts, ts AS first_at, ts AS last_at, value AS first, value AS last,
    CAST(0 AS DOUBLE) AS growth, 1 AS n, false AS rolled"""
_VALUE = {
    Stat.COUNT: "sum(n)",
    Stat.AVG: "sum(x) / sum(n)",
    Stat.SUM: "sum(x)",
    Stat.MIN: "min(x)",
    Stat.MAX: "max(x)",
    **{stat: f"quantile_cont(x, {share})" for stat, share in PERCENTILES.items()},
}
_BUCKETS = """
    SELECT number, (ts - $start) // $step AS bucket, CAST({value} AS DOUBLE)
    FROM ({partials}) JOIN chosen USING (sid) GROUP BY number, bucket"""
_GROWTH = f"""
    WITH ordered AS (
        SELECT number, ts, first_at, first, growth, n, rolled,
            lag(last) OVER w AS before, lag(last_at) OVER w AS before_at,
            lag(rolled) OVER w AS before_rolled
        FROM ({{partials}}) JOIN chosen USING (sid)
        WINDOW w AS (PARTITION BY sid ORDER BY first_at, last_at, first)
    )
    SELECT number,
        CASE WHEN ts < $start THEN -1 ELSE (ts - $start) // $step END AS bucket,
        sum(CASE WHEN before IS NULL AND n = 1 THEN NULL
            ELSE growth + CASE WHEN before IS NULL THEN 0
                WHEN first >= before THEN first - before ELSE first END END),
        list(DISTINCT ts // {DAY}) FILTER (
            WHERE first_at <= before_at AND (rolled OR before_rolled))
    FROM ordered GROUP BY number, bucket"""


@dataclass(frozen=True, slots=True)
class Asked:
    """A query, the group of each series it means (at least one), and what they are in."""

    query: MetricQuery
    chosen: dict[int, int]
    stored: tuple[Stored, ...]
    batches: Sequence[MetricBatch]


class Reader:
    """Opened when first asked. ``read`` may run in several threads."""

    def __init__(self) -> None:
        self._opening = threading.Lock()
        self._database: duckdb.DuckDBPyConnection | None = None

    def read(self, asked: Asked) -> dict[tuple[int, int], float]:
        """The value of each bucket that has one, by group and number. ``TooLarge`` when it
        takes more points, memory or time than one query may have."""
        query = asked.query
        try:
            with self._cursor(asked) as cursor:
                if query.stat is not Stat.RATE:
                    statement = _BUCKETS.format(
                        value=_VALUE[query.stat], partials=_partials(asked, frozenset())
                    )
                    return _by_bucket(_rows(cursor, statement, query))
                return _rate(cursor, asked)
        except (duckdb.OutOfMemoryException, duckdb.InterruptException) as error:
            raise TooLarge("that is more than can be read at once", hint=_NARROWER) from error
        except duckdb.Error as error:
            raise Unavailable(f"telemetry cannot be read: {error}") from error

    def close(self) -> None:
        if self._database is not None:
            self._database.close()

    @contextmanager
    def _cursor(self, asked: Asked) -> Iterator[duckdb.DuckDBPyConnection]:
        cursor = self._open().cursor()
        late = threading.Timer(WITHIN_S, cursor.interrupt)
        late.start()
        try:
            sids = np.array(list(asked.chosen), np.int32)
            cursor.register("tail", _within(asked, sids))
            numbers = np.array(list(asked.chosen.values()), np.int32)
            cursor.register("chosen", {"sid": sids, "number": numbers})
            yield cursor
        finally:
            late.cancel()
            cursor.close()

    def _open(self) -> duckdb.DuckDBPyConnection:
        with self._opening:
            if self._database is None:
                self._database = duckdb.connect(config=_DUCKDB)
            return self._database


def _rows(cursor: duckdb.DuckDBPyConnection, statement: str, query: MetricQuery) -> list[Any]:
    values = {"start": query.window.start, "step": query.step}
    return cursor.execute(statement, values).fetchall()


def _by_bucket(rows: list[Any]) -> dict[tuple[int, int], float]:
    return {(row[0], row[1]): row[2] for row in rows if row[2] is not None and row[1] >= 0}


def _rate(cursor: duckdb.DuckDBPyConnection, asked: Asked) -> dict[tuple[int, int], float]:
    query = asked.query
    rows = _rows(cursor, _GROWTH.format(partials=_partials(asked, frozenset())), query)
    late = frozenset(to_wire(day * DAY)[:10] for row in rows for day in row[3] or ())
    if late:
        rows = _rows(cursor, _GROWTH.format(partials=_partials(asked, late)), query)
    return {at: grown / query.seconds(at[1]) for at, grown in _by_bucket(rows).items()}


# ------------------------------------------------------------------ which files, and what of them


@dataclass(frozen=True, slots=True)
class _Piece:
    """A part of the window and what it is read from; ``paths`` are filled as they are found."""

    resolution: Resolution
    start: Ms
    end: Ms
    points: list[str] = field(default_factory=list)
    rolled: list[str] = field(default_factory=list)


def _pieces(query: MetricQuery) -> list[_Piece]:
    window = query.window
    pieces = list(_cover(query.resolution(), window.start, window.end))
    if query.stat is Stat.RATE:
        finer = Resolution.RAW if window.start % MINUTE else Resolution.MINUTE
        finest = Resolution.RAW if query.resolution() is Resolution.RAW else finer
        pieces.append(_Piece(finest, window.start - LOOK_BACK, window.start))
    return pieces


def _cover(resolution: Resolution, start: Ms, end: Ms) -> Iterator[_Piece]:
    """From ``start``, where a span begins, with as coarse a resolution as is exact: what is
    left at the end is shorter than a span and read from the next finer one."""
    span = SPANS.get(resolution, 1)
    cut = end - end % span
    if start < cut:
        yield _Piece(resolution, start, cut)
    if cut < end:
        finer = Resolution.MINUTE if resolution is Resolution.HOUR else Resolution.RAW
        yield from _cover(finer, max(start, cut), end)


def _partials(asked: Asked, late: frozenset[str]) -> str:
    """SQL for every partial of the chosen series in the window. ``late``: days that are read
    point by point."""
    stat, sids = asked.query.stat, sorted(asked.chosen)
    point = _COUNTER_POINT if stat is Stat.RATE else _POINT
    selects, held = [f"SELECT {point} FROM tail"], 0.0
    for piece in _pieces(asked.query):
        held += _fill(piece, asked.stored, sids, late)
        if piece.points:
            selects.append(_select(point, piece.points, piece, sids))
        if piece.rolled:
            selects.append(_select(_ROLLED[stat], piece.rolled, piece, sids))
    if held > MAX_POINTS:
        raise TooLarge(f"that is more than {MAX_POINTS} points", hint=_NARROWER)
    return " UNION ALL ".join(selects)


def _fill(
    piece: _Piece, stored: tuple[Stored, ...], sids: list[int], late: frozenset[str]
) -> float:
    """Find the files that have to do with a piece; about how many rows will be read."""
    held = 0.0
    for one in stored:
        span = min(one.times[1] + 1, piece.end) - max(one.times[0], piece.start)
        mine = bisect_right(sids, one.sids[1]) - bisect_left(sids, one.sids[0])
        if span <= 0 or not mine:
            continue
        # A file holds about as much of each of its series, and of each hour.
        share = mine / (one.sids[1] - one.sids[0] + 1)
        rows = one.rows * share * span / (one.times[1] + 1 - one.times[0])
        if piece.resolution is Resolution.RAW or not one.rolled or one.day in late:
            piece.points.append(one.path)
            held += rows
        else:
            piece.rolled.append(str(rollups.path_of(one.path, piece.resolution)))
            held += min(rows, mine * (span // SPANS[piece.resolution] + 2))
    return held


def _select(columns: str, paths: list[str], piece: _Piece, sids: list[int]) -> str:
    if len(sids) <= _NAMED:
        series = f"sid IN ({', '.join(map(str, sids))})"
    else:
        series = f"sid BETWEEN {sids[0]} AND {sids[-1]}"
    names = ", ".join("'" + path.replace("'", "''") + "'" for path in paths)
    return (
        f"SELECT {columns} FROM read_parquet([{names}], hive_partitioning = false)"
        f" WHERE {series} AND ts >= {piece.start} AND ts < {piece.end}"
    )


def _within(asked: Asked, sids: np.ndarray[Any, Any]) -> Columns:
    """The points of the chosen series in the window that are not on disk yet."""
    window = asked.query.window
    start = window.start - (LOOK_BACK if asked.query.stat is Stat.RATE else 0)
    found = [(np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0))]
    for points in asked.batches:
        mine = (points.at >= start) & (points.at < window.end)
        mine &= np.isin(points.sid, sids)
        found.append((points.sid[mine], points.at[mine], points.value[mine]))
    sid, ts, value = (np.concatenate(column) for column in zip(*found, strict=True))
    return {"sid": sid, "ts": ts, "value": value}
