# SPDX-License-Identifier: Apache-2.0

"""The ``ratio`` block: how much of one sum another is, per identity and window.

Part of ``book``. Counters count by how much they grew; the growth between two windows
belongs to the later one. A window is closed by the first point after it, or by the log's
clock a while after its end: a service that stops sending leaves none open. A window whose
whole is too small says nothing; a firing ratio of which nothing was said for long expires.
It must never look back: a point of a closed window is late, and its growth shows in the next.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from opx.core.base import canonical
from opx.core.base.time import MINUTE, Ms
from opx.core.detect.finding import ClearReason, Finding
from opx.core.detect.ruled.block import Block, Rules, in_order, saved_tracks
from opx.core.detect.ruled.judging import (
    HUGE,
    Judged,
    Plain,
    Verdict,
    condition,
    judge,
    place_of,
    silence,
    stop,
)
from opx.core.detect.rules import DetectionRule, Ratio
from opx.core.ingest.signals import Identity, Series

GRACE: Ms = MINUTE
"""The clock closes a window this long after its end, at least a window's length."""

Key: TypeAlias = tuple[str, Identity]


@dataclass(slots=True)
class _Track(Judged):
    """One identity under one rule. ``start``: its window's. ``said_at``: the end of the last
    window that said something."""

    start: Ms = -1
    part: float = 0.0
    whole: float = 0.0
    said_at: Ms = 0


@dataclass(slots=True)
class _Counter:
    """The newest point of one series under one rule; ``at`` -1: none yet."""

    at: Ms = -1
    value: float = 0.0

    def grown(self, at: Ms, value: float) -> float:
        """By how much since the newest point; a counter that fell began again at zero."""
        before, first = self.value, self.at < 0
        if not first and at <= self.at:
            return 0.0
        self.at, self.value = at, value
        if first:
            return 0.0
        return min(HUGE, value - before) if value >= before else max(0.0, value)


@dataclass(slots=True)
class Ratios(Block[Identity, _Track]):
    """A stream is an identity. ``counters``: by rule hash and sid. ``closed``: until when the
    clock has closed every window of a rule. ``late``: points of closed windows."""

    check = Ratio
    counters: dict[tuple[str, int], _Counter] = field(default_factory=dict)
    closed: dict[str, Ms] = field(default_factory=dict)
    late: int = 0

    def watch(self, rule: DetectionRule, series: Series) -> Watch | None:
        check = rule.check
        if not isinstance(check, Ratio):
            return None
        part, whole = check.part.matches(series), check.whole.matches(series)
        if not part and not whole:
            return None
        track = self.tracks.setdefault((rule.hash, series.identity), _Track())
        counter = self.counters.setdefault((rule.hash, series.sid), _Counter())
        return Watch(self, rule, check, series, track, counter, part, whole)

    def tick(self, rules: Rules, blind: bool) -> list[Finding]:
        """Close what is over by the clock, and end what nobody has said anything of."""
        over: list[Key] = []
        for rule in rules.values():
            if isinstance(rule.check, Ratio):
                until = self.clock.at - _grace(rule.check)
                until -= until % rule.check.window
                if until > self.closed.get(rule.hash, -1):
                    self.closed[rule.hash] = until
                    over += [key for key in self.tracks if key[0] == rule.hash]
        edges: list[Finding] = []
        for key in in_order(over):
            rule, track = rules[key[0]], self.tracks[key]
            if isinstance(rule.check, Ratio):
                until = self.closed[rule.hash]
                if 0 <= track.start < until:
                    edges += _close(rule, rule.check, key[1], track, until)
                edges += _silenced(rule.check, track, until)
        return edges

    def save(self) -> dict[str, Any]:
        tracks = [
            {"rule": key[0], "identity": canonical.plain(key[1])}
            | canonical.plain(self.tracks[key])
            for key in in_order(self.tracks)
        ]
        counters = [[*key, one.at, one.value] for key, one in sorted(self.counters.items())]
        return {
            "tracks": tracks,
            "counters": counters,
            "closed": dict(self.closed),
            "late": self.late,
        }

    def load(self, saved: Mapping[str, Any], rules: Rules) -> None:
        self.late, self.closed = saved["late"], dict(saved["closed"])
        for values in saved_tracks(saved, rules):
            key = values.pop("rule"), Identity(**values.pop("identity"))
            self.tracks[key] = _Track(**values)
        for hash, sid, at, value in saved["counters"]:
            self.counters[hash, sid] = _Counter(at, value)
        self._forget(rules)

    def _forget(self, rules: Rules) -> None:
        self.counters = {key: one for key, one in self.counters.items() if key[0] in rules}
        self.closed = {hash: at for hash, at in self.closed.items() if hash in rules}


@dataclass(frozen=True, slots=True)
class Watch:
    """One series under one rule: of which sums it is, and what is known of both."""

    of: Ratios
    rule: DetectionRule
    check: Ratio
    series: Series
    track: _Track
    counter: _Counter
    in_part: bool
    in_whole: bool

    def take(self, at: Ms, value: float, now: Ms) -> list[Finding]:
        track, window = self.track, self.check.window
        start = at - at % window
        if start < track.start or start < self.of.closed.get(self.rule.hash, -1):
            self.of.late += 1
            return []
        edges: list[Finding] = []
        if start > track.start:
            edges = _close(self.rule, self.check, self.series.identity, track, start)
        grown = self.counter.grown(at, value)
        if self.in_part:
            track.part = min(HUGE, track.part + grown)
        if self.in_whole:
            track.whole = min(HUGE, track.whole + grown)
        return edges


def _close(
    rule: DetectionRule, check: Ratio, identity: Identity, track: _Track, start: Ms
) -> list[Finding]:
    """Judge the track's window and begin the one at ``start``."""
    edges: list[Finding] = []
    end = track.start + check.window
    if track.start >= 0 and track.whole >= check.at_least:
        edges = _silenced(check, track, end)
        verdict = _verdict(check, track)
        edge = judge(rule, place_of(identity), identity, track, verdict)
        edges += [] if edge is None else [edge]
        track.said_at = end
    edges += _silenced(check, track, start)
    track.start, track.part, track.whole = start, 0.0, 0.0
    return edges


def _verdict(check: Ratio, track: _Track) -> Verdict:
    value = track.part / track.whole
    what = f"{check.part.metric} of {check.whole.metric}"
    held = check.limit.breached(value)
    enough = condition("whole", f"at least {check.at_least:g}", track.whole, True)
    evidence: Plain = {
        "expected": f"ratio not {check.limit}",
        "value": value,
        "part": track.part,
        "whole": track.whole,
    }
    return Verdict(
        start=track.start,
        end=track.start + check.window,
        breach=condition(what, str(check.limit), value, held),
        summary=f"{what} is {value:.3g}, {check.limit}",
        evidence=evidence,
        others=(enough,),
    )


def _silenced(check: Ratio, track: _Track, by: Ms) -> list[Finding]:
    """End what fires if nothing was said of it in time before ``by``."""
    if track.firing is None:
        return []
    expires_at = track.said_at + silence(check.window)
    if expires_at > by:
        return []
    return stop(track, ClearReason.EXPIRED, expires_at, "the whole was too small to say anything")


def _grace(check: Ratio) -> Ms:
    return max(GRACE, check.window)
