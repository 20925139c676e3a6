# SPDX-License-Identifier: Apache-2.0

"""The share of a service's log lines that are errors, as a stream like any other.

Part of ``predict``: lines and ticks in, points for ``predictor.step`` out. A minute gives a
point once enough lines came; fewer are kept for the next. It must never look at what a line
says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from opx.core.base.time import MINUTE, Ms
from opx.core.detect.predict.prediction import Prediction
from opx.core.detect.predict.predictor import step, tick
from opx.core.detect.predict.state import PredictState
from opx.core.ingest.signals import Identity, LogLevel, LogLine, MetricBatch, Series, Tick

METRIC = "error_lines_ratio"
FEWEST = 20
"""Lines of a point: with fewer, one error more or less is a leap."""
GRACE: Ms = 15_000
"""A line may come so late."""
MOST_SERVICES = 1_024


@dataclass(slots=True)
class Lines:
    """``counts``: by environment and service, the stream's number, lines and errors that are in
    no point yet; the least recently seen first. ``closed``: up to here there are points."""

    counts: dict[tuple[str, str], list[int]] = field(default_factory=dict)
    closed: Ms = -1
    made: int = 0
    most: int = MOST_SERVICES

    def save(self) -> dict[str, Any]:
        counts = [[*who, list(counted)] for who, counted in self.counts.items()]
        return {"counts": counts, "closed": self.closed, "made": self.made, "most": self.most}

    @classmethod
    def load(cls, saved: Mapping[str, Any]) -> Lines:
        counts = {(row[0], row[1]): list(row[2]) for row in saved["counts"]}
        return cls(counts=counts, closed=saved["closed"], made=saved["made"], most=saved["most"])


def take(lines: Lines, state: PredictState, items: Sequence[LogLine | Tick]) -> list[Prediction]:
    """The edges that these make, in their order. A line without a service is nobody's."""
    edges: list[Prediction] = []
    for item in items:
        if isinstance(item, Tick):
            edges += _close(lines, state, item.at)
        elif item.identity.service:
            _count(lines, state, item)
    return edges


def _count(lines: Lines, state: PredictState, line: LogLine) -> None:
    who = line.identity.environment, line.identity.service
    counted = lines.counts.pop(who, None)
    if counted is None:
        if len(lines.counts) >= lines.most:
            del lines.counts[next(iter(lines.counts))]
        lines.made += 1
        # below zero, where no metric stream has its number
        counted = [-lines.made, 0, 0]
        identity = Identity(*who)
        state.know([Series(sid=-lines.made, metric=METRIC, labels={}, identity=identity)])
    lines.counts[who] = counted
    counted[1] += 1
    counted[2] += line.level >= LogLevel.ERROR


def _close(lines: Lines, state: PredictState, now: Ms) -> list[Prediction]:
    until = now - GRACE
    until -= until % MINUTE
    if until <= lines.closed:
        return tick(state, now)
    lines.closed = until
    enough = [counted for counted in lines.counts.values() if counted[1] >= FEWEST]
    batch = MetricBatch(
        sid=np.array([counted[0] for counted in enough], np.int32),
        at=np.full(len(enough), until - 1, np.int64),
        value=np.array([counted[2] / counted[1] for counted in enough], np.float64),
    )
    for counted in enough:
        counted[1] = counted[2] = 0
    return step(state, batch, now)
