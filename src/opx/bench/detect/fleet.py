# SPDX-License-Identifier: Apache-2.0

"""A healthy fleet for a day: every finding is a false one. And how fast, in how much memory.

Batches are parsed already; what is timed is scoring them and making findings, as ``brain``
does it, from the first point on, in one thread. The plain rule sees the same points.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from opx.bench.figures import Figure, Tell
from opx.core.base.time import DAY, HOUR, Ms
from opx.core.detect.finding import FindingState
from opx.core.detect.metrics.departures import Departures
from opx.core.detect.metrics.state import MetricState
from opx.core.detect.metrics.stream import step
from opx.playground.judging.plain import PlainRule
from opx.playground.simulator.fleet import Fleet, Plan

STREAMS = 10_000
PERIOD: Ms = 15_000
START: Ms = 1_767_225_600_000
HOURS = DAY // HOUR
LASTING = 3
"""Points in a row for which people wait before they believe a plain rule."""


@dataclass(slots=True, kw_only=True)
class Day:
    """``spent_s``: of this process, in the detector alone. ``plain``: findings of the plain rule,
    ``lasting``: those of them that lasted."""

    points: int = 0
    flags: int = 0
    findings: int = 0
    plain: int = 0
    lasting: int = 0
    spent_s: float = 0.0


def measure(streams: int, seed: int, tell: Tell) -> list[Figure]:
    """``streams``: over 0."""
    made = Fleet(Plan(streams=streams, hours=HOURS, period=PERIOD, start=START, seed=seed))
    series = {one.sid: one for one in made.series()}
    state, departures, day = MetricState(), Departures(), Day()
    plain = PlainRule([one.metric for one in made.series()])
    hour = made.plan.steps // HOURS
    for number, batch in enumerate(made.batches()):
        if number % (6 * hour) == 0:
            tell(f"fleet: {streams:,} healthy streams, hour {number // hour} of {HOURS}")
        at = made.plan.start + number * made.plan.period
        began = time.process_time()
        scores = step(state, batch)
        edges = departures.step(state, batch, scores, series, at)
        day.spent_s += time.process_time() - began
        day.points += len(batch)
        day.flags += int(scores.anomaly.sum())
        day.findings += sum(edge.state is FindingState.FIRING for edge in edges)
        run = plain.step(batch.sid, batch.at, batch.value)
        day.plain += int((run == 1).sum())
        day.lasting += int((run == LASTING).sum())
    return _figures(day, streams, state.bytes / max(len(state), 1))


def _figures(day: Day, streams: int, bytes_a_stream: float) -> list[Figure]:
    rate = 1_000 * day.flags / day.points
    return [
        Figure(
            name="findings in a day of 10,000 healthy streams",
            unit="",
            measured=round(day.findings * STREAMS / streams, 1),
            anchor=f"plain rule {day.plain * STREAMS // streams:,}",
            must="50",
            aim="10",
            note=f"{day.findings} from {streams:,} streams, a point every {PERIOD // 1_000} s;"
            f" {rate:.2f} flags per 1,000 points, of which nobody is told; the plain rule (three"
            f" deviations off its own past) has {day.plain:,} findings"
            f" in the same points, {day.lasting:,} of them of {LASTING} points or more",
        ),
        Figure(
            name="points a second scored, one core",
            unit="/s",
            measured=int(day.points / day.spent_s),
            must="1,000,000/s",
            aim="5,000,000/s",
            note=f"{day.points:,} points of {streams:,} streams",
        ),
        Figure(
            name="memory a stream, room to grow included",
            unit="bytes",
            measured=round(bytes_a_stream),
            must="8,192",
            aim="4,096",
        ),
    ]
