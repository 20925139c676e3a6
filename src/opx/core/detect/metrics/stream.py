# SPDX-License-Identifier: Apache-2.0

"""``step``: points in, scores out. The one way in which points are scored and learned.

Part of ``metrics``. A batch is taken in rounds, in each of which a stream has one point at
most, so all of them are worked on side by side; a stream's scores depend on its own points
alone, in their order, and not on how they were cut or mixed with others. It never looks
ahead, reads no clock, and a point that is no number or comes late changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from opx.core.base.time import FIRST, LAST
from opx.core.detect.metrics import fields as of
from opx.core.detect.metrics import held
from opx.core.detect.metrics.points import Judged, judge
from opx.core.detect.metrics.state import MetricState
from opx.core.detect.metrics.territory import Floats, Ints
from opx.core.ingest.signals import MetricBatch

PIECE = 65_536
"""Points that are taken at once; fewer where the state has no room for twice as many streams, so
that strangers who come all at once leave half of those that it knows."""
HUGE = 1e150
"""A larger value measures nothing, and sums of such would be infinite."""
ONE_IN = 150.0
"""Healthy streams of several kinds speak once in so many points, and with odds below p about
sqrt(p) times as often (``bench/metrics.py fleet``)."""
FLAG = 0.999
"""``anomaly``: a score above this, 1 in 1,000 points."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remarks:
    """More about the points that are flagged or turn something, in their order.

    ``point``: which of the batch. ``place``, ``level``: the odds of each part. ``looked_at``:
    the value, or a counter's growth per second; ``usual``: what that hour usually brings;
    ``recent``: the level of late; ``low``, ``high``: beyond these the stream is away;
    ``began``, ``least``, ``most``: of the block of points that this one is in, so far.
    """

    point: Ints
    place: Floats
    level: Floats
    looked_at: Floats
    usual: Floats
    recent: Floats
    low: Floats
    high: Floats
    began: Floats
    least: Floats
    most: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Of each point of a batch, in its order. ``score``: 0 where there is nothing to say, else
    1 - 1/N for what is so odd that it comes about once in N points of a healthy stream.
    ``anomaly``: the flag, made for one stream watched by itself. ``turn``: a ``held.Turn``, made
    for a fleet."""

    score: Floats
    anomaly: NDArray[np.bool_]
    turn: NDArray[np.int8]
    remarks: Remarks


def step(state: MetricState, batch: MetricBatch) -> Scores:
    """Score and learn these points, in their order."""
    size = len(batch)
    score, anomaly = np.zeros(size), np.zeros(size, np.bool_)
    turn = np.zeros(size, np.int8)
    noted = [np.zeros((len(Remarks.__slots__), 0))]
    length = max(1, min(PIECE, state.most // 2))
    with np.errstate(all="ignore"):
        for start in range(0, size, length):
            piece = slice(start, start + length)
            at, value = batch.at[piece].astype(np.float64), batch.value[piece].astype(np.float64)
            for points, rows in _rounds(state, batch.sid[piece], at, value):
                found = judge(state, rows, at[points], value[points])
                where = start + points[found.which]
                scored = np.where(found.odds < 1.0, 1.0 - np.sqrt(found.odds) / ONE_IN, 0.0)
                score[where] = scored
                flagged = scored > FLAG
                told = (flagged | (found.turn > 0)).nonzero()[0]
                if told.size:
                    anomaly[where] = flagged
                    turn[where] = found.turn
                    noted.append(_note(where, found, told))
            state.points += len(at)
    columns = np.concatenate(noted, axis=1)
    columns = columns[:, np.argsort(columns[0], kind="stable")]
    remarks = Remarks(
        point=columns[0].astype(np.int64),
        **dict(zip(Remarks.__slots__[1:], columns[1:], strict=True)),
    )
    return Scores(score=score, anomaly=anomaly, turn=turn, remarks=remarks)


def _rounds(
    state: MetricState, sid: NDArray[np.int32], at: Floats, value: Floats
) -> Iterator[tuple[Ints, Ints]]:
    """Which points, and the rows of their streams: the first of each stream, the second, ..."""
    fine = (np.abs(value) <= HUGE) & (at >= FIRST) & (at <= LAST) & (sid >= 0)
    points = fine.nonzero()[0]
    state.refused += len(sid) - len(points)
    if not points.size:
        return
    own = sid[points].astype(np.int64)
    if (own[1:] > own[:-1]).all():
        yield points, state.rows_of(own)
        return
    points = points[np.argsort(own, kind="stable")]
    own = sid[points].astype(np.int64)
    begins = np.concatenate([[True], own[1:] != own[:-1]]).nonzero()[0]
    counts = np.diff(begins, append=len(own))
    rows = np.repeat(state.rows_of(own[begins]), counts)
    turns = np.arange(len(own)) - np.repeat(begins, counts)
    order = np.argsort(turns, kind="stable")
    ends = np.cumsum(np.bincount(turns))
    for first, end in zip(ends - np.diff(ends, prepend=0), ends, strict=True):
        now = order[first:end]
        yield points[now], rows[now]


def _note(where: Ints, found: Judged, told: Ints) -> Floats:
    """The columns of ``Remarks``, of these points."""
    numbers = found.numbers[:, told]
    low, high = held.bounds(numbers)
    columns = [
        where[told],
        found.place[told],
        found.level[told],
        found.looked_at[told],
        found.usual[told],
        numbers[of.LEVEL],
        low,
        high,
        numbers[of.BEGAN],
        numbers[of.LEAST],
        numbers[of.MOST],
    ]
    return np.array(columns, np.float64)
