# SPDX-License-Identifier: Apache-2.0

"""One minute of each stream that is over: what is usual, and whether it is on its way.

Part of ``predict``. A level beyond all that was usual begins a trend; the trend is over when
half of the climb is given back, or when it has not climbed for as long as it lasted. The way it
has gone is measured in time: how long it has lasted, of that and what is still needed at this
pace. Side by side for all streams; a row's result never depends on the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from opx.core.base.time import HOUR, MINUTE, Ms
from opx.core.detect.metrics.territory import Floats, Ints
from opx.core.detect.predict import fields as of
from opx.core.detect.predict.odds import Odds
from opx.core.detect.predict.slopes import LONGEST, Levels

YOUNG = 30
"""Minutes before it is known what is usual."""
USUAL = 240
"""Minutes that say what is usual, and ..."""
CLIPPED = 5.0
"""... times the spread, beyond which a level says no more than that. Also how far beyond the
middle a trend begins: four standard deviations if the noise is Gaussian."""
HELD_FOR = 10_080
"""Minutes, a week, after which a level that was not reached again is forgotten."""
ROUNDING = 1e-9
FLAT = 60
"""Minutes without a climb that a trend may have, or as many as it has lasted."""
SHARE = 0.5
"""The part of a trend that says how fast it goes now."""
SHORTEST = 6.0
"""Minutes that a trend must have lasted, so that a slope is of what came after it began."""
FARTHEST_AHEAD: Ms = 12 * HOUR
"""Beyond this nothing is said: the pace of 4 hours says little of tomorrow."""
SETTLED = 2.0
"""In place of whether a trend was told: what came of it is known already."""


class Ended(IntEnum):
    NO = 0
    TURNED = 1
    FLAT = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Of the rows in a trend. ``which``: of those given. ``likely``: to be told now. ``ended``: of
    ``Ended``. ``eta``: (3, rows) minutes to the limit at this pace, at a fast and at a slow one.
    ``lasted``: minutes. ``now``, ``way``: the part of the way that is gone, and was at most, 0
    to 1. ``numbers``: of their streams."""

    which: Ints
    likely: NDArray[np.bool_]
    ended: Ints
    probability: Floats
    now: Floats
    way: Floats
    eta: Floats
    slope: Floats
    lasted: Floats
    level: Floats
    numbers: Floats


def close(levels: Levels, odds: Odds, tell: float, rows: Ints, f: Floats) -> Seen | None:
    """The minute ``f[MINUTE]`` is over and in ``levels``. ``f``: (``FIELDS``, rows), changed.
    ``tell``: the probability from which on it is told. None: there is no trend anywhere."""
    level = levels.smooth(rows)
    spread = _spread(f)
    line = np.maximum(f[of.MIDDLE] + CLIPPED * spread, f[of.HELD] + spread)
    begins = (f[of.TAKEN] >= YOUNG) & (f[of.BEGAN] == 0) & (level > line)
    for field in (of.BEGAN, of.CLIMBED_AT):
        f[field] = np.where(begins, f[of.MINUTE], f[field])
    for field in (of.PEAK, of.CLIMBED):
        f[field] = np.where(begins, level, f[field])
    going = f[of.BEGAN] != 0
    _learn(f, level, ~going)
    which = going.nonzero()[0]
    if not which.size:
        return None
    own = f[:, which]
    seen = _judge(levels, odds, tell, (which, rows[which]), own, level[which])
    f[:, which] = own
    return seen


def forget(f: Floats, which: NDArray[np.bool_], silent: bool = False) -> None:
    """These are in no trend any more."""
    for field in (of.BEGAN, of.FARTHEST, of.SAID):
        f[field] = np.where(which, 0.0, f[field])
    if silent:
        f[of.ONSET] = np.where(which, f[of.MINUTE], f[of.ONSET])


def _judge(
    levels: Levels,
    odds: Odds,
    tell: float,
    those: tuple[Ints, Ints],
    f: Floats,
    level: Floats,
) -> Seen:
    higher = level > f[of.CLIMBED] + _spread(f)
    f[of.CLIMBED] = np.where(higher, level, f[of.CLIMBED])
    f[of.CLIMBED_AT] = np.where(higher, f[of.MINUTE], f[of.CLIMBED_AT])
    f[of.PEAK] = np.maximum(f[of.PEAK], level)
    lasted = f[of.MINUTE] - f[of.ONSET] + 1.0
    slope = levels.slope(those[1], np.minimum(SHARE * lasted, float(LONGEST)))
    needed = np.maximum(f[of.LIMIT] - level, 0.0)
    eta = np.where(slope > 0, needed / np.where(slope > 0, slope, 1.0), np.inf)
    eta = np.where(np.isnan(f[of.LIMIT]), np.inf, eta)
    known = np.isfinite(eta[0]) & (lasted >= SHORTEST)
    way = np.where(known, lasted / (lasted + eta[0]), 0.0)
    f[of.FARTHEST] = np.maximum(f[of.FARTHEST], way)
    probability = odds.of(f[of.KIND].astype(np.int64), way)
    sure = (probability >= tell) & (eta[0] * MINUTE <= FARTHEST_AHEAD) & (way > 0)
    likely = sure & (f[of.SAID] == 0)
    f[of.SAID] = np.where(likely, 1.0, f[of.SAID])
    ended = _ended(f, level, lasted)
    numbers = f.copy()
    _settle(f, level, ended)
    return Seen(
        which=those[0],
        likely=likely,
        ended=ended,
        probability=probability,
        now=way,
        way=numbers[of.FARTHEST],
        eta=eta[[0, 2, 1]],
        slope=slope[0],
        lasted=lasted,
        level=level,
        numbers=numbers,
    )


def _ended(f: Floats, level: Floats, lasted: Floats) -> Ints:
    turned = level < (f[of.MIDDLE] + f[of.PEAK]) / 2.0
    flat = f[of.MINUTE] - f[of.CLIMBED_AT] >= np.maximum(lasted / 2.0, FLAT)
    return np.where(turned, Ended.TURNED, np.where(flat, Ended.FLAT, Ended.NO)).astype(np.int64)


def _settle(f: Floats, level: Floats, ended: Ints) -> None:
    """What was come back from by itself is no news; where it stays, that is what is usual now."""
    over, flat = ended != Ended.NO, ended == Ended.FLAT
    held = flat | (over & (f[of.SAID] != SETTLED))
    f[of.HELD] = np.where(held, np.maximum(f[of.HELD], f[of.PEAK]), f[of.HELD])
    f[of.MIDDLE] = np.where(flat, level, f[of.MIDDLE])
    f[of.ONSET] = np.where(flat, f[of.MINUTE], f[of.ONSET])
    forget(f, over)


def _learn(f: Floats, level: Floats, usual: NDArray[np.bool_]) -> None:
    first = f[of.TAKEN] == 0
    f[of.MIDDLE] = np.where(first, level, f[of.MIDDLE])
    f[of.HELD] = np.where(first, level, f[of.HELD])
    low = first | (level <= f[of.MIDDLE])
    f[of.ONSET] = np.where(low, f[of.MINUTE], f[of.ONSET])
    off = level - f[of.MIDDLE]
    most = np.where(f[of.TAKEN] >= YOUNG, CLIPPED * _spread(f), np.inf)
    off = np.clip(off, -most, most)
    weight = np.where(usual, np.maximum(1.0 / (f[of.TAKEN] + 1.0), 1.0 / USUAL), 0.0)
    f[of.MIDDLE] += weight * off
    f[of.SPREAD] += weight * (np.abs(off) - f[of.SPREAD])
    touched = level >= f[of.HELD] - _spread(f)
    f[of.HELD_AT] = np.where(touched, f[of.MINUTE], f[of.HELD_AT])
    old = usual & (f[of.MINUTE] - f[of.HELD_AT] >= HELD_FOR)
    f[of.HELD] = np.where(old, f[of.MIDDLE], f[of.HELD])
    f[of.TAKEN] += usual


def _spread(f: Floats) -> Floats:
    """Never nothing: a level that never moved may be rounded."""
    spread: Floats = f[of.SPREAD] + ROUNDING * np.abs(f[of.MIDDLE])
    return spread
