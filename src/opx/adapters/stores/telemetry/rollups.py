# SPDX-License-Identifier: Apache-2.0

"""What the points of a series amount to in each minute and each hour.

A roll-up belongs to one file of points, is made from it alone and lies beside the table under
that file's name. It is on disk before the table names the file, so whoever sees the file sees
exactly what it holds, once; a file without roll-ups (a fresh flush) is read as it is. Roll-ups
of one span from several files add up: nothing here may be said that does not.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from opx.core.base.metrics import SPANS, Resolution
from opx.core.base.time import Ms

Columns: TypeAlias = dict[str, np.ndarray[Any, Any]]
FOLDER = "rolled"


def path_of(points: str, resolution: Resolution) -> Path:
    """Where the roll-ups of a file of points are."""
    path = Path(points)
    return path.parents[2] / FOLDER / f"{path.stem}.{resolution.value}.parquet"


def there(points: str) -> bool:
    return all(path_of(points, resolution).exists() for resolution in SPANS)


def drop_left_over(folder: Path) -> None:
    """Drop the roll-ups of points that are gone. ``folder``: the table's."""
    names = {path.stem for path in folder.glob("day=*/*.parquet")}
    for path in (folder.parent / FOLDER).glob("*.parquet"):
        if path.stem.rpartition(".")[0] not in names:
            path.unlink()


def roll(points: Columns, span: Ms) -> Columns:
    """One row for each series and ``span`` that has points; its ``ts`` is when the span begins.
    ``points``: ``sid``, ``ts`` and ``value``, at least one, sorted by all three. ``growth`` is
    from the first to the last of the span as a counter counts, 0 where there is but one."""
    sid, ts, value = points["sid"], points["ts"], points["value"]
    at = ts - ts % span
    begins = np.ones(len(sid), bool)
    begins[1:] = (sid[1:] != sid[:-1]) | (at[1:] != at[:-1])
    first = np.flatnonzero(begins)
    last = np.append(first[1:], len(sid)) - 1
    growth = np.zeros(len(sid))
    with np.errstate(over="ignore", invalid="ignore"):  # too large for a number is infinite
        growth[1:] = np.where(value[1:] >= value[:-1], value[1:] - value[:-1], value[1:])
        growth[first] = 0.0
        return {
            "sid": sid[first],
            "ts": at[first],
            "count": (last - first + 1).astype(np.int32),
            "sum": np.add.reduceat(value, first),
            "min": np.minimum.reduceat(value, first),
            "max": np.maximum.reduceat(value, first),
            "first_at": ts[first],
            "last_at": ts[last],
            "first": value[first],
            "last": value[last],
            "growth": np.add.reduceat(growth, first),
        }
