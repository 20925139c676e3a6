# SPDX-License-Identifier: Apache-2.0

"""What may be asked of the telemetry, and what comes back: values, and how series are chosen.

Beneath all stages. A query names a metric and the labels of the series it means, puts them
into groups, and asks for one statistic in buckets of time. Whoever keeps the points answers
it; this module only says what is meant, so that every keeper means the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from opx.core.base.expressions import Pattern
from opx.core.base.reads import Stat
from opx.core.base.time import HOUR, MINUTE, SECOND, Ms, Window
from opx.errors import BadInput, TooLarge

MAX_SERIES = 100_000
"""Series that one query chooses."""
MAX_GROUPS = 1_000
MAX_BUCKETS = 100_000
"""In all groups together."""
LONG: Ms = 6 * HOUR
"""A window longer than this is answered from roll-ups."""
LOOK_BACK: Ms = 5 * MINUTE
"""How long before the window a counter's point may stand and still be the one before its first."""
PERCENTILES = {Stat.P50: 0.50, Stat.P95: 0.95, Stat.P99: 0.99}
ZERO_WHEN_EMPTY = (Stat.COUNT, Stat.SUM)

Group: TypeAlias = tuple[tuple[str, str], ...]
"""Labels as (name, value), sorted by name."""


class Resolution(StrEnum):
    """What an answer was made from: the points, or what they amount to in a minute or an hour."""

    RAW = "raw"
    MINUTE = "1m"
    HOUR = "1h"


SPANS: dict[Resolution, Ms] = {Resolution.MINUTE: MINUTE, Resolution.HOUR: HOUR}


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricQuery:
    """``stat`` of the series of ``metric`` that have ``labels`` (others they may have too) and
    whose labels match the patterns of ``matching`` as a whole, in buckets of ``step`` over
    ``window``. A label that a series lacks is empty.

    ``by``: series with equal values of these labels are one group. () is one group of all
    there are; None makes each series its own. Beside its labels a series has ``environment``,
    ``service`` and ``resource``: its identity.

    ``rate`` is for counters: how much each series grew per second of the bucket, summed over
    the group. A value below the one before it began again at 0. Growth counts where it was
    seen: at the later of two points.
    """

    metric: str
    labels: dict[str, str] = field(default_factory=dict)
    matching: dict[str, str] = field(default_factory=dict)
    by: tuple[str, ...] | None = ()
    window: Window
    step: Ms
    stat: Stat

    def starts(self) -> range:
        """When each bucket begins. ``BadInput`` unless there are 1 to ``MAX_BUCKETS``."""
        if self.step < 1:
            raise BadInput("a step is at least a millisecond")
        starts = range(self.window.start, self.window.end, self.step)
        if len(starts) > MAX_BUCKETS:
            raise TooLarge(f"that is more than {MAX_BUCKETS} buckets", hint="a longer step")
        return starts

    def resolution(self) -> Resolution:
        """What it is answered from: roll-ups when the window is long, begins with a roll-up's
        span and steps by it; percentiles do not add up, so they always come from the points."""
        window = self.window
        if window.end - window.start > LONG and self.stat not in PERCENTILES:
            for resolution in (Resolution.HOUR, Resolution.MINUTE):
                span = SPANS[resolution]
                if window.start % span == 0 and self.step % span == 0:
                    return resolution
        return Resolution.RAW

    def seconds(self, number: int) -> float:
        """How long a bucket is: the last one may be cut short."""
        start = self.window.start + number * self.step
        return min(self.step, self.window.end - start) / SECOND


@dataclass(frozen=True, slots=True)
class Bucket:
    """``value`` None: no point in ``[at, at + step)`` (count and sum are 0 instead), or none
    from which it follows (the first point of a counter)."""

    at: Ms
    value: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricResult:
    """One group: the labels its series have in common, and every bucket of the window."""

    labels: dict[str, str]
    buckets: list[Bucket]


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricAnswer:
    """``results``: by their labels. Where nothing was chosen there are none, but for the one
    group of all, which is then empty."""

    resolution: Resolution
    results: list[MetricResult]


class Chooser:
    """Which series a query means, and the group of each, over many series in time linear in
    their number. ``ExpressionError`` for a pattern that is none; ``TooLarge`` beyond bounds."""

    def __init__(self, query: MetricQuery) -> None:
        self._query = query
        self._matching = {name: Pattern(text) for name, text in query.matching.items()}
        self._numbers: dict[Group, int] = {} if query.by != () else {(): 0}
        self.chosen: dict[int, int] = {}
        """The number of its group by each series' own."""

    def groups(self) -> list[Group]:
        """By their numbers."""
        return list(self._numbers)

    def offer(self, number: int, labels: Mapping[str, str]) -> None:
        """Choose series ``number`` if it is meant."""
        query = self._query
        if any(labels.get(name, "") != value for name, value in query.labels.items()):
            return
        if not all(p.matches(labels.get(name, "")) for name, p in self._matching.items()):
            return
        names = sorted(labels if query.by is None else set(query.by))
        group = tuple((name, labels.get(name, "")) for name in names)
        self.chosen[number] = self._numbers.setdefault(group, len(self._numbers))
        if len(self.chosen) > MAX_SERIES:
            raise TooLarge(f"that is more than {MAX_SERIES} series", hint="choose by a label")
        if len(self._numbers) > MAX_GROUPS:
            raise TooLarge(f"that is more than {MAX_GROUPS} groups", hint="group by fewer labels")
        if len(self._numbers) * len(query.starts()) > MAX_BUCKETS:
            raise TooLarge(f"that is more than {MAX_BUCKETS} buckets in all", hint="a longer step")

    def answer(self, found: Mapping[tuple[int, int], float]) -> MetricAnswer:
        """``found``: the value of each bucket that has one, by group and bucket number."""
        empty = 0.0 if self._query.stat in ZERO_WHEN_EMPTY else None
        starts = self._query.starts()
        results = [
            MetricResult(
                labels=dict(group),
                buckets=[Bucket(at, found.get((number, n), empty)) for n, at in enumerate(starts)],
            )
            for group, number in sorted(self._numbers.items())
        ]
        return MetricAnswer(resolution=self._query.resolution(), results=results)
