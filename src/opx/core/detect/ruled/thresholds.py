# SPDX-License-Identifier: Apache-2.0

"""The ``threshold`` block: one statistic of each series over windows.

Part of ``book``. Each (rule, series) has one window at a time, aligned to the epoch; the
first point after it closes it, so what comes out depends on the points alone and not on
how the log was cut. A window without points says nothing; a firing series that stays
silent for long expires. It must never look back: a point of a closed window is counted as
late and not used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from opx.core.base import canonical
from opx.core.base.metrics import PERCENTILES
from opx.core.base.reads import Stat
from opx.core.base.time import SECOND, Ms
from opx.core.detect.finding import ClearReason, Finding
from opx.core.detect.ruled.block import Block, Rules, saved_tracks
from opx.core.detect.ruled.judging import (
    HUGE,
    Judged,
    Verdict,
    condition,
    judge,
    silence,
    stop,
    stream_of,
)
from opx.core.detect.rules import DetectionRule, Threshold
from opx.core.ingest.signals import Series

MOST_VALUES = 1_024
"""Points of one window that a percentile is made of. Up to so many it is exact; of more, every
second, fourth, ... point is kept, evenly over the window, and the finding says so."""


@dataclass(slots=True)
class _Track(Judged):
    """One series under one rule. ``start``: its window's, -1 while it has no points.

    ``values``: every ``every``-th of its points, for a percentile. ``base``: the newest point
    of a counter, its time and value; ``covered``: from when on ``sum`` is its growth, -1 when
    that is not known.
    """

    start: Ms = -1
    count: int = 0
    sum: float = 0.0
    min: float = 0.0
    max: float = 0.0
    last_at: Ms = 0
    values: list[float] = field(default_factory=list)
    every: int = 1
    base: tuple[Ms, float] | None = None
    covered: Ms = -1


@dataclass(slots=True)
class Thresholds(Block[int, _Track]):
    """A stream is a sid. ``firing``: the keys of what fires. ``late``: points of closed windows."""

    check = Threshold
    firing: set[tuple[str, int]] = field(default_factory=set)
    late: int = 0

    def watch(self, rule: DetectionRule, series: Series) -> Watch | None:
        check = rule.check
        if not isinstance(check, Threshold) or not check.series.matches(series):
            return None
        track = self.tracks.setdefault((rule.hash, series.sid), _Track())
        return Watch(self, rule, check, series, track)

    def tick(self, rules: Rules, blind: bool) -> list[Finding]:
        """End what has fired and brings no points any more."""
        edges = []
        for key in sorted(self.firing):
            rule, track = rules[key[0]], self.tracks[key]
            check = rule.check
            if isinstance(check, Threshold) and self.clock.at >= _expiry(check, track):
                edges += _silenced(rule, check, track)
                self.firing.discard(key)
        return edges

    def save(self) -> dict[str, Any]:
        tracks = [
            {"rule": rule, "sid": sid, **canonical.plain(track)}
            for (rule, sid), track in sorted(self.tracks.items())
        ]
        return {"tracks": tracks, "late": self.late}

    def load(self, saved: Mapping[str, Any], rules: Rules) -> None:
        self.late = saved["late"]
        for values in saved_tracks(saved, rules):
            key = values.pop("rule"), values.pop("sid")
            values["base"] = tuple(values["base"]) if values["base"] else None
            if values["firing"] is not None:
                self.firing.add(key)
            self.tracks[key] = _Track(**values)

    def _pop(self, key: tuple[str, int]) -> _Track:
        self.firing.discard(key)
        return self.tracks.pop(key)


@dataclass(frozen=True, slots=True)
class Watch:
    """A track with what is known of its rule and its series."""

    of: Thresholds
    rule: DetectionRule
    check: Threshold
    series: Series
    track: _Track

    def take(self, at: Ms, value: float, now: Ms) -> list[Finding]:
        track, window = self.track, self.check.window
        start = at - at % window
        if start < track.start:
            self.of.late += 1
            return []
        edges: list[Finding] = []
        if track.firing is not None and at >= _expiry(self.check, track):
            edges += _silenced(self.rule, self.check, track)
        if start > track.start or not track.count:
            edges += self._closed()
            _open(track, start, window)
            track.min = track.max = value
        _add(track, self.check.stat, at, value)
        if edges:
            key = self.rule.hash, self.series.sid
            (self.of.firing.discard if track.firing is None else self.of.firing.add)(key)
        return edges

    def _closed(self) -> list[Finding]:
        """Judge the window that is full; nothing when it says nothing."""
        verdict = _verdict(self.check, self.track)
        if verdict is None:
            return []
        series = self.series
        edge = judge(self.rule, stream_of(series), series.identity, self.track, verdict)
        return [] if edge is None else [edge]


def _open(track: _Track, start: Ms, window: Ms) -> None:
    track.start, track.count, track.sum = start, 0, 0.0
    track.values, track.every = [], 1
    if track.base is not None:
        track.covered = track.base[0] - track.base[0] % window + window


def _add(track: _Track, stat: Stat, at: Ms, value: float) -> None:
    if stat is Stat.RATE:
        grown = _grown(track, at, value)
        track.sum = min(HUGE, track.sum + grown)
    else:
        track.sum = max(-HUGE, min(HUGE, track.sum + value))
        if stat in PERCENTILES:
            _keep(track, value)
    track.count += 1
    track.min = min(track.min, value)
    track.max = max(track.max, value)
    track.last_at = max(track.last_at, at)


def _grown(track: _Track, at: Ms, value: float) -> float:
    """By how much a counter grew since its newest point; one that fell began again at zero.
    An older point, or the same one again, tells nothing new."""
    base = track.base
    if base is not None and at <= base[0]:
        return 0.0
    track.base = at, value
    if base is None:
        return 0.0
    return min(HUGE, value - base[1]) if value >= base[1] else max(0.0, value)


def _keep(track: _Track, value: float) -> None:
    if track.count % track.every == 0:
        if len(track.values) == MOST_VALUES:
            del track.values[1::2]
            track.every *= 2
            if track.count % track.every:
                return
        track.values.append(value)


def _verdict(check: Threshold, track: _Track) -> Verdict | None:
    """What the track's window came to so far; None when it says nothing."""
    value = _value(check, track)
    if value is None:
        return None
    what, held = f"{check.stat} of {check.series.metric}", check.limit.breached(value)
    evidence: dict[str, object] = {
        "expected": f"{check.stat} not {check.limit}",
        "value": value,
        "points": track.count,
    }
    if track.every > 1:
        evidence["of_every"] = track.every
    return Verdict(
        start=track.start,
        end=track.start + check.window,
        breach=condition(what, str(check.limit), value, held),
        summary=f"{what} is {value:g}, {check.limit}",
        evidence=evidence,
    )


def _value(check: Threshold, track: _Track) -> float | None:
    stat, count = check.stat, track.count
    if not count:
        return None
    if stat in PERCENTILES:
        return percentile(track.values, PERCENTILES[stat])
    if stat is Stat.RATE:
        seconds = (track.start + check.window - track.covered) / SECOND
        return None if track.covered < 0 else track.sum / seconds
    values = {Stat.COUNT: float(count), Stat.SUM: track.sum, Stat.AVG: track.sum / count}
    return values.get(stat, track.min if stat is Stat.MIN else track.max)


def percentile(values: list[float], share: float) -> float:
    """The smallest of ``values`` that at least ``share`` of them do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]


def _silenced(rule: DetectionRule, check: Threshold, track: _Track) -> list[Finding]:
    """End what fires without points: well if what there was of its last window says so."""
    firing, expired_at = track.firing, _expiry(check, track)
    verdict = _verdict(check, track)
    if firing is not None and verdict is not None and not verdict.breach["held"]:
        edge = judge(rule, firing.stream, firing.identity, track, verdict)
        edges = [] if edge is None else [edge]
    else:
        edges = stop(track, ClearReason.EXPIRED, expired_at, "no points")
    # its window is over: a late point of it must not tell it again, under the same id
    track.start, track.count = track.start + check.window, 0
    track.breached_since = None
    return edges


def _expiry(check: Threshold, track: _Track) -> Ms:
    return track.last_at + silence(check.window)
