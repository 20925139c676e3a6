# SPDX-License-Identifier: Apache-2.0

"""What is odd about metric streams by itself, as the sense beat drives it.

The top of ``metrics``: the state, the departures, and the points that wait to be scored
together. Scores do not depend on how points are cut, so a chunk of the log costs nothing
until the clock ticks; and where they are cut follows from the log alone, so that a replay
does what was done. It must never forget a point that waits.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opx.core.base.time import Ms
from opx.core.detect.finding import Finding
from opx.core.detect.metrics import stream
from opx.core.detect.metrics.departures import Departures
from opx.core.detect.metrics.state import MetricState
from opx.core.ingest.signals import MetricBatch, Series
from opx.errors import Damaged

FORM = 1
MOST_STREAMS = 32_768
"""Streams that are known at once, at 1.2 KB each: 40 MB to hold, and to write when it is saved.
Beyond that the least useful go."""
MOST_ALIKE = 1_024
"""Points of one stream that are scored together, the newest: a stream is taken a point after the
other, so more of them at one go would hold up all others. What is sent in bulk is history."""
_COLUMNS = {"sid": np.int32, "at": np.int64, "value": np.float64}
_KINDS = "iuf"


@dataclass(slots=True, kw_only=True)
class Odd:
    """``waiting``: points to be scored at the next tick, or when there are ``stream.PIECE`` of
    them; ``count``: how many that are. ``skipped``: points that came in bulk and were not
    scored."""

    state: MetricState = field(default_factory=lambda: MetricState(MOST_STREAMS))
    departures: Departures = field(default_factory=Departures)
    waiting: list[MetricBatch] = field(default_factory=list)
    count: int = 0
    skipped: int = 0

    @property
    def taken(self) -> int:
        """Points so far, those that wait too."""
        return self.state.points + self.skipped + self.count

    def take(self, points: MetricBatch, series: Mapping[int, Series], now: Ms) -> list[Finding]:
        """Let these wait. The edges of whole pieces, where there are enough for one: mostly
        none. ``series``: at least those of ``points``, and of what waits."""
        self.waiting.append(points)
        self.count += len(points)
        if self.count < stream.PIECE:
            return []
        whole = self._all()
        edges, start = [], 0
        while len(whole) - start >= stream.PIECE:
            end = start + stream.PIECE
            edges += self._score(_part(whole, start, end), series, now)
            start = end
        rest = _part(whole, start, len(whole))
        self.waiting, self.count = [rest] if len(rest) else [], len(rest)
        return edges

    def tick(self, series: Mapping[int, Series], now: Ms) -> list[Finding]:
        """The edges in what waits, and those that the time makes."""
        if not self.count:
            return self.departures.tick(now)
        points = self._all()
        self.waiting, self.count = [], 0
        return self._score(points, series, now)

    def save(self) -> dict[str, Any]:
        """Plain JSON values; ``load`` of them goes on exactly here."""
        points = self._all()
        return {
            "form": FORM,
            "state": {name: _packed(array) for name, array in self.state.save().items()},
            "open": self.departures.save(),
            "skipped": self.skipped,
            "waiting": {name: _packed(getattr(points, name)) for name in _COLUMNS},
        }

    @classmethod
    def load(cls, saved: Mapping[str, Any]) -> Odd:
        """What was saved; a new one from ``{}``. ``Damaged`` if it is not that."""
        if not saved:
            return cls()
        try:
            if saved["form"] != FORM:
                raise Damaged("the metric detector's state is of another form")
            arrays = {name: _unpacked(row) for name, row in saved["state"].items()}
            points = _points({name: _unpacked(saved["waiting"][name]) for name in _COLUMNS})
            return cls(
                state=MetricState.load(arrays),
                departures=Departures.load(saved["open"]),
                waiting=[points] if len(points) else [],
                count=len(points),
                skipped=int(saved["skipped"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise Damaged(f"the metric detector's state: {error!r}") from error

    def _all(self) -> MetricBatch:
        """What waits, as one batch."""
        columns = {
            name: np.concatenate([np.zeros(0, kind), *(getattr(one, name) for one in self.waiting)])
            for name, kind in _COLUMNS.items()
        }
        return MetricBatch(**columns)

    def _score(self, points: MetricBatch, series: Mapping[int, Series], now: Ms) -> list[Finding]:
        newest = _newest(points)
        self.skipped += len(points) - len(newest)
        points = newest
        scores = stream.step(self.state, points)
        return self.departures.step(self.state, points, scores, series, now)


def _newest(points: MetricBatch) -> MetricBatch:
    """Without those of a stream that are followed by ``MOST_ALIKE`` others of it."""
    if len(points) <= MOST_ALIKE:
        return points
    _, own, counts = np.unique(points.sid, return_inverse=True, return_counts=True)
    if counts.max() <= MOST_ALIKE:
        return points
    order = np.argsort(own, kind="stable")
    ends = np.cumsum(counts)
    follow = np.empty(len(own), np.int64)
    follow[order] = np.repeat(ends, counts) - np.arange(len(own)) - 1
    kept = follow < MOST_ALIKE
    return MetricBatch(**{name: getattr(points, name)[kept] for name in _COLUMNS})


def _part(points: MetricBatch, start: int, end: int) -> MetricBatch:
    """Copies, so that nothing holds the whole."""
    return MetricBatch(**{name: getattr(points, name)[start:end].copy() for name in _COLUMNS})


def _points(columns: Mapping[str, NDArray[Any]]) -> MetricBatch:
    """``ValueError`` unless they are three columns of one length, of their kinds."""
    alike = {(column.shape, column.dtype == _COLUMNS[name]) for name, column in columns.items()}
    if alike != {((len(columns["sid"]),), True)}:
        raise ValueError("the points that wait are no columns of one length")
    return MetricBatch(**columns)


def _packed(array: NDArray[Any]) -> list[Any]:
    """As text: the kind of its numbers, its shape, its bytes in base64."""
    kind = array.dtype.newbyteorder("<")
    data = base64.b64encode(array.astype(kind, copy=False).tobytes()).decode()
    return [kind.str, list(array.shape), data]


def _unpacked(row: Any) -> NDArray[Any]:
    """``TypeError`` or ``ValueError`` if it is no such row."""
    name, shape, data = row
    kind = np.dtype(str(name))
    if kind.kind not in _KINDS:
        raise ValueError(f"no numbers, but {name}")
    array = np.frombuffer(base64.b64decode(data, validate=True), kind).reshape(shape)
    return array.astype(kind.newbyteorder("="))
