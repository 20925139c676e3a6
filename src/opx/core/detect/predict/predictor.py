# SPDX-License-Identifier: Apache-2.0

"""``step``: points in, predictions out, each told once per trouble and once when it is over.

Part of ``predict``: the one way in. Points are taken in rounds, at most one of a stream in
each, and minute by minute of their own time; how they were cut into batches changes nothing.
Also what happened: ``failed`` and ``acted`` are told to it, for only so can it learn.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from opx.core.base.time import FIRST, LAST, MINUTE, SECOND, Ms
from opx.core.detect.metrics.counters import BELIEVED_LATE
from opx.core.detect.metrics.stream import HUGE
from opx.core.detect.metrics.territory import Floats, Ints
from opx.core.detect.predict import fields as of
from opx.core.detect.predict import trends
from opx.core.detect.predict.prediction import Kind, Prediction, Withdrawn
from opx.core.detect.predict.saying import say
from opx.core.detect.predict.state import PredictState, Whose, whose
from opx.core.ingest.signals import Identity, MetricBatch

SILENCE: Ms = 15 * MINUTE
"""What brings no points for so long is in no trend any more."""
REASONS = {trends.Ended.TURNED: Withdrawn.TURNED, trends.Ended.FLAT: Withdrawn.FLAT}


@dataclass(frozen=True, slots=True)
class _Turn:
    """At a point: a stream is to be told of, or its trend is over."""

    point: int
    sid: int
    at: Ms
    what: Prediction | Withdrawn


def step(state: PredictState, batch: MetricBatch, now: Ms) -> list[Prediction]:
    """The edges that these points make, in their order, then what is over by ``now``. Points of
    streams that ``state`` does not know are nobody's."""
    turns: list[_Turn] = []
    with np.errstate(all="ignore"):
        for points, rows in _rounds(state, batch):
            turns += _take(state, batch, points, rows)
    edges: list[Prediction] = []
    for turn in sorted(turns, key=lambda turn: turn.point):
        edges += _expire(state, turn.at)
        edges += _turned(state, turn)
    return edges + tick(state, now)


def tick(state: PredictState, now: Ms) -> list[Prediction]:
    """What is over by ``now`` though no point said so."""
    edges = _expire(state, now)
    for key, sids in list(state.streams.items()):
        rows = state.rows.find(np.array(sorted(sids), np.int64))
        if (rows < 0).all():
            edges.append(_end(state, key, Withdrawn.FORGOTTEN, now))
            continue
        last = int(np.nanmax(state.numbers[of.AT, rows[rows >= 0]]))
        if last + SILENCE <= now:
            edges.append(_end(state, key, Withdrawn.SILENT, last + SILENCE))
    return edges


def failed(state: PredictState, who: Identity, at: Ms) -> list[Prediction]:
    """The service has failed: its trends got there, and where they were is a limit."""
    return _over(state, who, Withdrawn.FAILED, at)


def acted(state: PredictState, who: Identity, at: Ms) -> list[Prediction]:
    """Something was done about it: how its trends would have ended will not be known."""
    return _over(state, who, Withdrawn.ACTED, at)


def _over(state: PredictState, who: Identity, why: Withdrawn, at: Ms) -> list[Prediction]:
    known = state.rows_of(who.environment, who.service)
    f = state.numbers
    going = {
        sid: row
        for sid, row in known.items()
        if f[of.BEGAN, row] != 0 and f[of.SAID, row] != trends.SETTLED
    }
    rows = np.array(list(going.values()), np.int64)
    if rows.size:
        f = state.numbers[:, rows]
        if why is Withdrawn.FAILED:
            state.odds.learn(f[of.KIND].astype(np.int64), f[of.FARTHEST], failed=True)
            metrics = {sid: state.series[sid].metric for sid in going}
            for sid, peak in zip(going, f[of.PEAK].tolist(), strict=True):
                state.failed_at(metrics[sid], peak)
            state.learn_limits(set(metrics.values()))
        state.numbers[of.SAID, rows] = trends.SETTLED
    own = [(who.environment, who.service, kind) for kind in Kind]
    return [_end(state, key, why, at) for key in own if key in state.open]


def _rounds(state: PredictState, batch: MetricBatch) -> Iterator[tuple[Ints, Ints]]:
    """Which points, and the rows of their streams: the first of each stream, the second, ..."""
    fine = (np.abs(batch.value) <= HUGE) & (batch.at >= FIRST) & (batch.at <= LAST)
    state.refused += len(batch) - int(fine.sum())
    points = fine.nonzero()[0]
    rows = state.rows.find(batch.sid[points].astype(np.int64))
    points, rows = points[rows >= 0], rows[rows >= 0]
    if not points.size:
        return
    order = np.argsort(rows, kind="stable")
    points, rows = points[order], rows[order]
    begins = np.concatenate([[True], rows[1:] != rows[:-1]]).nonzero()[0]
    turns = np.arange(len(rows)) - np.repeat(begins, np.diff(begins, append=len(rows)))
    order = np.argsort(turns, kind="stable")
    ends = np.cumsum(np.bincount(turns))
    for first, end in zip(ends - np.diff(ends, prepend=0), ends, strict=True):
        some = order[first:end]
        yield points[some], rows[some]


def _take(state: PredictState, batch: MetricBatch, points: Ints, rows: Ints) -> list[_Turn]:
    """One point of each of these streams."""
    at, value = batch.at[points].astype(np.float64), batch.value[points].astype(np.float64)
    back = _timely(state, rows, at)
    points, rows, at, value = points[back], rows[back], at[back], value[back]
    f = state.numbers[:, rows]
    value = _read(f, at, value)
    minute = np.floor(at / MINUTE)
    over = ((minute > f[of.MINUTE]) & (f[of.COUNT] > 0)).nonzero()[0]
    turns: list[_Turn] = []
    if over.size:
        own = f[:, over]
        sids = batch.sid[points[over]]
        turns = _close(state, (points[over], rows[over], sids), own, at[over])
        own[of.SUM] = own[of.COUNT] = 0.0
        f[:, over] = own
    said = np.isfinite(value)
    f[of.MINUTE] = np.where(said, minute, f[of.MINUTE])
    f[of.SUM] += np.where(said, value, 0.0)
    f[of.COUNT] += said
    f[of.AT] = at
    state.numbers[:, rows] = f
    return turns


def _timely(state: PredictState, rows: Ints, at: Floats) -> NDArray[np.bool_]:
    """Which points are newer than what came. A clock that was set back is believed in the end,
    and the stream begins anew."""
    before = state.numbers[of.AT, rows]
    newer: NDArray[np.bool_] = np.isnan(before) | (at > before)
    late = np.where(newer, 0.0, state.numbers[of.LATE, rows] + 1.0)
    again = late >= BELIEVED_LATE
    if again.any():
        state.relearn(rows[again])
    state.numbers[of.LATE, rows] = np.where(again, 0.0, late)
    return newer | again


def _read(f: Floats, at: Floats, value: Floats) -> Floats:
    """What is looked at: the value, turned round if it fails below, or a counter's growth a
    second; NaN where that is not known, as after a reset."""
    counter = f[of.COUNTER] > 0
    grown = (value - f[of.RAW]) / (at - f[of.AT]) * SECOND
    f[of.RAW] = np.where(counter, value, f[of.RAW])
    looked_at: Floats = np.where(counter, np.where(grown >= 0, grown, np.nan), value * f[of.SIGN])
    return looked_at


def _close(
    state: PredictState,
    those: tuple[Ints, Ints, NDArray[np.int32]],
    f: Floats,
    at: Floats,
) -> list[_Turn]:
    """The minutes that run are over at these points."""
    points, rows, sids = those
    turns: list[_Turn] = []
    silent = (at - f[of.AT] >= SILENCE) & (f[of.BEGAN] != 0)
    state.levels.push(rows, f[of.MINUTE], f[of.SUM] / f[of.COUNT])
    for which in (silent & (f[of.SAID] > 0)).nonzero()[0].tolist():
        last = int(f[of.AT, which]) + SILENCE
        turns.append(_Turn(int(points[which]), int(sids[which]), last, Withdrawn.SILENT))
    trends.forget(f, silent, silent=True)
    seen = trends.close(state.levels, state.odds, state.tell, rows, f)
    if seen is None:
        return turns
    over = seen.ended != trends.Ended.NO
    kinds = seen.numbers[of.KIND].astype(np.int64)
    counted = over & (seen.numbers[of.SAID] != trends.SETTLED)
    state.odds.learn(kinds[counted], seen.way[counted], failed=False)
    for number in (seen.likely | (over & (seen.numbers[of.SAID] > 0))).nonzero()[0].tolist():
        which = seen.which[number]
        place = int(points[which]), int(sids[which]), int(at[which])
        if seen.likely[number]:
            told = say(state, state.series[place[1]], seen, number, place[2])
            turns.append(_Turn(*place, told))
        if over[number]:
            reason = REASONS[trends.Ended(int(seen.ended[number]))]
            turns.append(_Turn(*place, reason))
    return turns


def _turned(state: PredictState, turn: _Turn) -> list[Prediction]:
    """What this stream says changes what its service is told, mostly."""
    if isinstance(turn.what, Prediction):
        key = whose(turn.what)
        state.streams.setdefault(key, set()).add(turn.sid)
        if key in state.open:
            return []
        state.open[key] = turn.what
        return [turn.what]
    edges: list[Prediction] = []
    for key in [key for key, sids in state.streams.items() if turn.sid in sids]:
        state.streams[key].discard(turn.sid)
        if not state.streams[key]:
            edges.append(_end(state, key, turn.what, turn.at))
    return edges


def _expire(state: PredictState, now: Ms) -> list[Prediction]:
    over = sorted((one.expires_at, key) for key, one in state.open.items() if one.expires_at <= now)
    return [_end(state, key, Withdrawn.EXPIRED, at) for at, key in over]


def _end(state: PredictState, key: Whose, why: Withdrawn, at: Ms) -> Prediction:
    del state.streams[key]
    one = state.open.pop(key)
    return replace(one, withdrawn=why, at=max(at, one.at))
