# SPDX-License-Identifier: Apache-2.0

"""A template that comes much more often, or much less, than it usually does.

Part of ``watch``. The lines of a template of one service are counted in windows that are
aligned to the epoch and do not overlap; only the log's clock closes them, a little after
their end. A window without lines counts, as zero. Every window is judged by those before it
and then becomes one of them, so what goes on becomes usual. How far a count may lie off is
told by those counts themselves, and by the chance that is in any count (its square root).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from opx.core.base.time import MINUTE, SECOND, Ms
from opx.core.detect.logs.places import Places, Renames
from opx.core.detect.ruled.logs import SPREAD

WINDOW: Ms = MINUTE
GRACE: Ms = 10 * SECOND
HISTORY = 30
"""Windows that say what is usual."""
WARM_UP = 15
"""So many of them at least."""
FAR = 8.0
"""Deviations off that are odd. Far beyond chance, because counts come in bursts and there are
thousands of templates."""
NEAR = 4.0
"""Deviations off that are usual again."""
HOLD = 2
"""Odd windows in a row before it is told: one may be a hiccup."""
MOST_TRACKS = 4_096
"""Templates that are counted; beyond that the least recently seen are forgotten."""

Whose = tuple[str, str]
"""Environment and service."""
Key = tuple[str, str, str]
"""The same, and a template's id."""


@dataclass(slots=True)
class Track:
    """One template of one service. ``next``: the first window that is not closed; ``counts``: of
    those, by their start; ``usual``: of the last that are. ``odd``: windows in a row."""

    next: Ms
    counts: dict[Ms, int] = field(default_factory=dict)
    usual: list[int] = field(default_factory=list)
    odd: int = 0
    told: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A rate that is odd (``over``: no longer). ``usual``: lines in a window, the median."""

    key: Key
    window: tuple[Ms, Ms]
    count: int
    usual: float
    deviations: float
    over: bool


@dataclass(slots=True)
class Rates:
    """``tracks``, the least recently seen first; a new name counts as seen. ``closed``: until when
    every window is closed. ``late``: lines of closed windows. ``forgotten``: tracks there was no
    room for."""

    tracks: dict[Key, Track] = field(default_factory=dict)
    closed: Ms = -1
    late: int = 0
    forgotten: int = 0
    most: int = MOST_TRACKS
    _places: Places[Key] = field(default_factory=Places)

    def take(self, key: Key, at: Ms) -> Key | None:
        """Count one line at ``at``; whose track had to go to make room, if it was told of."""
        start = at - at % WINDOW
        gone: Key | None = None
        track = self.tracks.pop(key, None)
        if track is None:
            if len(self.tracks) >= self.most:
                self.forgotten += 1
                oldest = next(iter(self.tracks))
                gone = oldest if self._drop(oldest).told else None
            track = Track(next=max(start, self.closed))
            self._places.add(key[2:], key)
        self.tracks[key] = track
        if start < self.closed:
            self.late += 1
        else:
            track.next = min(track.next, start) if not track.usual else track.next
            track.counts[start] = track.counts.get(start, 0) + 1
        return gone

    def tick(self, now: Ms) -> list[Change]:
        """What the windows that are over by the clock have changed."""
        until = now - GRACE
        until -= until % WINDOW
        if until <= self.closed:
            return []
        self.closed = until
        changes: list[Change] = []
        for key, track in sorted(self.tracks.items()):
            changes += _close(key, track, until)
            if len(track.usual) == HISTORY and not any(track.usual) and not track.told:
                self._drop(key)
        return changes

    def rename(self, renames: Renames) -> list[Key]:
        """Templates that are one are counted as one; those told of that are no more."""
        gone: list[Key] = []
        for key in self._places.of(renames):
            track = self._drop(key)
            gone += [key] if track.told else []
            track.told = False
            name = (*key[:2], renames[key[2]])
            other = self.tracks.get(name)
            self.tracks[name] = track if other is None else _sum(other, track)
            self._places.add(name[2:], name)
        return gone

    def save(self) -> dict[str, Any]:
        tracks = [
            [
                list(key),
                one.next,
                [list(pair) for pair in sorted(one.counts.items())],
                list(one.usual),
                one.odd,
                one.told,
            ]
            for key, one in self.tracks.items()
        ]
        counts = {"closed": self.closed, "late": self.late, "forgotten": self.forgotten}
        return {"tracks": tracks, **counts}

    @classmethod
    def load(cls, saved: Mapping[str, Any]) -> Rates:
        rates = cls(closed=saved["closed"], late=saved["late"], forgotten=saved["forgotten"])
        for (environment, service, id), next, counts, usual, odd, told in saved["tracks"]:
            track = Track(next=next, counts=dict(counts), usual=list(usual), odd=odd, told=told)
            key = environment, service, id
            rates.tracks[key] = track
            rates._places.add((id,), key)
        return rates

    def _drop(self, key: Key) -> Track:
        self._places.remove(key[2:], key)
        return self.tracks.pop(key)


def deviations(count: int, usual: list[int]) -> float:
    """How many deviations a count lies from the median of the usual ones; below it negative.
    The deviation is at least the square root of the median, that of a Poisson count, and 1."""
    middle = median(usual)
    spread = SPREAD * median(abs(one - middle) for one in usual)
    return float((count - middle) / max(spread, middle**0.5, 1.0))


def _close(key: Key, track: Track, until: Ms) -> list[Change]:
    """Judge the windows that end by ``until``. Once they are all quiet the rest is the same."""
    changes: list[Change] = []
    while track.next < until:
        if not track.counts and len(track.usual) == HISTORY and not any(track.usual):
            track.next = until
            break
        start, count = track.next, track.counts.pop(track.next, 0)
        if len(track.usual) >= WARM_UP:
            off = deviations(count, track.usual)
            odd = abs(off) >= (NEAR if track.told else FAR)
            track.odd = track.odd + 1 if odd else 0
            if odd != track.told and (not odd or track.odd >= HOLD):
                track.told = odd
                changes.append(
                    Change(
                        key=key,
                        window=(start, start + WINDOW),
                        count=count,
                        usual=median(track.usual),
                        deviations=off,
                        over=not odd,
                    )
                )
        track.usual = [*track.usual, count][-HISTORY:]
        track.next += WINDOW
    return changes


def _sum(one: Track, other: Track) -> Track:
    """The track of two templates that are one: their counts, side by side from the last on."""
    length = max(len(one.usual), len(other.usual))
    padded = [[0] * (length - len(track.usual)) + track.usual for track in (one, other)]
    counts = dict(one.counts)
    for start, count in other.counts.items():
        counts[start] = counts.get(start, 0) + count
    return Track(
        next=max(one.next, other.next) if one.usual or other.usual else min(one.next, other.next),
        counts=counts,
        usual=[a + b for a, b in zip(*padded, strict=True)],
        odd=one.odd,
        told=one.told,
    )
