# SPDX-License-Identifier: Apache-2.0

"""What the metric detector keeps of a fleet: in a flood of other streams, and over a restart.

In memory and time of this process. It says nothing of how good the scores are.
"""

from __future__ import annotations

import json
import time

import numpy as np

from opx.bench.figures import Figure, Tell
from opx.core.base.time import HOUR, MINUTE, Ms
from opx.core.detect.metrics.odd import Odd
from opx.core.detect.metrics.state import MetricState
from opx.core.detect.metrics.stream import step
from opx.core.ingest.signals import MetricBatch
from opx.playground.simulator.fleet import Fleet, Plan

START: Ms = 1_767_225_600_000
STRANGERS = 1_000
"""For each stream of the fleet: of 10,000, ten million."""
HOUR_LONG = 60
AT_ONCE = 50_000
PERIOD: Ms = 15_000
BEFORE, AFTER = 200, 200
"""Points of each stream around the restart: after a hundred or so they begin to have scores."""


def flood(streams: int, tell: Tell) -> list[Figure]:
    """Streams without end, as a label with an id in it makes them: a fleet that has come for long,
    then streams that come once each. Its streams must all be there at the end, and no more
    memory be held than the bound allows. ``streams``: of the fleet, over 0."""
    state, others = MetricState(), streams * STRANGERS
    tell(f"flood: {others:,} streams that come once, among {streams:,} that have come for long")
    for minute in range(HOUR_LONG):
        step(state, _points(0, streams, START + minute * MINUTE))
    began = time.process_time()
    for first in range(0, others, AT_ONCE):
        many = min(AT_ONCE, others - first)
        step(state, _points(streams + first, many, START + HOUR_LONG * MINUTE + first))
    spent = time.process_time() - began
    kept = int((state.rows.find(np.arange(streams)) >= 0).sum())
    return [
        Figure(
            name=f"of {streams:,} streams, kept in a flood of {others:,} others",
            unit="",
            measured=kept,
            must=f"{streams:,}",
            note=f"{len(state):,} known in {state.bytes / 1e6:.0f} MB at the end,"
            f" {state.evicted:,} let go; {others / spent:,.0f} new streams a second",
        )
    ]


def restart(streams: int, seed: int, tell: Tell) -> list[Figure]:
    """What is known is kept as the service keeps it, as text, and read again; both states then
    see the same points, and must score them alike. ``streams``: over 0."""
    tell(f"restart: {streams:,} streams, {BEFORE} points before and {AFTER} after")
    hours = (BEFORE + AFTER) * PERIOD / HOUR
    made = Fleet(Plan(streams=streams, hours=hours, period=PERIOD, start=START, seed=seed))
    batches = made.batches()
    odd = Odd()
    for _ in range(BEFORE):
        step(odd.state, next(batches))
    began = time.process_time()
    row = json.dumps(odd.save())
    saved = time.process_time()
    again = Odd.load(json.loads(row)).state
    loaded = time.process_time()
    differ = points = said = 0
    for batch in batches:
        ours, theirs = step(odd.state, batch).score, step(again, batch).score
        differ += int(np.sum(ours != theirs))
        said += int(np.sum(ours > 0))
        points += len(batch)
    return [
        Figure(
            name=f"points that score otherwise after a restart with {streams:,} streams",
            unit=f"of {points:,}",
            measured=differ,
            must="0",
            note=f"{said:,} of them with a score over 0",
        ),
        Figure(
            name=f"restart with {streams:,} streams: what is known, kept and read again",
            unit="s",
            measured=round(loaded - began, 2),
            note=f"{saved - began:.2f} s to keep it, {len(row) / 1e6:.1f} MB; process time",
        ),
    ]


def _points(first: int, many: int, at: Ms) -> MetricBatch:
    return MetricBatch(
        sid=np.arange(first, first + many, dtype=np.int32),
        at=np.full(many, at, np.int64),
        value=np.ones(many),
    )
