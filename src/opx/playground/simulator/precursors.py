# SPDX-License-Identifier: Apache-2.0

"""Failures that announce themselves, and healthy services that look as if they did.

For judging predictions: a ``Story`` is one service over some hours, with the time at which it
failed, or none. What grows towards a limit fails when it gets there; its twin bends in time.
Virtual time, decided by the seed alone. It must never look at what a prediction would say.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from opx.core.base.time import DAY, HOUR, MINUTE, Ms
from opx.core.ingest.signals import Identity, MetricBatch, Series

Floats = NDArray[np.float64]

LOST = 0.005
"""The share of values that get lost."""
SHOWN: Ms = 5 * MINUTE
"""How long a story goes on after the failure."""
FULL, DEEPEST, BROKEN = 100.0, 1_000.0, 0.5
"""Where a service fails: memory in percent, waiting requests, failed share of requests."""
METRICS = ("memory_percent", "queue_depth", "error_ratio", "latency_ms", "requests_per_second")


class Trend(StrEnum):
    """What leads to a failure: memory that is never freed, a queue that grows, errors that
    become more."""

    LEAK = "leak"
    QUEUE = "queue"
    ERRORS = "errors"


class Twin(StrEnum):
    """What looks like it and is healthy: memory that fills and is freed; a cache that fills
    and stays so; a queue of a nightly job that is worked off; errors that come and go; load,
    and with it everything, that follows the day; a new level after a release."""

    SAWTOOTH = "sawtooth"
    PLATEAU = "plateau"
    DRAINING = "draining"
    BLIP = "blip"
    DAILY = "daily"
    RELEASE = "release"


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """One service from ``start`` on, a value every ``period``. ``metrics``: ``METRICS``, each of
    one length; NaN: lost. ``began``: when the trend did, of a twin when it began to look like
    one. ``failed_at``: None if it did not; from then on all requests fail."""

    service: str
    kind: Trend | Twin
    start: Ms
    period: Ms
    metrics: dict[str, Floats]
    began: Ms
    failed_at: Ms | None

    @property
    def steps(self) -> int:
        return len(self.metrics[METRICS[0]])


def stories(kinds: Sequence[Trend | Twin], seeds: Sequence[int], start: Ms) -> Iterator[Story]:
    """Each kind with each seed, all from ``start`` on."""
    names = [*Trend, *Twin]
    for seed in seeds:
        for kind in kinds:
            rng = np.random.default_rng([seed, names.index(kind)])
            yield _story(rng, kind, f"{kind}-{seed}", start)


def points(told: Sequence[Story]) -> tuple[tuple[Series, ...], Iterator[MetricBatch]]:
    """Stories of one start and period as streams side by side, a batch a step."""
    if len({(story.start, story.period) for story in told}) > 1:
        raise ValueError("stories told together have one start and one period")
    series = tuple(
        Series(sid=sid, metric=metric, labels={}, identity=Identity("prod", story.service))
        for sid, (story, metric) in enumerate((s, m) for s in told for m in METRICS)
    )
    return series, _batches(told)


def _batches(told: Sequence[Story]) -> Iterator[MetricBatch]:
    steps = max((story.steps for story in told), default=0)
    table = np.full((len(told) * len(METRICS), steps), np.nan)
    for number, story in enumerate(told):
        for row, metric in enumerate(METRICS, number * len(METRICS)):
            table[row, : story.steps] = story.metrics[metric]
    for step in range(steps):
        here = np.flatnonzero(np.isfinite(table[:, step]))
        at = told[0].start + step * told[0].period
        yield MetricBatch(
            sid=here.astype(np.int32),
            at=np.full(len(here), at, dtype=np.int64),
            value=table[here, step],
        )


def _story(rng: Generator, kind: Trend | Twin, service: str, start: Ms) -> Story:
    period = 15_000
    quiet = int(rng.uniform(2, 6) * HOUR)
    # from a trend of minutes to one of most of a day
    lasts = int(np.exp(rng.uniform(np.log(15 * MINUTE), np.log(8 * HOUR))))
    fails = isinstance(kind, Trend)
    after = SHOWN if fails else lasts + int(rng.uniform(1, 3) * HOUR)
    at = np.arange(0, quiet + lasts + after, period, dtype=np.float64)
    grown = _growth(rng, np.clip((at - quiet) / lasts, 0, 1))
    metrics = _calm(rng, at, swing=0.5 if kind is Twin.DAILY else rng.uniform(0, 0.2))
    _grow(rng, kind, metrics, grown, np.maximum(at - quiet, 0) / lasts)
    if fails:
        broken = at >= quiet + lasts
        metrics["error_ratio"][broken] = 1.0
        metrics["latency_ms"][broken] = np.nan
    for values in metrics.values():
        values[rng.random(len(values)) < LOST] = np.nan
    return Story(
        service=service,
        kind=kind,
        start=start,
        period=period,
        metrics=metrics,
        began=start + quiet,
        failed_at=start + int(at[broken][0]) if fails else None,
    )


def _growth(rng: Generator, passed: Floats) -> Floats:
    """From 0 to 1: straight, ever faster, or in steps."""
    shape = rng.integers(3)
    if shape == 0:
        return passed
    if shape == 1:
        faster: Floats = np.expm1(3 * passed) / np.expm1(3)
        return faster
    steps = int(rng.integers(5, 12))
    return np.where(passed < 1, np.floor(passed * steps) / steps, 1.0)


def _calm(rng: Generator, at: Floats, swing: float) -> dict[str, Floats]:
    """A healthy service; ``swing``: how much of its load follows the day."""
    day = 1 + swing * np.sin(2 * np.pi * (at / DAY + rng.random()))
    rough = rng.uniform(0.02, 0.15)

    def noisy(level: float, by: Floats) -> Floats:
        return level * by * np.exp(rough * rng.standard_normal(len(at)))

    few = np.full(len(at), rng.uniform(0.001, 0.01))
    return {
        "memory_percent": np.minimum(noisy(rng.uniform(20, 50), np.sqrt(day)), 80),
        "queue_depth": noisy(rng.uniform(2, 20), day),
        "error_ratio": rng.binomial(500, few) / 500,
        "latency_ms": noisy(rng.uniform(10, 200), day),
        "requests_per_second": noisy(rng.uniform(10, 1_000), day),
    }


def _grow(
    rng: Generator,
    kind: Trend | Twin,
    metrics: dict[str, Floats],
    grown: Floats,
    passed: Floats,
) -> None:
    """Add what the kind does. ``grown``: 0 to 1, the way to the limit; ``passed``: times the
    trend's length since it began."""
    high = rng.uniform(0.3, 0.8)  # how near a twin comes to a limit
    bump = np.where(passed < 1, grown, np.maximum(0, 3 - 2 * passed)) * high
    match kind:
        case Trend.LEAK:
            metrics["memory_percent"] += (FULL - metrics["memory_percent"]) * grown
        case Trend.QUEUE:
            metrics["queue_depth"] += DEEPEST * grown
            metrics["latency_ms"] *= 1 + 20 * grown
        case Trend.ERRORS:
            metrics["error_ratio"] += BROKEN * grown
        case Twin.SAWTOOTH:
            teeth = passed * rng.integers(2, 6) % 1 * (passed > 0)
            metrics["memory_percent"] += (FULL - metrics["memory_percent"]) * high * teeth
        case Twin.PLATEAU:
            filled = -np.expm1(-4 * passed)
            metrics["memory_percent"] += (FULL - metrics["memory_percent"]) * high * filled
        case Twin.DRAINING:
            metrics["queue_depth"] += DEEPEST * bump
            metrics["latency_ms"] *= 1 + 5 * bump
        case Twin.BLIP:
            metrics["error_ratio"] += BROKEN * bump * 0.6
        case Twin.RELEASE:
            for name in ("memory_percent", "latency_ms"):
                metrics[name] *= np.where(passed > 0, 1 + 0.5 * high, 1.0)
            metrics["memory_percent"] = np.minimum(metrics["memory_percent"], 90)
        case Twin.DAILY:
            pass  # its load does it
