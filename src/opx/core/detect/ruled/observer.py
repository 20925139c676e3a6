# SPDX-License-Identifier: Apache-2.0

"""Blindness: when most of what came regularly comes no more, the telemetry is what is lost.

Part of ``book``. Every series is learned, whatever the rules say: once a second, all at one
go, in arrays by sid. It is told when most series of most services fall silent within a
short time; one service with many series that stops is that service's trouble, and one whose
series are others by now is not silent. It is over when it is not so any more. It must never
take a sleep of the log's clock for silence.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opx.core.base import canonical
from opx.core.base.time import DAY, MINUTE, SECOND
from opx.core.detect.finding import ClearReason, Finding, FindingKind, FindingState
from opx.core.detect.ruled.clock import LogClock
from opx.core.detect.ruled.judging import Plain, condition, finding_from, trace
from opx.core.ingest.signals import Identity, Series, Severity

RULE = "observer"
WHOSE = Identity("opx", "observer")
STREAM = "telemetry"
GAPS = 9
"""A series whose last so many gaps were none of them longer than ..."""
STEADY = 3
"""... so many times their mean is regular."""
LATE = 2.25
"""A regular series is silent after so many of its gaps: two turns missed, and room for a third
that comes late. It is sooner than anything is called absent, which takes three."""
LEAST_SILENCE = 10
"""Seconds. A connection that is made anew is no loss."""
TOGETHER = 5 * MINUTE // SECOND
"""Seconds within which series fall silent together. What comes at least every two minutes and
is lost at one instant does."""
RETIRED = DAY // SECOND
LEAST_STREAMS = 10
"""Of fewer, "most" says little: each is a large share."""
LEAST_SERVICES = 2
"""What stops in one place alone is that place's own trouble."""
MOST_LISTED = 20
NAMELESS = -1
_SAVED = ("seen", "usual", "steady", "came", "lost")

Column = NDArray[Any]


@dataclass(slots=True, kw_only=True, eq=False)
class Observer:
    """By sid: ``seen``, the second without sleep in which it came last (0: never); ``usual``, its
    mean gap in seconds; ``steady``, how many of its last gaps were like that, ``GAPS`` at most;
    ``group``, the number of its service; ``came``, whether it has in the second ``at``;
    ``lost``, whether it is part of what is ``firing``. ``amended``: not given out yet."""

    at: int = 0
    seen: Column = field(default_factory=lambda: np.zeros(0, np.uint32))
    usual: Column = field(default_factory=lambda: np.zeros(0, np.float32))
    steady: Column = field(default_factory=lambda: np.zeros(0, np.uint8))
    group: Column = field(default_factory=lambda: np.zeros(0, np.int32))
    came: Column = field(default_factory=lambda: np.zeros(0, np.bool_))
    lost: Column = field(default_factory=lambda: np.zeros(0, np.bool_))
    groups: dict[tuple[str, str], int] = field(default_factory=dict)
    firing: Finding | None = None
    amended: bool = False

    def name(self, series: Series) -> None:
        """Learn whose a series is. Nobody's are one service together."""
        sid, whose = series.sid, series.identity
        if sid >= len(self.group):
            self._grow(max(sid + 1, 2 * len(self.group)))
        group = whose.environment, whose.service
        self.group[sid] = self.groups.setdefault(group, len(self.groups))

    def take(self, sid: NDArray[np.int32]) -> None:
        """These came. One that nobody has named is not learned."""
        try:
            self.came[sid] = True
        except IndexError:
            self.came[sid[sid < len(self.came)]] = True

    def tick(self, clock: LogClock) -> list[Finding]:
        """Whether most are silent by now; looked at once a second."""
        now = clock.awake // SECOND
        if now <= self.at:
            return []
        self._learn()
        self.at = now
        view = _look(self)
        if not view.blind:
            return [] if self.firing is None else [self._over(view, clock)]
        self.lost |= view.late
        if self.firing is not None:
            return []
        self.firing = _fired(self, view, clock)
        return [self.firing]

    def withhold(self, absent: Sequence[str]) -> None:
        """What is not told because of what is firing."""
        if self.firing is None or not absent:
            return
        told = self.firing.evidence
        listed = [*_texts(told["absences"]), *absent][:MOST_LISTED]
        withheld = int(str(told["withheld"])) + len(absent)
        evidence = {**told, "withheld": withheld, "absences": listed}
        self.firing, self.amended = replace(self.firing, evidence=evidence), True

    def refreshed(self) -> list[Finding]:
        """What is firing, if it was amended since this was last asked."""
        amended, self.amended = self.amended, False
        return [self.firing] if amended and self.firing is not None else []

    def save(self) -> dict[str, Any]:
        used = np.flatnonzero((self.seen > 0) | self.came)
        size = int(used[-1]) + 1 if len(used) else 0
        columns = {name: _packed(getattr(self, name)[:size]) for name in _SAVED}
        return {"at": self.at, "firing": canonical.plain(self.firing), **columns}

    @classmethod
    def load(cls, saved: Mapping[str, Any]) -> Observer:
        """Whose the series are has to be told again."""
        loaded = cls()
        if saved:
            loaded.at, loaded.firing = saved["at"], finding_from(saved["firing"])
            for name in _SAVED:
                kind = getattr(loaded, name).dtype
                setattr(loaded, name, np.frombuffer(base64.b64decode(saved[name]), kind).copy())
            loaded.group = np.full(len(loaded.seen), NAMELESS, np.int32)
        return loaded

    def _grow(self, size: int) -> None:
        for name in _SAVED:
            column = getattr(self, name)
            more = np.zeros(size - len(column), column.dtype)
            setattr(self, name, np.concatenate([column, more]))
        more = np.full(size - len(self.group), NAMELESS, np.int32)
        self.group = np.concatenate([self.group, more])

    def _learn(self) -> None:
        """The gaps of those that came in the second ``at``. One that was lost was lost: its gap
        says nothing of what is usual."""
        sid = np.flatnonzero(self.came)
        seen, usual, steady = self.seen[sid], self.usual[sid], self.steady[sid]
        gap = (self.at - seen.astype(np.int64)).astype(np.float32)
        like = (steady > 0) & (gap <= STEADY * usual)
        more = np.minimum(steady + 1, GAPS)
        tells = (seen > 0) & ~self.lost[sid]
        mean = np.where(like, usual + (gap - usual) / more, gap)
        self.usual[sid] = np.where(tells, mean, usual)
        self.steady[sid] = np.where(tells, np.where(like, more, 1), steady)
        self.seen[sid] = self.at
        self.came[sid] = self.lost[sid] = False

    def _over(self, view: _View, clock: LogClock) -> Finding:
        firing, self.firing, self.amended = self.firing, None, False
        if firing is None:
            raise ValueError("nothing is over that has not begun")
        gone = self.at - self.seen[self.lost].astype(np.int64)
        retired = bool(len(gone)) and bool((gone > RETIRED).all())
        self.lost[:] = False
        evidence: Plain = {**firing.evidence, "series": view.streams, "silent": view.silent}
        reason = ClearReason.EXPIRED if retired else ClearReason.RESOLVED
        return firing.clear(reason, clock.at, evidence)


@dataclass(frozen=True, slots=True, kw_only=True)
class _View:
    """How it stands. ``late``: by sid, which fell silent of late, or are lost; ``silent`` of so
    many ``streams`` of which that can be told yet. ``services``: those that are known to send;
    ``dark``: the numbers of those most of whose series are late."""

    late: Column
    streams: int
    silent: int
    services: int = 0
    dark: tuple[int, ...] = ()

    @property
    def blind(self) -> bool:
        return len(self.dark) >= LEAST_SERVICES and 2 * len(self.dark) > self.services


def _look(of: Observer) -> _View:
    silence = of.at - of.seen.astype(np.int64)
    limit = np.maximum(LATE * of.usual, LEAST_SILENCE)
    mapped = (of.seen > 0) & (of.group != NAMELESS)
    timely = mapped & (silence <= limit)  # regular or not
    late = mapped & (silence > limit) & (of.steady == GAPS)
    late &= silence <= np.where(of.lost, RETIRED, limit + TOGETHER)
    silent = int(np.count_nonzero(late))
    # what came last before the late ones did is not due yet, and tells nothing
    here = timely & (of.seen > (of.seen[late].max() if silent else 0))
    streams = silent + int(np.count_nonzero(here))
    if silent < LEAST_STREAMS or 2 * silent <= streams:
        return _View(late=late, streams=streams, silent=silent)
    gone = np.bincount(of.group[late], minlength=len(of.groups))
    left = np.bincount(of.group[here], minlength=len(of.groups))
    known = gone + np.bincount(of.group[timely], minlength=len(of.groups))
    return _View(
        late=late,
        streams=streams,
        silent=silent,
        services=int(np.count_nonzero(known)),
        dark=tuple(np.flatnonzero(gone > left).tolist()),
    )


def _fired(of: Observer, view: _View, clock: LogClock) -> Finding:
    """The telemetry is lost, since the last of what is silent came."""
    last = int(of.seen[view.late].max()) * SECOND + clock.asleep
    names = list(of.groups)
    dark = sorted("/".join(names[number]) for number in view.dark)
    series, services = f"{view.silent} of {view.streams}", f"{len(dark)} of {view.services}"
    steps = [
        condition("silent series", "more than half", series, True),
        condition("silent series", f"at least {LEAST_STREAMS}", view.silent, True),
        condition("silent services", "more than half", services, True),
        condition("silent services", f"at least {LEAST_SERVICES}", len(dark), True),
    ]
    return Finding(
        id=Finding.id_of(RULE, STREAM, clock.at),
        rule=RULE,
        stream=STREAM,
        identity=WHOSE,
        kind=FindingKind.SYMPTOM,
        state=FindingState.FIRING,
        severity=Severity.SEV3,
        since=min(last, clock.at),
        at=clock.at,
        summary=f"telemetry is lost: {series} series of {services} services fell silent",
        evidence={
            "expected": "most of the series that come regularly",
            "series": view.streams,
            "silent": view.silent,
            "services": dark[:MOST_LISTED],
            "withheld": 0,
            "absences": [],
            "trace": trace(steps),
        },
    )


def _texts(value: object) -> list[str]:
    return [str(one) for one in value] if isinstance(value, list) else []


def _packed(column: Column) -> str:
    return base64.b64encode(column.tobytes()).decode()
