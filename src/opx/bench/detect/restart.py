# SPDX-License-Identifier: Apache-2.0

"""A restart of a fleet's detector: whether it scores as if there had been none, and the time.

What is known is kept as the service keeps it, as text, and read again. Both states then see
the same points. One stream that scores otherwise is one too many.
"""

from __future__ import annotations

import json
import time

import numpy as np

from opx.bench.figures import Figure, Tell
from opx.core.base.time import HOUR, Ms
from opx.core.detect.metrics.odd import Odd
from opx.core.detect.metrics.stream import step
from opx.playground.simulator.fleet import Fleet, Plan

PERIOD: Ms = 15_000
START: Ms = 1_767_225_600_000
BEFORE, AFTER = 200, 200
"""Points of each stream: after a hundred or so they begin to have scores."""


def measure(streams: int, seed: int, tell: Tell) -> list[Figure]:
    """``streams``: over 0."""
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
