# SPDX-License-Identifier: Apache-2.0

"""A healthy fleet: many streams over days, in time order, with nothing wrong in them.

What detectors are run on to count false alarms. All that happens is of the healthy kind:
days and weeks, holidays, releases, restarts, counters that begin again, gaps and noise of
several classes. Virtual time: whoever reads sets the pace. One step is computed for all
streams at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from opx.core.base.time import DAY, HOUR, MINUTE, Ms
from opx.core.ingest.signals import Identity, MetricBatch, Series

Floats = NDArray[np.float64]

STREAMS_OF_A_SERVICE = 10
RELEASES_A_DAY = 0.3
RESTARTS_A_DAY = 0.1
"""Of each service, on average."""
OUTAGE: Ms = 2 * MINUTE
"""How long a restart takes: nothing is reported meanwhile."""
LOST = 0.0005
"""The share of points that get lost on the way."""
QUIET = 0.6
"""Of a usual day's load, at a weekend or on a holiday."""
WEEK = 7


class Noise(IntEnum):
    """STEADY: little. ROUGH: much. HEAVY: with outliers. DRIFT: remembers for hours. COUNT:
    small whole numbers. RARE: 0 but for seldom bursts. STEPS: rounded. FLAT: constant.
    COUNTER: a total that only grows, until a restart."""

    STEADY = 0
    ROUGH = 1
    HEAVY = 2
    DRIFT = 3
    COUNT = 4
    RARE = 5
    STEPS = 6
    FLAT = 7
    COUNTER = 8


_SHARES = (0.25, 0.1, 0.1, 0.1, 0.1, 0.05, 0.1, 0.05, 0.15)
_METRICS = (
    "latency_ms", "queue_wait_ms", "request_bytes", "heap_mb", "active_jobs",
    "retries", "cpu_percent", "workers", "requests_total",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """``streams`` streams from ``start`` on for ``hours``, a point every ``period`` (over 0).
    ``seed`` decides everything else."""

    streams: int
    hours: float
    period: Ms
    start: Ms
    seed: int

    @property
    def steps(self) -> int:
        return int(self.hours * HOUR) // self.period


class Fleet:
    """The streams of a plan. ``noise`` (streams,): the class of each."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        rng = np.random.default_rng([plan.seed, 0])
        n = plan.streams
        self.noise = rng.choice(len(Noise), n, p=_SHARES)
        self.service = np.arange(n) // STREAMS_OF_A_SERVICE
        self._level = np.exp(rng.uniform(np.log(5), np.log(500), n))
        self._daily = rng.uniform(0, 0.5, n)
        self._phase = rng.uniform(-2, 2, n) * HOUR
        self._weekly = rng.random(n) < 0.5
        self._holidays = _holidays(rng, plan)
        self._scale = np.choose(self.noise, (0.03, 0.2, 0.05, 0.02, 0.0, 0.0, 0.05, 0.0, 0.1))

    def series(self) -> tuple[Series, ...]:
        """Who each ``sid`` is."""
        return tuple(
            Series(
                sid=sid,
                metric=_METRICS[self.noise[sid]],
                labels={"stream": str(sid)},
                identity=Identity("prod", f"service-{self.service[sid]}"),
            )
            for sid in range(self.plan.streams)
        )

    def batches(self) -> Iterator[MetricBatch]:
        """A batch a step, oldest first; the same every time it is asked."""
        plan, n = self.plan, self.plan.streams
        rng = np.random.default_rng([plan.seed, 1])
        sids = np.arange(n, dtype=np.int32)
        state = _State(n, int(self.service[-1]) + 1 if n else 0)
        for step in range(plan.steps):
            at = plan.start + step * plan.period
            _happen(rng, state, self.service, at, plan.period)
            values = self._values(rng, state, at)
            here = (rng.random(n, dtype=np.float32) >= LOST) & ~state.out[self.service]
            yield MetricBatch(
                sid=sids[here], at=np.full(int(here.sum()), at, dtype=np.int64), value=values[here]
            )

    def _values(self, rng: Generator, state: _State, at: Ms) -> Floats:
        load = self._load(at) * state.released
        drawn = rng.standard_normal(len(load), dtype=np.float32).astype(np.float64)
        # an hour's memory, whatever the period
        kept = np.exp(-self.plan.period / HOUR)
        state.drift = kept * state.drift + np.sqrt(1 - kept * kept) * drawn
        drawn = np.where(self.noise == Noise.DRIFT, 5 * state.drift, drawn)
        values = self._level * load * np.exp(self._scale * drawn)
        return self._shaped(rng, state, values)

    def _load(self, at: Ms) -> Floats:
        """Against the usual mean: the time of day, and quiet days for those that have them."""
        season = 1 + self._daily * np.sin(2 * np.pi * ((at + self._phase) % DAY) / DAY)
        quiet = at // DAY % WEEK in (2, 3) or at // DAY in self._holidays  # 1970 began on Thursday
        return season * np.where(self._weekly & quiet, QUIET, 1.0) if quiet else season

    def _shaped(self, rng: Generator, state: _State, values: Floats) -> Floats:
        """What the noise class makes of plain values, in place."""
        for noise, where in state.of(self.noise).items():
            plain = values[where]
            if noise is Noise.HEAVY:
                far = rng.random(len(plain)) < 0.005
                plain = plain * np.where(far, rng.pareto(3, len(plain)) + 1, 1)
            elif noise is Noise.COUNT:
                plain = rng.poisson(plain / 50).astype(np.float64)
            elif noise is Noise.RARE:
                plain = plain * (rng.random(len(plain)) < 0.002)
            elif noise is Noise.STEPS:
                plain = np.round(plain / self._level[where] * 20) * self._level[where] / 20
            elif noise is Noise.FLAT:
                plain = self._level[where]
            elif noise is Noise.COUNTER:
                state.total[where] += np.round(plain * self.plan.period / 1_000)
                plain = state.total[where]
            values[where] = plain
        return values


class _State:
    """What a fleet remembers from step to step. ``out``: services that restart just now, until
    ``back``. ``released``: what releases made of each stream's level."""

    def __init__(self, streams: int, services: int) -> None:
        self.drift = np.zeros(streams)
        self.total = np.zeros(streams)
        self.released = np.ones(streams)
        self.out = np.zeros(services, dtype=np.bool_)
        self.back = np.zeros(services, dtype=np.int64)
        self._of: dict[Noise, NDArray[np.intp]] = {}

    def of(self, noise: NDArray[np.int64]) -> dict[Noise, NDArray[np.intp]]:
        """The streams of each class whose values are not simply noisy."""
        if not self._of:
            plain = (Noise.STEADY, Noise.ROUGH, Noise.DRIFT)
            self._of = {n: np.flatnonzero(noise == n) for n in Noise if n not in plain}
        return self._of


def _holidays(rng: Generator, plan: Plan) -> frozenset[int]:
    """Days since 1970, one in thirty."""
    first, last = plan.start // DAY, (plan.start + int(plan.hours * HOUR)) // DAY
    return frozenset(int(day) for day in range(first, last + 1) if rng.random() < 1 / 30)


def _happen(rng: Generator, state: _State, service: NDArray[np.int64], at: Ms, period: Ms) -> None:
    """Restarts and releases that fall into this step. A release is a restart too, and may move
    levels a little."""
    count = len(state.out)
    drawn = rng.random(count)
    releases = drawn < RELEASES_A_DAY * period / DAY
    restarts = drawn < (RELEASES_A_DAY + RESTARTS_A_DAY) * period / DAY
    if restarts.any():
        state.back[restarts] = at + OUTAGE
        mine = restarts[service]
        state.total[mine] = 0
        moved = np.flatnonzero(releases[service])
        state.released[moved] = np.exp(0.05 * rng.standard_normal(len(moved)))
    state.out = state.back > at
