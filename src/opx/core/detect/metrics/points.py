# SPDX-License-Identifier: Apache-2.0

"""One round of points, at most one of each stream: what they are worth, and what they teach.

Part of ``metrics``: the parts, their fusion and the record gate. Everything here is worked
out side by side for all streams of the round, by operations whose result does not depend
on how many there are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from opx.core.detect.metrics import counters, held
from opx.core.detect.metrics import fields as of
from opx.core.detect.metrics.state import MetricState
from opx.core.detect.metrics.territory import Floats, Ints

PLACE_MEMORY, LEVEL_MEMORY = 32, 64
"""Points of the recent levels: averages that give the newest point a weight of 1 in so many."""
ROUNDING = 2.0**-40
"""A smaller part of a value than this is no change of it."""
GATE = 100
"""Points of a block of the record gate. The first block of a stream says nothing."""
SPEAKS = 1.0 / 32.0
"""Odds below this have spoken."""
FORGIVEN = 4_096
"""Points after which having spoken counts for little."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """``which``: the points of the round that were looked at; the rest, of these. ``odds``: of
    both parts, after the gate, 1 where nothing is said. ``numbers``: of their streams."""

    which: Ints
    odds: Floats
    place: Floats
    level: Floats
    looked_at: Floats
    usual: Floats
    turn: NDArray[np.int8]
    numbers: Floats


def judge(state: MetricState, rows: Ints, at: Floats, value: Floats) -> Judged:
    """Judge and learn these points. ``rows``: whose they are, each once."""
    which, own = np.arange(len(rows)), _span(rows)
    f = state.numbers[:, own] if isinstance(own, slice) else state.numbers.take(own, 1)
    timely = counters.timely(f, at)
    if not timely.all():
        state.numbers[:, own] = f
        which = timely.nonzero()[0]
        own = rows = rows[which]
        at, value, f = at[which], value[which], f[:, which]
    looked_at, changed = counters.read(f, at, value)
    f[of.TOUCHED] = state.points
    if changed.size:
        state.relearn(rows[changed])
        f[of.LEARNED][:, changed] = 0.0
    says = looked_at == looked_at
    if not says.all():
        state.numbers[:, own] = f
        some = says.nonzero()[0]
        own = rows = rows[some]
        which, at, looked_at, f = which[some], at[some], looked_at[some], f[:, some]
    looked_at = _steady(f, looked_at)
    usual = state.hours.usual(rows, f, at, looked_at)
    place, level = _parts(state, rows, f, looked_at, looked_at - usual)
    odds = _gated(f, place * np.sqrt(level))
    turn = held.watch(f, looked_at)
    state.numbers[:, own] = f
    return Judged(
        which=which,
        odds=odds,
        place=place,
        level=level,
        looked_at=looked_at,
        usual=usual,
        turn=turn,
        numbers=f,
    )


def _steady(f: Floats, value: Floats) -> Floats:
    """What differs from the recent level by rounding alone is that level: nothing changed."""
    level = f[of.LEVEL]
    same = np.abs(value - level) <= ROUNDING * (np.abs(f[of.RAW]) + np.abs(value))
    return np.where(same & (f[of.TAKEN] > 0), level, value)


def _span(rows: Ints) -> Ints | slice:
    """The same rows as a slice, where they follow each other: no copies then."""
    first = int(rows[0])
    if rows[-1] - first == len(rows) - 1 and (np.diff(rows) == 1).all():
        return slice(first, first + len(rows))
    return rows


def _parts(
    state: MetricState, rows: Ints, f: Floats, value: Floats, left: Floats
) -> tuple[Floats, Floats]:
    """The odds of the place and of the level. ``left``: what the hour does not explain."""
    f[of.TAKEN] += 1.0
    taken = f[of.TAKEN]
    newest = 1.0 / taken
    f[of.NEWEST] = left
    f[of.LEFT] += np.maximum(1.0 / PLACE_MEMORY, newest) * (left - f[of.LEFT])
    f[of.LEVEL] += np.maximum(1.0 / LEVEL_MEMORY, newest) * (value - f[of.LEVEL])
    frame = f[of.PLACE_LO : of.PLACE_WIDTH + 1]
    place = state.place.look(rows, frame, f[of.LEFT : of.NEWEST + 1], taken)
    frame = f[of.LEVEL_LO : of.LEVEL_WIDTH + 1]
    level = state.level.look(rows, frame, f[of.LEVEL : of.LEVEL + 1], taken)
    return place, level


def _gated(f: Floats, odds: Floats) -> Floats:
    """What is left when only records speak, each for less the more often there was one.

    A record is odder than all of this block of points and of the last. Odds are multiplied
    by one more than how often the stream spoke, which fades.
    """
    turned = ((f[of.TAKEN] - 1.0) % GATE == 0).nonzero()[0]
    if turned.size:
        f[of.ODDEST_BEFORE, turned] = f[of.ODDEST, turned]
        f[of.ODDEST, turned] = 1.0
    f[of.SPOKEN] -= f[of.SPOKEN] / FORGIVEN
    said = np.ones(len(odds))
    new = (odds < 1.0).nonzero()[0]
    if new.size:
        fresh, oddest = odds[new], f[of.ODDEST, new]
        record = fresh < np.minimum(f[of.ODDEST_BEFORE, new], oddest)
        record &= f[of.TAKEN, new] > GATE
        f[of.ODDEST, new] = np.minimum(oddest, fresh)
        spoken = f[of.SPOKEN, new]
        said[new] = np.where(record, np.minimum(fresh * (1.0 + spoken), 1.0), 1.0)
        f[of.SPOKEN, new] = spoken + (record & (fresh < SPEAKS))
    return said
