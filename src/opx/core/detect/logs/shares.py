# SPDX-License-Identifier: Apache-2.0

"""The share of a service's lines that are errors, and whether it has begun to rise.

Part of ``watch``: a precursor, so it must see a slow rise before any single window is odd.
Errors and lines are counted in windows as in ``rates``. Page's CUSUM (1954) adds up, window by
window, how much better a share that is twice the usual explains the errors than the usual
share does, in logarithms, and begins anew whenever it falls below nothing. What is usual is
told by windows that lie ``LAG`` back, so that the rise itself does not become usual at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import log
from typing import Any

from opx.core.base.time import Ms
from opx.core.detect.logs.rates import GRACE, WINDOW, Whose

HISTORY = 60
"""Windows that say what is usual ..."""
LAG = 10
"""... not counting the last."""
WARM_UP = 20
"""So many of them at least."""
RISE = 2.0
"""Times the usual share: what is looked for."""
FLOOR = 0.002
"""Added to what is looked for: where errors are next to none, doubling is nothing."""
LIMIT = log(10_000)
"""The evidence at which it is told. Between false alarms lie at least as many windows as the
exponential of it, a week of minutes, if the errors come one by one (Lorden 1971)."""
MOST_SERVICES = 1_024


@dataclass(slots=True)
class Share:
    """One service. ``counts``: errors and lines of the windows that are not closed, by their
    start; ``past``: of the last that are. ``evidence``: the CUSUM, in nats."""

    next: Ms
    counts: dict[Ms, list[int]] = field(default_factory=dict)
    past: list[list[int]] = field(default_factory=list)
    evidence: float = 0.0
    since: Ms = -1
    told: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Rise:
    """A share that rises (``over``: no longer). ``since``: when the evidence began to grow."""

    whose: Whose
    window: tuple[Ms, Ms]
    since: Ms
    share: float
    usual: float
    evidence: float
    over: bool


@dataclass(slots=True)
class Shares:
    """``services``, the least recently seen first. ``forgotten``: those there was no room for."""

    services: dict[Whose, Share] = field(default_factory=dict)
    closed: Ms = -1
    forgotten: int = 0
    most: int = MOST_SERVICES

    def take(self, whose: Whose, at: Ms, error: bool) -> Whose | None:
        """Count one line; who had to go to make room, if it was told of."""
        start = at - at % WINDOW
        gone: Whose | None = None
        share = self.services.pop(whose, None)
        if share is None:
            if len(self.services) >= self.most:
                self.forgotten += 1
                oldest = next(iter(self.services))
                gone = oldest if self.services.pop(oldest).told else None
            share = Share(next=max(start, self.closed))
        self.services[whose] = share
        if start >= self.closed:
            share.next = min(share.next, start) if not share.past else share.next
            counts = share.counts.setdefault(start, [0, 0])
            counts[0] += error
            counts[1] += 1
        return gone

    def tick(self, now: Ms) -> list[Rise]:
        """What the windows that are over by the clock have changed."""
        until = now - GRACE
        until -= until % WINDOW
        if until <= self.closed:
            return []
        self.closed = until
        return [
            rise
            for whose, share in sorted(self.services.items())
            for rise in _close(whose, share, until)
        ]

    def save(self) -> dict[str, Any]:
        services = [
            [
                list(whose),
                one.next,
                [[start, *pair] for start, pair in sorted(one.counts.items())],
                [list(pair) for pair in one.past],
                one.evidence,
                one.since,
                one.told,
            ]
            for whose, one in self.services.items()
        ]
        return {"services": services, "closed": self.closed, "forgotten": self.forgotten}

    @classmethod
    def load(cls, saved: Mapping[str, Any]) -> Shares:
        shares = cls(closed=saved["closed"], forgotten=saved["forgotten"])
        for (environment, service), next, counts, past, evidence, since, told in saved["services"]:
            share = Share(next=next, evidence=evidence, since=since, told=told)
            share.counts = {start: [errors, lines] for start, errors, lines in counts}
            share.past = [list(pair) for pair in past]
            shares.services[environment, service] = share
        return shares


def usual(past: list[list[int]]) -> float:
    """The share of errors in the windows that lie ``LAG`` back, between 0 and 1, never quite
    either (the Jeffreys estimate)."""
    back = past[:-LAG]
    errors, lines = (sum(column) for column in zip(*back, strict=True))
    return float((errors + 0.5) / (lines + 1))


def _close(whose: Whose, share: Share, until: Ms) -> list[Rise]:
    rises: list[Rise] = []
    while share.next < until:
        if not share.counts and not any(lines for _, lines in share.past) and not share.told:
            share.next = until
            break
        start = share.next
        errors, lines = share.counts.pop(start, [0, 0])
        if len(share.past) >= WARM_UP + LAG:
            rises += _judge(whose, share, errors, lines)
        share.past = [*share.past, [errors, lines]][-(HISTORY + LAG) :]
        share.next += WINDOW
    return rises


def _judge(whose: Whose, share: Share, errors: int, lines: int) -> list[Rise]:
    """Add one window's evidence. Beyond twice the limit it grows no more, so that it can end."""
    before = usual(share.past)
    risen = min(0.99, RISE * before + FLOOR)
    held = min(before, risen / RISE)
    gain = errors * log(risen / held) + (lines - errors) * log((1 - risen) / (1 - held))
    if share.evidence == 0.0:
        share.since = share.next
    share.evidence = min(2 * LIMIT, max(0.0, share.evidence + gain))
    told = share.evidence > 0.0 if share.told else share.evidence >= LIMIT
    if told == share.told:
        return []
    share.told = told
    return [
        Rise(
            whose=whose,
            window=(share.next, share.next + WINDOW),
            since=share.since,
            share=errors / lines if lines else 0.0,
            usual=before,
            evidence=share.evidence,
            over=not told,
        )
    ]
