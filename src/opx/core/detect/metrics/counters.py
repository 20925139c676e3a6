# SPDX-License-Identifier: Apache-2.0

"""What a stream is, a gauge or a counter, and what of it is looked at.

Part of ``metrics``. A stream that rose ``RISES`` times and never fell is taken for a counter:
from then on its growth per second is looked at, whose odds no other zero of its units changes.
A fall to less than half, and not below zero, where no counter is, is a reset, and what it grew
by since is not known: that point says nothing. Any other fall proves that it was a gauge, and
it is one for good. What was learned of the one is forgotten when it turns out to be the other.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from opx.core.base.time import SECOND
from opx.core.detect.metrics.fields import AT, DOWNS, KIND, LATE, RAW, SEEN, UPS
from opx.core.detect.metrics.territory import Floats, Ints

GAUGE, COUNTER, GAUGE_FOR_GOOD = 0.0, 1.0, 2.0
RISES = 16
BELIEVED_LATE = 8
"""So many points in a row that are older than the newest: it was that one whose time was wrong,
and the clock is believed again."""


def timely(f: Floats, at: Floats) -> NDArray[np.bool_]:
    """Which points are newer than what came. A repeated or a late one is not looked at."""
    newer: NDArray[np.bool_] = at > f[AT]
    if newer.all() and not f[LATE].any():
        return newer
    newer |= f[SEEN] == 0
    late = np.where(newer, 0.0, f[LATE] + 1.0)
    taken: NDArray[np.bool_] = newer | (late >= BELIEVED_LATE)
    f[LATE] = np.where(taken, 0.0, late)
    return taken


def read(f: Floats, at: Floats, value: Floats) -> tuple[Floats, Ints]:
    """Take the points: what is looked at, NaN where a point says nothing; and which streams
    have turned out to be something else than was thought."""
    grown = np.where(f[SEEN] > 0, value - f[RAW], 0.0)
    f[UPS] += grown > 0
    f[DOWNS] += grown < 0
    begun = f[DOWNS] == 0
    if begun.any():
        begun &= (f[KIND] == GAUGE) & (f[UPS] >= RISES)
    looked_at, changed = value, begun
    counts = (begun | (f[KIND] == COUNTER)).nonzero()[0]
    if counts.size:
        seconds = (at[counts] - f[AT, counts]) / SECOND
        rate = np.where(seconds > 0, grown[counts] / np.where(seconds > 0, seconds, 1.0), np.nan)
        fell = grown[counts] < 0
        reset = fell & (value[counts] >= 0) & (value[counts] <= f[RAW, counts] / 2)
        none = fell & ~reset
        f[KIND, counts] = np.where(none, GAUGE_FOR_GOOD, COUNTER)
        looked_at, changed = value.copy(), begun.copy()
        looked_at[counts] = np.where(none, value[counts], np.where(reset, np.nan, rate))
        changed[counts] |= none
    f[RAW], f[AT] = value, at
    f[SEEN] += 1.0
    return looked_at, changed.nonzero()[0]
