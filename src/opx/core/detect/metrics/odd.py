# SPDX-License-Identifier: Apache-2.0

"""What is odd about metric streams by itself, as the sense beat drives it.

The top of ``metrics``: the state, the departures, and the points that wait to be scored
together. Scores do not depend on how points are cut, so a chunk of the log costs nothing
until the clock ticks; and where they are cut follows from the log alone, so that a replay
does what was done. What a stream sends in bulk is scored a piece at each tick, in its order,
so that nobody else is held up. It must never forget a point that waits, but for those that
are too many to be kept, which are counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from opx.core.base.time import Ms
from opx.core.detect.finding import Finding
from opx.core.detect.metrics import packing, stream
from opx.core.detect.metrics.departures import Departures
from opx.core.detect.metrics.state import MetricState
from opx.core.ingest.signals import MetricBatch, Series
from opx.errors import Damaged

FORM = 1
MOST_BEHIND = 262_144
"""Points that wait for a later tick than the next, of all streams together, at 20 bytes each."""


@dataclass(slots=True, kw_only=True)
class Odd:
    """``waiting``: points to be scored at the next tick, or when there are ``stream.PIECE`` of
    them; ``count``: how many that are. ``behind``: points that came in bulk before those, to be
    scored ``packing.MOST_ALIKE`` of each stream at a time. ``skipped``: those for which there was
    no room there, which are never scored."""

    state: MetricState = field(default_factory=MetricState)
    departures: Departures = field(default_factory=Departures)
    waiting: list[MetricBatch] = field(default_factory=list)
    count: int = 0
    behind: MetricBatch = field(default_factory=lambda: packing.joined([]))
    skipped: int = 0

    @property
    def taken(self) -> int:
        """Points so far, those that wait too."""
        return self.state.points + self.skipped + self.count + len(self.behind)

    def take(self, points: MetricBatch, series: Mapping[int, Series], now: Ms) -> list[Finding]:
        """Let these wait. The edges of whole pieces, where there are enough for one: mostly
        none. ``series``: at least those of ``points``, and of what waits."""
        self.waiting.append(points)
        self.count += len(points)
        if self.count < stream.PIECE:
            return []
        whole = packing.joined(self.waiting)
        edges, start = [], 0
        while len(whole) - start >= stream.PIECE:
            end = start + stream.PIECE
            edges += self._score(packing.part(whole, slice(start, end)), series, now)
            start = end
        rest = packing.part(whole, slice(start, len(whole)))
        self.waiting, self.count = [rest] if len(rest) else [], len(rest)
        return edges

    def tick(self, series: Mapping[int, Series], now: Ms) -> list[Finding]:
        """The edges in what waits, and those that the time makes."""
        if not self.count and not len(self.behind):
            return self.departures.tick(now)
        points = packing.joined(self.waiting)
        self.waiting, self.count = [], 0
        return self._score(points, series, now)

    def save(self) -> dict[str, Any]:
        """Plain JSON values; ``load`` of them goes on exactly here."""
        return {
            "form": FORM,
            "state": {name: packing.packed(array) for name, array in self.state.save().items()},
            "open": self.departures.save(),
            "skipped": self.skipped,
            "waiting": packing.pack_points(packing.joined(self.waiting)),
            "behind": packing.pack_points(self.behind),
        }

    @classmethod
    def load(cls, saved: Mapping[str, Any]) -> Odd:
        """What was saved; a new one from ``{}``. ``Damaged`` if it is not that."""
        if not saved:
            return cls()
        try:
            if saved["form"] != FORM:
                raise Damaged("the metric detector's state is of another form")
            arrays = {name: packing.unpacked(row) for name, row in saved["state"].items()}
            points = packing.unpack_points(saved["waiting"])
            behind = saved.get("behind")  # which an older opx did not have
            return cls(
                state=MetricState.load(arrays),
                departures=Departures.load(saved["open"]),
                waiting=[points] if len(points) else [],
                count=len(points),
                behind=packing.joined([]) if behind is None else packing.unpack_points(behind),
                skipped=int(saved["skipped"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise Damaged(f"the metric detector's state: {error!r}") from error

    def _score(self, points: MetricBatch, series: Mapping[int, Series], now: Ms) -> list[Finding]:
        points = self._due(points)
        scores = stream.step(self.state, points)
        return self.departures.step(self.state, points, scores, series, now)

    def _due(self, points: MetricBatch) -> MetricBatch:
        """What is to be scored now, of what is behind and of ``points``, which come after it: the
        first of every stream, the second, ... The others are behind then; if they are too many,
        without those that the most of their stream follow."""
        if not len(self.behind) and not packing.crowded(points):
            return points
        points = packing.joined([self.behind, points])
        before, after = packing.ranks(points)
        later = before >= packing.MOST_ALIKE
        if later.sum() > MOST_BEHIND:
            gone = later & (after >= np.partition(after[later], MOST_BEHIND)[MOST_BEHIND])
            self.skipped += int(gone.sum())
            later &= ~gone
        self.behind = packing.part(points, later)
        order = np.argsort(before, kind="stable")
        return packing.part(points, order[before[order] < packing.MOST_ALIKE])
