# SPDX-License-Identifier: Apache-2.0

"""``PlainRule``: more than three standard deviations off, with which watching metrics begins.

What opx's own detectors are set beside, as it is the first that anybody writes who watches many
streams: the z-score against a stream's own recent past. The bench runs it over the healthy
fleet, the demo over what its opx took in. It is as mild here as it is in use: counters are
looked at by their growth, nothing is said of a stream before it is warm or where it never
moved, all that comes is learned, so that what stays odd is usual soon, and flagged points in a
row are one finding. It must never find anything for opx itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from opx.core.base.time import SECOND

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]

FAR = 3.0
"""Standard deviations."""
WARM = 30
"""Points before anything is said: the usual rule of thumb for a mean and a deviation."""
SPAN = 240
"""Points of the past that count: an hour at one every 15 s. Of those in use (30 to 240) it
brings the fewest findings of a healthy fleet."""
WEIGHT = 2 / (SPAN + 1)
"""Of the newest point, as the span of an exponentially weighted mean is defined."""
COUNTERS = ("_total", "_count", "_sum")
"""How a counter's name ends, by Prometheus' convention."""


class PlainRule:
    """``metrics``: the name of each stream's metric."""

    def __init__(self, metrics: Sequence[str]) -> None:
        size = len(metrics)
        self._counter = np.array([metric.endswith(COUNTERS) for metric in metrics], np.bool_)
        self._at, self._raw = np.zeros(size, np.int64), np.full(size, np.nan)
        self._seen, self._run = np.zeros(size, np.int64), np.zeros(size, np.int64)
        self._mean, self._variance = np.zeros(size), np.zeros(size)

    def step(self, rows: NDArray[np.integer], at: Ints, value: Floats) -> Ints:
        """How many points of each of these streams in a row are flagged now, this one the last
        of them. Where that is 1, a finding begins. ``rows``: which streams, each once at most;
        ``at``: in ms, later than the point before; ``value``: finite.

        Mean and variance are weighted by Finch, "Incremental calculation of weighted mean and
        variance" (2009); while there are few points, all weigh the same.
        """
        looked_at = self._looked_at(rows, at, value)
        there = np.isfinite(looked_at)
        seen, variance = self._seen[rows] + there, self._variance[rows]
        off = np.where(there, looked_at - self._mean[rows], 0.0)
        flagged = (seen > WARM) & (variance > 0) & (np.abs(off) > FAR * np.sqrt(variance))
        weight = np.maximum(WEIGHT, 1 / np.maximum(seen, 1))
        self._seen[rows] = seen
        self._mean[rows] += weight * off
        self._variance[rows] = (1 - weight) * (variance + weight * off * off)
        run = np.where(flagged, self._run[rows] + 1, 0)
        self._run[rows] = run
        return run

    def _looked_at(self, rows: NDArray[np.integer], at: Ints, value: Floats) -> Floats:
        """The value, or what a counter grew by in a second since its last point; one that fell
        began again at 0. NaN for the first point of a counter."""
        before, since = self._raw[rows], at - self._at[rows]
        self._raw[rows], self._at[rows] = value, at
        grown = np.where(value < before, value, value - before) * SECOND / since
        return np.where(self._counter[rows], grown, value)


def begun(metrics: Sequence[str], at: Sequence[int], table: Floats) -> list[int]:
    """When each finding of the rule began, in order. ``table`` (streams, times): the values of
    streams of these ``metrics`` at these times in ms; NaN where a stream has none."""
    rule, found = PlainRule(metrics), []
    for now, values in zip(at, table.T, strict=True):
        rows = np.isfinite(values).nonzero()[0]
        run = rule.step(rows, np.full(len(rows), now), values[rows])
        found += [now] * int((run == 1).sum())
    return found
