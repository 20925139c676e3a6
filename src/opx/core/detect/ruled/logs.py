# SPDX-License-Identifier: Apache-2.0

"""The ``logs`` block: more lines of a kind than is usual for whoever writes them.

Part of ``book``. Lines are counted per identity in windows that are aligned to the epoch
and do not overlap; only the log's clock closes them, a little after their end, so the order
of the lines does not matter. A window without lines counts, as zero, from the first line of
any kind on; one that the clock slept through says nothing. Every other window is judged by
those before it and then becomes one of them: what goes on becomes usual. It must never say
anything before it has seen enough windows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median
from typing import Any

from opx.core.base import canonical
from opx.core.base.time import DAY, SECOND, Ms
from opx.core.detect.finding import ClearReason, Finding
from opx.core.detect.ruled.block import Block, Rules, in_order, saved_tracks
from opx.core.detect.ruled.judging import (
    Judged,
    Verdict,
    condition,
    judge,
    place_of,
    stop,
)
from opx.core.detect.rules import DetectionRule, LogBurst
from opx.core.ingest.signals import Identity, LogLine

HISTORY = 30
"""Windows that say what is usual."""
WARM_UP = 10
"""So many of them at least."""
GRACE: Ms = 10 * SECOND
"""A window is closed this long after its end; a line of it that comes later is not counted."""
SPREAD = 1.4826
"""Times the median distance from the median: the standard deviation, were the counts normal."""
RETIRED: Ms = DAY
"""Who has written nothing for so long is forgotten."""
MOST_TRACKS = 20_000


@dataclass(slots=True)
class _Track(Judged):
    """One identity under one rule. ``next``: the first window that is not closed. ``counts``: of
    those, by their start. ``usual``: the counts of the last windows that are closed."""

    next: Ms = 0
    seen_at: Ms = 0
    counts: dict[Ms, int] = field(default_factory=dict)
    usual: list[int] = field(default_factory=list)


@dataclass(slots=True)
class LogBursts(Block[Identity, _Track]):
    """A stream is an identity; the least recently seen is the first. ``closed``: until when every
    window of a rule is closed. ``late``: lines of closed windows. ``forgotten``: how many tracks
    there was no room for."""

    check = LogBurst
    closed: dict[str, Ms] = field(default_factory=dict)
    late: int = 0
    forgotten: int = 0
    most: int = MOST_TRACKS

    def take(self, rules: Sequence[DetectionRule], line: LogLine) -> list[Finding]:
        """Count one line; what has to be withdrawn to make room for who wrote it."""
        edges: list[Finding] = []
        at = min(line.at, line.received_at)
        for rule in rules:
            check = rule.check
            if not isinstance(check, LogBurst):
                continue
            closed = self.closed.setdefault(rule.hash, _over(check, line.received_at))
            start = at - at % check.window
            key = rule.hash, line.identity
            track = self.tracks.pop(key, None)
            if track is None:
                edges += self._room()
                track = _Track(next=max(start, closed), seen_at=line.received_at)
            self.tracks[key] = track
            track.seen_at = max(track.seen_at, line.received_at)
            wanted = check.wants(line.level, line.message)
            if start < closed:
                self.late += wanted
            else:
                track.next = min(track.next, start) if not track.usual else track.next
                track.counts[start] = track.counts.get(start, 0) + wanted
        return edges

    def tick(self, rules: Rules, blind: bool) -> list[Finding]:
        """Judge every window that is over by the clock."""
        edges: list[Finding] = []
        over: dict[str, LogBurst] = {}
        for rule in rules.values():
            check = rule.check
            if isinstance(check, LogBurst):
                until = _over(check, self.clock.at)
                if until > self.closed.get(rule.hash, -1):
                    self.closed[rule.hash] = until
                    over[rule.hash] = check
        for key in in_order(key for key in self.tracks if key[0] in over):
            track, until = self.tracks[key], self.closed[key[0]]
            while track.next < until:
                edge = self._close(rules[key[0]], over[key[0]], key[1], track, until)
                edges += [] if edge is None else [edge]
            if track.seen_at + RETIRED <= until and track.firing is None:
                del self.tracks[key]
        return edges

    def save(self) -> dict[str, Any]:
        tracks = [
            {
                "rule": key[0],
                "identity": canonical.plain(key[1]),
                **canonical.plain(track),
                "counts": sorted(track.counts.items()),
            }
            for key, track in self.tracks.items()
        ]
        return {
            "tracks": tracks,
            "closed": dict(self.closed),
            "late": self.late,
            "forgotten": self.forgotten,
        }

    def load(self, saved: Mapping[str, Any], rules: Rules) -> None:
        self.late, self.forgotten = saved["late"], saved["forgotten"]
        self.closed = dict(saved["closed"])
        for values in saved_tracks(saved, rules):
            key = values.pop("rule"), Identity(**values.pop("identity"))
            values["counts"] = dict(values["counts"])
            self.tracks[key] = _Track(**values)
        self._forget(rules)

    def _forget(self, rules: Rules) -> None:
        self.closed = {hash: at for hash, at in self.closed.items() if hash in rules}

    def _close(
        self, rule: DetectionRule, check: LogBurst, who: Identity, track: _Track, until: Ms
    ) -> Finding | None:
        """Judge the next window. Once they are all quiet, all until ``until`` are the same."""
        start, edge = track.next, None
        count = track.counts.pop(start, 0)
        track.next += check.window
        if self.clock.slept(start, track.next):
            awake = self.clock.slept_to
            track.next = max(track.next, awake - awake % check.window)
            return None
        if len(track.usual) >= WARM_UP:
            edge = judge(rule, place_of(who), who, track, _verdict(check, track, start, count))
        track.usual = [*track.usual, count][-HISTORY:]
        if not track.counts and len(track.usual) == HISTORY and not any(track.usual):
            track.next = max(track.next, until)
        return edge

    def _room(self) -> list[Finding]:
        """Forget the least recently seen if one more would be too many."""
        if len(self.tracks) < self.most:
            return []
        self.forgotten += 1
        track = self.tracks.pop(next(iter(self.tracks)))
        return stop(track, ClearReason.WITHDRAWN, track.seen_at, "too many to watch")


def _over(check: LogBurst, now: Ms) -> Ms:
    """The windows that end by this are over ``now``."""
    until = now - GRACE
    return until - until % check.window


def usual(counts: Sequence[int]) -> float:
    """The mean of them and how far they lie apart, of which no single one has much say."""
    middle = median(counts)
    return fmean(counts) + SPREAD * median(abs(count - middle) for count in counts)


def _verdict(check: LogBurst, track: _Track, start: Ms, count: int) -> Verdict:
    most = check.above * usual(track.usual)
    burst, many = count > most, count >= check.at_least
    what = f"lines of {check.level.name.lower()}"
    breach = condition(f"{what}, and enough of them", True, burst and many, burst and many)
    others = (
        condition(what, f"above {check.above:g} times the usual: {most:g}", count, burst),
        condition("enough", f"at least {check.at_least}", count, many),
    )
    return Verdict(
        start=start,
        end=start + check.window,
        breach=breach,
        summary=f"{count} {what}, {most:g} would be much",
        evidence={
            "expected": f"not above {most:g}",
            "value": count,
            "usual": usual(track.usual),
            "windows": len(track.usual),
        },
        others=others,
    )
