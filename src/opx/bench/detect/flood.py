# SPDX-License-Identifier: Apache-2.0

"""Streams without end, as a label with an id in it makes them: what that costs, and who stays.

A fleet that has come for long, then streams that come once each. Its streams must all be
there at the end, and no more memory be held than the bound allows.
"""

from __future__ import annotations

import time

import numpy as np

from opx.bench.figures import Figure, Tell
from opx.core.base.time import MINUTE, Ms
from opx.core.detect.metrics.state import MetricState
from opx.core.detect.metrics.stream import step
from opx.core.ingest.signals import MetricBatch

START: Ms = 1_767_225_600_000
STRANGERS = 1_000
"""For each stream of the fleet: of 10,000, ten million."""
HOUR_LONG = 60
AT_ONCE = 50_000


def measure(streams: int, tell: Tell) -> list[Figure]:
    """``streams``: of the fleet, over 0."""
    state, flood = MetricState(), streams * STRANGERS
    tell(f"flood: {flood:,} streams that come once, among {streams:,} that have come for long")
    for minute in range(HOUR_LONG):
        step(state, _points(0, streams, START + minute * MINUTE))
    began = time.process_time()
    for first in range(0, flood, AT_ONCE):
        many = min(AT_ONCE, flood - first)
        step(state, _points(streams + first, many, START + HOUR_LONG * MINUTE + first))
    spent = time.process_time() - began
    kept = int((state.rows.find(np.arange(streams)) >= 0).sum())
    return [
        Figure(
            name=f"of {streams:,} streams, kept in a flood of {flood:,} others",
            unit="",
            measured=kept,
            must=f"{streams:,}",
            note=f"{len(state):,} known in {state.bytes / 1e6:.0f} MB at the end,"
            f" {state.evicted:,} let go; {flood / spent:,.0f} new streams a second",
        )
    ]


def _points(first: int, many: int, at: Ms) -> MetricBatch:
    return MetricBatch(
        sid=np.arange(first, first + many, dtype=np.int32),
        at=np.full(many, at, np.int64),
        value=np.ones(many),
    )
