# SPDX-License-Identifier: Apache-2.0

"""How often points of unmapped series came, for whoever asks.

Beside the index of series, on the hot path of metrics: batches are only put aside here, and
counted many at once. It must never cost a batch more than that, nor anything at all while
every series is somebody's.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from opx.core.base.time import Ms
from opx.core.ingest.signals import MetricBatch, Series

FOLDED = 65_536
FOLDED_BATCHES = 1_024
"""After so many points, or batches of them, they are counted."""


class Nobodys:
    """``series``: those that are nobody's, by sid."""

    def __init__(self) -> None:
        self.series: dict[int, Series] = {}
        self._waiting: list[tuple[Ms, NDArray[np.int32]]] = []
        self._points = 0
        self._counts: dict[int, int] = {}
        self._last: dict[int, Ms] = {}
        self._is = np.zeros(1_024, dtype=np.bool_)

    def learn(self, series: Series) -> None:
        """A series that there is from now on."""
        if series.sid >= len(self._is):
            # Another one, as a thread may be reading this one.
            self._is = np.concatenate((self._is, np.zeros(2 * series.sid, dtype=np.bool_)))
        if not series.identity.service:
            self._is[series.sid] = True
            self.series[series.sid] = series

    def came(self, points: MetricBatch, at: Ms) -> None:
        """These points were kept at ``at``."""
        if self.series:
            self._waiting.append((at, points.sid))
            self._points += len(points.sid)
            if self._points >= FOLDED or len(self._waiting) >= FOLDED_BATCHES:
                self._fold()

    def told(self) -> list[tuple[Series, int, Ms]]:
        """The series of which points came since this was last asked: how many, and when the
        last; the newest at the end."""
        self._fold()
        counts, last, self._counts, self._last = self._counts, self._last, {}, {}
        rows = [(self.series[sid], count, last[sid]) for sid, count in counts.items()]
        return sorted(rows, key=lambda row: row[2])

    def _fold(self) -> None:
        waiting, self._waiting, self._points = self._waiting, [], 0
        if not waiting:
            return
        sids = np.concatenate([sid for _, sid in waiting])
        times = np.repeat([at for at, _ in waiting], [len(sid) for _, sid in waiting])
        theirs = self._is[sids]
        # Backwards, so that the first of each is the last that came.
        sids, first, counts = np.unique(sids[theirs][::-1], return_index=True, return_counts=True)
        when = times[theirs][::-1][first]
        for sid, at, count in zip(sids.tolist(), when.tolist(), counts.tolist(), strict=True):
            self._counts[sid] = self._counts.get(sid, 0) + count
            self._last[sid] = at
