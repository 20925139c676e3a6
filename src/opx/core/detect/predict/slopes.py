# SPDX-License-Identifier: Apache-2.0

"""Levels of the last hours at three scales, and the slope through any stretch of them.

Part of ``predict``. Each stream keeps 16 levels of one minute, 16 of four and 16 of sixteen:
the last 4 hours in 48 numbers. The slope is the median of those between all pairs (Theil 1950,
Sen 1968): up to 29 % of the levels may be anything. It never looks at the minute that runs.
"""

from __future__ import annotations

import numpy as np

from opx.core.detect.metrics.territory import Floats, Ints

KEPT = 16
SPANS = (1, 4, 16)
"""Minutes of a level."""
LONGEST = KEPT * SPANS[-1]
FEWEST = 4
"""Levels without which there is no slope."""
PIECE = 2_048
"""Streams worked on at once: 120 pairs each, so about 2 MB a time."""
_LATER, _EARLIER = np.triu_indices(KEPT, 1)[::-1]


class Levels:
    """``rings``: one for each of ``SPANS``, (streams, ``KEPT``) float64, the newest last, NaN where
    nothing came; ``newest``: which minute, four or sixteen that is, from the epoch. ``parts``:
    (streams, 2, 3): sum, number and which one, of what the coarser two still gather."""

    def __init__(self) -> None:
        self.rings = [np.full((0, KEPT), np.nan) for _ in SPANS]
        self.newest = np.zeros((0, len(SPANS)))
        self.parts = np.zeros((0, len(SPANS) - 1, 3))

    def clear(self, rows: Ints) -> None:
        for ring in self.rings:
            ring[rows] = np.nan
        self.newest[rows] = 0.0
        self.parts[rows] = 0.0

    def push(self, rows: Ints, minute: Floats, level: Floats) -> None:
        """The minute of each row is over, with this level; each is later than the one before."""
        self._shift(0, rows, minute, level)
        for scale, span in enumerate(SPANS[1:], 1):
            part, place = self.parts[rows, scale - 1], np.floor(minute / span)
            over = ((part[:, 1] > 0) & (place > part[:, 2])).nonzero()[0]
            if over.size:
                self._shift(scale, rows[over], part[over, 2], part[over, 0] / part[over, 1])
                part[over] = 0.0
            part[:, 0] += level
            part[:, 1] += 1.0
            part[:, 2] = place
            self.parts[rows, scale - 1] = part

    def smooth(self, rows: Ints) -> Floats:
        """The median of the last three minutes that had a level, the lower of two."""
        last = np.sort(self.rings[0][rows, -3:], axis=1)
        number = np.isfinite(last).sum(1)
        middle: Floats = last[np.arange(len(rows)), np.maximum((number - 1) // 2, 0)]
        return middle

    def slope(self, rows: Ints, stretch: Floats) -> Floats:
        """(3, rows): the slope a minute over the last ``stretch`` minutes, and its lower and upper
        quartile among all pairs; NaN where too little is known."""
        found = np.full((3, len(rows)), np.nan)
        for scale, span in enumerate(SPANS):
            least = SPANS[scale - 1] * KEPT if scale else 0
            most = KEPT * span if scale < len(SPANS) - 1 else np.inf
            own = ((stretch > least) & (stretch <= most)).nonzero()[0]
            for start in range(0, len(own), PIECE):
                some = own[start : start + PIECE]
                count = np.clip(np.ceil(stretch[some] / span), FEWEST, KEPT)
                found[:, some] = _pairs(self.rings[scale][rows[some]], count) / span
        return found

    def _shift(self, scale: int, rows: Ints, place: Floats, level: Floats) -> None:
        """What is new is the newest, and what lies between it and the one before is unknown."""
        ring, by = self.rings[scale], place - self.newest[rows, scale]
        self.newest[rows, scale] = place
        source = np.arange(KEPT) + np.minimum(by, KEPT).astype(np.int64)[:, None]
        moved = np.take_along_axis(ring[rows], np.minimum(source, KEPT - 1), axis=1)
        moved = np.where(source < KEPT, moved, np.nan)
        moved[:, -1] = level
        ring[rows] = moved


def _pairs(levels: Floats, count: Floats) -> Floats:
    """Of the last ``count`` levels of each row: median and quartiles of the slopes a level."""
    known = np.where(np.arange(KEPT) >= KEPT - count[:, None], levels, np.nan)
    slopes = (known[:, _LATER] - known[:, _EARLIER]) / (_LATER - _EARLIER)
    slopes.sort(axis=1)  # what is unknown goes last
    pairs = np.isfinite(slopes).sum(1)
    enough = pairs >= FEWEST * (FEWEST - 1) // 2
    row = np.arange(len(levels))
    picked = [slopes[row, np.maximum(pairs - 1, 0) * k // 4] for k in (2, 1, 3)]
    return np.where(enough, np.stack(picked), np.nan)
