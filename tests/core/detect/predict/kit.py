# SPDX-License-Identifier: Apache-2.0
"""Streams made by hand, four points a minute, and what is predicted of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from opx.core.base.time import MINUTE
from opx.core.detect.predict.prediction import Prediction
from opx.core.detect.predict.predictor import step
from opx.core.detect.predict.state import PredictState
from opx.core.ingest.signals import Identity, MetricBatch, Series

T = 1_767_225_600_000
"""A full minute."""
STEP = 15_000


def series(sid: int, metric: str, service: str = "orders", resource: str = "") -> Series:
    identity = Identity("prod", service, resource)
    return Series(sid=sid, metric=metric, labels={}, identity=identity)


def batch(sid: object, at: object, value: object) -> MetricBatch:
    return MetricBatch(
        sid=np.array(sid, np.int32), at=np.array(at, np.int64), value=np.array(value, np.float64)
    )


@dataclass
class Watched:
    """One stream, minute by minute: each level stands for all four points of it."""

    metric: str = "memory_percent"
    limit: float | None = None
    sid: int = 0
    service: str = "orders"
    state: PredictState = field(default_factory=PredictState)
    minute: int = 0

    def __post_init__(self) -> None:
        limits = {} if self.limit is None else {self.sid: self.limit}
        self.state.know([series(self.sid, self.metric, self.service)], limits)

    @property
    def now(self) -> int:
        return T + self.minute * MINUTE

    def take(self, levels: Sequence[float] | np.ndarray) -> list[Prediction]:
        edges = []
        for level in levels:
            at = [self.now + number * STEP for number in range(4)]
            points = batch([self.sid] * 4, at, [level] * 4)
            edges += step(self.state, points, at[-1])
            self.minute += 1
        return edges


def flat(minutes: int, level: float = 40.0) -> np.ndarray:
    """With a wave of 0.5 up and down every four minutes, so that something is usual."""
    return level + np.resize([0.5, -0.5], minutes)


def leak(minutes: int, pace: float = 0.5, level: float = 40.0) -> np.ndarray:
    return level + pace * np.arange(1, minutes + 1)
