# SPDX-License-Identifier: Apache-2.0

"""What an hour of the day usually brings a stream, in UTC.

Part of ``metrics``. The mean of each hour, weighed against the same hour of earlier days:
a tenth of the new one, so that about ten days count; more while there are fewer. Before an
hour has been seen for a first time, what came in it so far stands for it. A season of
another length is not found; to look for one cost more than it gave.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from opx.core.base.time import HOUR as HOUR_MS
from opx.core.detect.metrics.fields import BEFORE, COUNT, HOUR, KNOWN, MEAN, TAKEN, USUAL
from opx.core.detect.metrics.territory import Floats, Ints

HOURS = 24
NEWEST = 0.1
"""The weight of the newest day."""


class Hours:
    """``means``: (streams, 24) float64; ``days``: (streams, 24) uint8, of how many."""

    def __init__(self) -> None:
        self.means = np.zeros((0, HOURS))
        self.days: NDArray[np.uint8] = np.zeros((0, HOURS), np.uint8)

    def usual(self, rows: Ints, f: Floats, at: Floats, value: Floats) -> Floats:
        """What the hour of each point usually brings. Learns the points."""
        hour = np.floor(at / HOUR_MS)
        turned = ((hour != f[HOUR]) | (f[TAKEN] == 0)).nonzero()[0]
        if turned.size:
            self._turn(rows, f, hour, turned, value)
        usual: Floats = f[USUAL].copy()
        unknown = (f[KNOWN] == 0).nonzero()[0]
        if unknown.size:
            begun = f[COUNT, unknown] > 0
            usual[unknown] = np.where(begun, f[MEAN, unknown], f[BEFORE, unknown])
        f[COUNT] += 1.0
        f[MEAN] += (value - f[MEAN]) / f[COUNT]  # exact where nothing changes, as a sum is not
        return usual

    def _turn(self, rows: Ints, f: Floats, hour: Floats, which: Ints, value: Floats) -> None:
        """Close the hour that is over, and open the next."""
        fresh = which[f[TAKEN, which] == 0]
        f[BEFORE, fresh] = value[fresh]
        over = which[f[COUNT, which] > 0]
        if over.size:
            own, slot = rows[over], _slot(f[HOUR, over])
            mean, days = f[MEAN, over], self.days[own, slot]
            weight = np.maximum(NEWEST, 1.0 / (days + 1.0))
            known = self.means[own, slot]
            self.means[own, slot] = known + weight * (mean - known)
            self.days[own, slot] = np.minimum(days, 254) + 1
            f[BEFORE, over] = mean
        slot = _slot(hour[which])
        f[HOUR, which] = hour[which]
        f[MEAN, which] = f[COUNT, which] = 0.0
        f[USUAL, which] = self.means[rows[which], slot]
        f[KNOWN, which] = self.days[rows[which], slot] > 0


def _slot(hour: Floats) -> Ints:
    return np.mod(hour, HOURS).astype(np.int64)
