# SPDX-License-Identifier: Apache-2.0

"""How often a trend that got so far went on to the failure: counted, with a prior.

Part of ``predict``. Before anything is counted, a trend that has lasted ``T`` and needs ``h``
more gets there with probability ``T / (T + h)``: what is true of a process of which nothing
is known but how long it has gone on (a survival curve without a scale of its own, Pareto's
with index 1; Gott 1993). That is worth ``PRIOR`` cases of a Beta distribution; every trend
that ends adds one.
"""

from __future__ import annotations

import numpy as np

from opx.core.detect.metrics.territory import Floats, Ints
from opx.core.detect.predict.prediction import Kind

KINDS = tuple(Kind)
CELLS = 10
"""Tenths of the way in time."""
PRIOR = 4.0


class Odds:
    """``ended``, ``failed``: (kinds, ``CELLS``) int64: trends of each kind that got at least so
    far, and how many of them ended in a failure."""

    def __init__(self) -> None:
        self.ended = np.zeros((len(KINDS), CELLS), np.int64)
        self.failed = np.zeros((len(KINDS), CELLS), np.int64)

    def learn(self, kinds: Ints, way: Floats, failed: bool) -> None:
        """Count trends that are over. ``way``: how far each got, 0 to 1."""
        for kind, cell in zip(kinds.tolist(), cell_of(way).tolist(), strict=True):
            self.ended[kind, : cell + 1] += 1
            self.failed[kind, : cell + 1] += failed

    def of(self, kinds: Ints, way: Floats) -> Floats:
        """The mean of the posterior, 0 to 1."""
        cell = cell_of(way)
        ended, failed = self.ended[kinds, cell], self.failed[kinds, cell]
        likely: Floats = (PRIOR * way + failed) / (PRIOR + ended)
        return likely

    def cases(self, kind: int, way: float) -> int:
        """How many past trends say so."""
        return int(self.ended[kind, int(cell_of(np.array([way]))[0])])


def cell_of(way: Floats) -> Ints:
    return np.clip(np.floor(way * CELLS), 0, CELLS - 1).astype(np.int64)
