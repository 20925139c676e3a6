# SPDX-License-Identifier: Apache-2.0

"""Many files of a day become few, sorted by series and time, with their roll-ups.

Which files is decided by what they hold alone. The work goes in pieces of bounded size and
touches nothing anybody reads: the files it makes count for nothing until the table names
them, in the one commit that also lets go of those they were made from. The same files make
files of the same names, so work that a crash cut short is simply done again.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from opx.adapters.stores import files
from opx.adapters.stores.telemetry import rollups
from opx.adapters.stores.telemetry.delta import Made, Stored
from opx.adapters.stores.telemetry.rollups import Columns
from opx.core.base.metrics import SPANS
from opx.core.base.time import HOUR

MERGE_AT = 60
"""Fresh files of a day that still grows."""
FAN_IN = 8
"""Runs of about one size."""
SMALLEST = 1_000
"""Points: fewer do not make a run any smaller."""
PIECE = 2_000_000
"""Points in a file, and in memory while it is made."""
ROW_GROUP = 65_536
_NAME = "merged-"
_CONFIG: dict[str, Any] = {"memory_limit": "384MB", "threads": 1, "temp_directory": ""}
_COUNT = "SELECT sid, count(*) FROM read_parquet($files) GROUP BY sid ORDER BY sid"
_HOURS = f"""
    SELECT ts // {HOUR}, count(*) FROM read_parquet($files) WHERE sid = $sid
    GROUP BY 1 ORDER BY 1"""
_READ = """
    SELECT sid, ts, value FROM read_parquet($files, hive_partitioning = false)
    WHERE sid >= $low AND sid <= $high AND ts >= $start AND ts < $end
    ORDER BY sid, ts, value"""
_EVER = 2**62


@dataclass(frozen=True, slots=True)
class _Range:
    """Series ``low`` to ``high`` inclusive, from ``start`` before ``end``."""

    low: int
    high: int
    start: int = -_EVER
    end: int = _EVER


def plan(stored: Collection[Stored], quiet: Collection[str]) -> tuple[Stored, ...]:
    """The files to be merged next, of one day; () when all is well. ``quiet``: the days that
    grow no more, for now."""
    days: dict[str, list[Stored]] = defaultdict(list)
    for one in stored:
        days[one.day].append(one)
    for day, its in sorted(days.items()):
        if found := _closed(its) if day in quiet else _growing(its):
            return tuple(found)
    return ()


def _growing(stored: list[Stored]) -> list[Stored]:
    """Enough fresh files, or enough runs of about one size: then each point is written again
    as often as the day has sizes, and no oftener."""
    fresh = [one for one in stored if not one.rolled]
    if len(fresh) >= MERGE_AT or sum(one.rows for one in fresh) >= PIECE:
        return fresh
    sizes: dict[int, list[Stored]] = defaultdict(list)
    for one in stored:
        if one.rolled and one.rows < PIECE // 2:
            sizes[int(np.log(max(one.rows / SMALLEST, 1)) / np.log(FAN_IN))].append(one)
    return next((some for _, some in sorted(sizes.items()) if len(some) >= FAN_IN), [])


def _closed(stored: list[Stored]) -> list[Stored]:
    """Files that hold the same series, if that makes much of them better sorted."""
    group: list[Stored] = []
    for one in sorted(stored, key=lambda one: one.sids):
        if group and one.sids[0] > max(other.sids[1] for other in group):
            if _worth(group):
                return group
            group = []
        group.append(one)
    return group if _worth(group) else _growing(stored)


def _worth(group: list[Stored]) -> bool:
    """Whether what the largest merge has not made is a fair share of it: a few points that
    came late are no reason to write a whole day again."""
    rows: dict[str, int] = defaultdict(int)
    for one in group:
        rows[_merge_of(one) if one.rolled else ""] += one.rows
    fresh, largest = rows.pop("", 0), max(rows.values(), default=0)
    others = fresh + sum(rows.values()) - largest
    return others > 0 and others * FAN_IN**2 >= largest


def _merge_of(one: Stored) -> str:
    """What the files that one merge made have in common: their name up to the number."""
    return Path(one.path).name.rpartition("-")[0]


class Merge:
    """One merge under way. ``step`` makes one file of the result, with its roll-ups, wholly on
    disk; ``made`` is all of it when ``done``. Blocks; ``duckdb.Error`` or ``OSError``."""

    def __init__(self, inputs: tuple[Stored, ...]) -> None:
        self.inputs = inputs
        self.made: list[Made] = []
        self.done = False
        names = "\n".join(sorted(one.path for one in inputs))
        self._key = hashlib.sha256(names.encode()).hexdigest()[:24]
        self._pieces = self._work()

    def step(self) -> None:
        made = next(self._pieces, None)
        if made is None:
            self.done = True
        else:
            self.made.append(made)

    def _work(self) -> Iterator[Made]:
        with duckdb.connect(config=_CONFIG) as database:
            paths = [one.path for one in self.inputs]
            for number, part in enumerate(_ranges(database, paths)):
                yield self._make(database, paths, number, part)

    def _make(
        self, database: duckdb.DuckDBPyConnection, paths: list[str], number: int, part: _Range
    ) -> Made:
        points = database.execute(_READ, {"files": paths, **asdict(part)}).fetchnumpy()
        folder = Path(self.inputs[0].path).parent
        path = folder / f"{_NAME}{self._key}-{number}.parquet"
        _write(database, points, path)
        for resolution, span in SPANS.items():
            beside = rollups.path_of(str(path), resolution)
            _write(database, rollups.roll(points, span), beside)
        for name in (beside.parent, beside.parent.parent, folder):
            files.sync(name)
        return Made.of(path, self.inputs[0].day, points)


def _ranges(database: duckdb.DuckDBPyConnection, paths: list[str]) -> list[_Range]:
    """Pieces of at most ``PIECE`` points: series after series, one that has more by hours."""
    ranges: list[_Range] = []
    low, held = None, 0
    before = 0
    for sid, count in database.execute(_COUNT, {"files": paths}).fetchall():
        if low is not None and held + count > PIECE:
            ranges.append(_Range(low, before))
            low = None
        if count > PIECE:
            ranges += _hours(database, paths, sid)
            continue
        if low is None:
            low, held = sid, 0
        before, held = sid, held + count
    return ranges if low is None else [*ranges, _Range(low, before)]


def _hours(database: duckdb.DuckDBPyConnection, paths: list[str], sid: int) -> list[_Range]:
    cuts, held = [-_EVER], 0
    for hour, count in database.execute(_HOURS, {"files": paths, "sid": sid}).fetchall():
        if held and held + count > PIECE:
            cuts.append(hour * HOUR)
            held = 0
        held += count
    return [_Range(sid, sid, start, end) for start, end in pairwise([*cuts, _EVER])]


def _write(database: duckdb.DuckDBPyConnection, columns: Columns, path: Path) -> None:
    """A Parquet file, wholly on disk when this returns."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    database.register("columns", columns)
    name = str(path).replace("'", "''")
    database.execute(
        f"COPY (SELECT * FROM columns) TO '{name}' (FORMAT parquet, COMPRESSION zstd,"
        f" PARQUET_VERSION v2, ROW_GROUP_SIZE {ROW_GROUP})"
    )
    database.unregister("columns")
    files.sync(path)
