# SPDX-License-Identifier: Apache-2.0

"""The ``absence`` block: a series that came regularly and comes no more.

Part of ``book``. A series is known by its metric and labels here: one that another mapping
makes somebody else's has not fallen silent. When it was seen is told by the log's clock, not
by its points: a sender whose clock is wrong is not silent. What never was regular is never
absent. The next point ends an absence; a series that is silent for a day is retired, and
what was open of it withdrawn. While the telemetry itself is lost nothing becomes absent: that
is withheld, and told when it is over if it still holds after the time in which it usually
comes. The number of tracks is bounded: the least recently seen go first, counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from statistics import median
from typing import Any, TypeAlias

from opx.core.base import canonical
from opx.core.base.time import DAY, Ms
from opx.core.detect.finding import ClearReason, Finding, FindingState
from opx.core.detect.ruled.block import Block, Rules, saved_tracks
from opx.core.detect.ruled.clock import LogClock
from opx.core.detect.ruled.judging import Judged, condition, stop, stream_of, trace
from opx.core.detect.rules import Absence, DetectionRule
from opx.core.ingest.signals import Identity, Series

POINTS = 10
"""A series must have come so often (points of one moment count once) ..."""
STEADY = 3
"""... without a gap longer than so many times their median: then it is regular. A gap as long
as that is no silence yet, whatever the rule says."""
RETIRED: Ms = DAY
SLACK = 1_000
"""Entries of the queue that are of no use any more and do no harm."""
MOST_TRACKS = 100_000

NOBODY = Identity("", "")

Key: TypeAlias = tuple[str, str]


@dataclass(slots=True)
class _Track(Judged):
    """One series under one rule. ``seen_at``: when it came last, by the clock; ``awake_at``: the
    same without its sleep. ``gaps``: the last ``POINTS`` - 1 between two moments at which it
    was seen, without sleep."""

    identity: Identity = NOBODY
    seen_at: Ms = -1
    awake_at: Ms = -1
    gaps: list[Ms] = field(default_factory=list)

    def regular(self) -> bool:
        return len(self.gaps) == POINTS - 1 and max(self.gaps) <= STEADY * median(self.gaps)


@dataclass(slots=True)
class Absences(Block[str, _Track]):
    """A stream is a metric with its labels; the least recently seen is the first. ``queued``: when
    each has to be looked at, without the clock's sleep. ``blind``: whether the telemetry was
    lost at the last tick; ``withheld``: those that would have fired; ``fresh``: what those are
    about that are since that tick. ``forgotten``: how many there was no room for."""

    check = Absence
    queue: list[tuple[Ms, Key]] = field(default_factory=list)
    queued: dict[Key, Ms] = field(default_factory=dict)
    blind: bool = False
    withheld: dict[Key, None] = field(default_factory=dict)
    fresh: list[str] = field(default_factory=list)
    forgotten: int = 0
    most: int = MOST_TRACKS

    def watch(self, rule: DetectionRule, series: Series) -> Watch | None:
        check = rule.check
        if not isinstance(check, Absence) or not check.series.matches(series):
            return None
        return Watch(self, rule, check, series.identity, (rule.hash, stream_of(series)))

    def tick(self, rules: Rules, blind: bool) -> list[Finding]:
        """What is absent by now, and what has been for so long that it is retired. ``blind``: the
        telemetry is lost, so what would fire is withheld."""
        if self.blind and not blind:
            for key in self.withheld:
                self._put(key, self.clock.awake + _silence(rules[key[0]], self.tracks[key]))
        self.blind, self.fresh = blind, []
        found: list[Finding] = []
        while self.queue and self.queue[0][0] <= self.clock.awake:
            due, key = heappop(self.queue)
            if self.queued.get(key) == due:  # else its track has gone
                found += self._look(rules[key[0]], key, due)
        return sorted(found, key=lambda one: (one.at, one.rule, one.stream))

    def save(self) -> dict[str, Any]:
        tracks = [
            {"rule": key[0], "stream": key[1], "due": self.queued[key], **canonical.plain(track)}
            for key, track in self.tracks.items()
        ]
        withheld = [list(key) for key in self.withheld]
        return {
            "tracks": tracks,
            "blind": self.blind,
            "withheld": withheld,
            "forgotten": self.forgotten,
        }

    def load(self, saved: Mapping[str, Any], rules: Rules) -> None:
        self.blind, self.forgotten = saved["blind"], saved["forgotten"]
        for values in saved_tracks(saved, rules):
            key = values.pop("rule"), values.pop("stream")
            self.queued[key] = values.pop("due")
            values["identity"] = Identity(**values["identity"])
            self.tracks[key] = _Track(**values)
        self.queue = [(due, key) for key, due in self.queued.items()]
        heapify(self.queue)
        keys = ((rule, stream) for rule, stream in saved["withheld"])
        self.withheld = dict.fromkeys(key for key in keys if key in self.tracks)

    def seen(self, watch: Watch) -> list[Finding]:
        """The series came: what that ends, and who has to go for it."""
        key, now = watch.key, self.clock.awake
        track = self.tracks.pop(key, None)
        edges: list[Finding] = []
        if track is None:
            track = _Track()
            edges = self._room()
            self._put(key, now + watch.check.after)
        elif self.queued[key] >= track.awake_at + RETIRED:  # it had been found silent
            self._put(key, now + watch.check.after)
        self.tracks[key] = track
        if track.firing is not None:
            evidence: dict[str, object] = {"silent_ms": now - track.awake_at}
            edges.append(track.firing.clear(ClearReason.RESOLVED, self.clock.at, evidence))
            track.firing = None
        elif now > track.awake_at >= 0 and key not in self.withheld:
            track.gaps = [*track.gaps, now - track.awake_at][1 - POINTS :]
        self.withheld.pop(key, None)
        track.identity, track.seen_at, track.awake_at = watch.identity, self.clock.at, now
        return edges

    def _look(self, rule: DetectionRule, key: Key, due: Ms) -> list[Finding]:
        track, now = self.tracks[key], self.clock.awake
        silent_at, retired_at = track.awake_at + _silence(rule, track), track.awake_at + RETIRED
        if silent_at > now:
            self._put(key, silent_at)
            return []
        edges: list[Finding] = []
        if track.firing is None and track.regular():
            if not self.blind:
                self.withheld.pop(key, None)
                edges.append(_fire(rule, key[1], track, max(silent_at, due), self.clock))
            elif key not in self.withheld:
                self.withheld[key] = None
                self.fresh.append(f"{rule.rule} of {key[1]}")
        if retired_at > now:
            self._put(key, retired_at)
            return edges
        self._pop(key)
        over_at = retired_at + self.clock.asleep
        return edges + stop(track, ClearReason.WITHDRAWN, over_at, "silent for a day: retired")

    def _room(self) -> list[Finding]:
        """Forget the least recently seen if one more would be too many."""
        if len(self.tracks) < self.most:
            return []
        self.forgotten += 1
        track = self._pop(next(iter(self.tracks)))
        return stop(track, ClearReason.WITHDRAWN, track.seen_at, "too many series to watch")

    def _put(self, key: Key, due: Ms) -> None:
        self.queued[key] = due
        heappush(self.queue, (due, key))
        if len(self.queue) > 2 * len(self.queued) + SLACK:  # mostly what stood in it before
            self.queue = [(at, one) for one, at in self.queued.items()]
            heapify(self.queue)

    def _pop(self, key: Key) -> _Track:
        self.queued.pop(key, None)
        self.withheld.pop(key, None)
        return self.tracks.pop(key)


@dataclass(frozen=True, slots=True)
class Watch:
    """One series under one rule."""

    of: Absences
    rule: DetectionRule
    check: Absence
    identity: Identity
    key: Key

    def take(self, at: Ms, value: float, now: Ms) -> list[Finding]:
        return self.of.seen(self)


def _silence(rule: DetectionRule, track: _Track) -> Ms:
    usual = median(track.gaps) if track.gaps else 0
    after = rule.check.after if isinstance(rule.check, Absence) else 0
    return max(after, int(STEADY * usual))


def _fire(
    rule: DetectionRule, stream: str, track: _Track, silent_at: Ms, clock: LogClock
) -> Finding:
    """``silent_at``: when the silence was long enough, without the clock's sleep."""
    at, silence = silent_at + clock.asleep, silent_at - track.awake_at
    usual = int(median(track.gaps))
    longest = f"at most {STEADY} times {usual} ms"
    steps = [
        condition("points seen", f"at least {POINTS}", POINTS, True),
        condition("longest gap", longest, f"{max(track.gaps)} ms", True),
        condition("silent", f"at least {_silence(rule, track)} ms", f"{silence} ms", True),
    ]
    track.firing = Finding(
        id=rule.finding_id(stream, at),
        rule=rule.rule,
        stream=stream,
        identity=track.identity,
        kind=rule.kind,
        state=FindingState.FIRING,
        severity=rule.severity,
        since=track.seen_at,
        at=at,
        summary=f"{rule.name}: {stream} is silent, it came every {usual} ms"[:200],
        evidence={
            "expected": f"a point every {usual} ms",
            "last_seen": track.seen_at,
            "justification": rule.justification,
            "trace": trace(steps),
        },
    )
    return track.firing
