# SPDX-License-Identifier: Apache-2.0

"""Which levels a stream has held, and that it is away from all of them.

Part of ``metrics``. A flag costs nothing and may come once in a few thousand points of a
stream; a finding must not come from ten thousand healthy streams in a day, so no tail of
one stream's own history can be rare enough for it. It needs an effect and persistence
instead: ``BLOCK`` points in a row, all of them away from every level that was held before: by
half of what those span, by all that a block usually spreads over, and by half of the level
itself. One wild value, a restart, a
deployment or a busy hour is none, and neither is the rising of a stream that has never
fallen: it may be a counter.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from opx.core.detect.metrics.counters import COUNTER
from opx.core.detect.metrics.fields import (
    AT,
    AWAY,
    BEGAN,
    BLOCKS,
    DOWNS,
    HELD_HIGH,
    HELD_LOW,
    KIND,
    LEAST,
    MOST,
    QUIET,
    SPREAD,
    TAKEN,
)
from opx.core.detect.metrics.territory import Floats

BLOCK = 8
YOUNG = 120
"""Blocks before a stream is known well enough: four hours of one that comes every 15 s. What
it then does for the first time is nothing that it does every hour."""
ENOUGH_QUIET = 2
"""Blocks in a row that are not away end it."""
ACCEPTED = 256
"""After so many blocks away, that is where the stream lives now."""
FADES = 8_192
"""Blocks after which a level that was held once counts for little."""
FAR = 0.5
"""Away by this of what the levels span, and of the level."""


class Turn(IntEnum):
    """What a point is to its stream's departure, mostly nothing."""

    NONE = 0
    LEFT = 1
    BACK = 2
    SETTLED = 3
    """It stays, and that is what it is like now."""


def watch(f: Floats, value: Floats) -> NDArray[np.int8]:
    """The turn at each point. Learns them."""
    place = np.mod(f[TAKEN] - 1.0, BLOCK)
    first = (place == 0).nonzero()[0]
    if first.size:
        f[BEGAN, first] = f[AT, first]
        f[LEAST, first] = f[MOST, first] = value[first]
    np.minimum(f[LEAST], value, out=f[LEAST])
    np.maximum(f[MOST], value, out=f[MOST])
    turns = np.zeros(len(value), np.int8)
    full = (place == BLOCK - 1).nonzero()[0]
    if full.size:
        block = f[:, full]
        turns[full] = _close(block)
        f[:, full] = block
    return turns


def bounds(f: Floats) -> tuple[Floats, Floats]:
    """Below and above what a stream is away. Between them it may be as it likes."""
    span = np.maximum(FAR * (f[HELD_HIGH] - f[HELD_LOW]), f[SPREAD])
    return (
        f[HELD_LOW] - np.maximum(span, FAR * np.abs(f[HELD_LOW])),
        f[HELD_HIGH] + np.maximum(span, FAR * np.abs(f[HELD_HIGH])),
    )


def _close(f: Floats) -> NDArray[np.int8]:
    low, high = bounds(f)
    may_rise = (f[DOWNS] > 0) | (f[KIND] == COUNTER)
    beyond = ((f[LEAST] > high) & may_rise) | (f[MOST] < low)
    beyond &= f[BLOCKS] >= YOUNG
    was = f[AWAY] > 0
    quiet = np.where(was & ~beyond, f[QUIET] + 1.0, 0.0)
    settled = was & (f[AWAY] >= ACCEPTED)
    back = was & ~settled & (quiet >= ENOUGH_QUIET)
    away = (was | beyond) & ~settled & ~back
    f[QUIET] = np.where(away, quiet, 0.0)
    f[AWAY] = np.where(away, f[AWAY] + 1.0, 0.0)
    turns = np.where(away & ~was, Turn.LEFT, np.where(back, Turn.BACK, Turn.NONE))
    turns = np.where(settled, Turn.SETTLED, turns)
    _hold(f, ~away)
    return turns.astype(np.int8)


def _hold(f: Floats, learn: NDArray[np.bool_]) -> None:
    """The level of a block was held, where it is to be learned."""
    first = f[BLOCKS] == 0
    middle = (f[LEAST] + f[MOST]) / 2.0
    low = np.where(first, f[MOST], np.minimum(f[HELD_LOW], f[MOST]))
    high = np.where(first, f[LEAST], np.maximum(f[HELD_HIGH], f[LEAST]))
    f[HELD_LOW] = np.where(learn, low + np.maximum(middle - low, 0.0) / FADES, f[HELD_LOW])
    f[HELD_HIGH] = np.where(learn, high + np.minimum(middle - high, 0.0) / FADES, f[HELD_HIGH])
    spread = f[MOST] - f[LEAST]
    weight = np.maximum(1.0 / (f[BLOCKS] + 1.0), 1.0 / ACCEPTED)
    f[SPREAD] += np.where(learn, weight * (spread - f[SPREAD]), 0.0)
    f[BLOCKS] += learn
