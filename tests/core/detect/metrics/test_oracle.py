# SPDX-License-Identifier: Apache-2.0
"""The whole detector against a slow one of plain numbers, sets and lists, written from the
description: one gauge at a time, no arrays, no bits, no rounds."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from opx.core.detect.metrics.state import MetricState
from opx.core.detect.metrics.stream import step
from opx.core.ingest.signals import MetricBatch

T = 1_767_225_600_000


class Places:
    """Occupied cells, as a set of tuples."""

    def __init__(self, side: int) -> None:
        self.side, self.lo, self.width = side, 0.0, 0.0
        self.cells: set[tuple[int, ...]] = set()
        self.came: Counter[int] = Counter()

    def look(self, values: tuple[float, ...], taken: int) -> float:
        if taken == 1:
            self.lo = values[-1]
        if not self.width:
            span = max(abs(value - self.lo) for value in values)
            if not span:
                return 1.0
            self.width = span / (self.side / 4)
            self.lo -= self.width * (self.side / 2 + 0.5)
            self.cells = {(self.side // 2,) * len(values)}
        place = [(value - self.lo) / self.width for value in values]
        if any(not 0 <= one < self.side for one in place):
            self.double(values)
            place = [(value - self.lo) / self.width for value in values]
        over = max(max(-one, one - self.side, 0.0) for one in place)
        cell = tuple(min(max(math.floor(one), 0), self.side - 1) for one in place)
        if cell in self.cells and not over:
            return 1.0
        nearest = min(max(abs(a - b) for a, b in zip(cell, one, strict=True)) for one in self.cells)
        octave = max(math.ceil(math.log2(max(nearest, 1))), 0)
        if over:
            octave = min(math.ceil(math.log2(over + 2**octave)), 15)
        as_far = sum(count for far, count in self.came.items() if far >= octave)
        odds = (as_far + 1) / (taken + 1)
        if self.came and not as_far:
            odds /= 2 ** (octave - max(self.came))
        self.came[octave] += 1
        self.cells.add(cell)
        return odds

    def double(self, values: tuple[float, ...]) -> None:
        high = self.lo + self.side * self.width
        base = 0 if max(values) - high >= self.lo - min(values) else self.side // 2
        self.lo -= self.side * self.width if base else 0.0
        self.width *= 2
        self.cells = {tuple(base + one // 2 for one in cell) for cell in self.cells}
        self.came = Counter({far - 1: count for far, count in self.came.items() if far})


def slow(at: list[int], values: list[float]) -> list[float]:
    """The scores of one gauge whose points come in order."""
    place, level = Places(64), Places(256)
    means: dict[int, tuple[float, int]] = {}
    hour, within, mean, before = -1, 0, 0.0, values[0]
    left_level = recent = spoken = 0.0
    old, oddest = 0.0, 1.0
    scores = []
    for taken, (ms, value) in enumerate(zip(at, values, strict=True), 1):
        if ms // 3_600_000 != hour:
            if within:
                known, days = means.get(hour % 24, (0.0, 0))
                weight = max(0.1, 1 / (days + 1))
                means[hour % 24] = known + weight * (mean - known), days + 1
                before = mean
            hour, within, mean = ms // 3_600_000, 0, 0.0
        usual = means[hour % 24][0] if hour % 24 in means else mean if within else before
        within += 1
        mean += (value - mean) / within
        left = value - usual
        left_level += max(1 / 32, 1 / taken) * (left - left_level)
        recent += max(1 / 64, 1 / taken) * (value - recent)
        odds = place.look((left_level, left), taken)
        odds *= math.sqrt(level.look((recent,), taken))
        if (taken - 1) % 100 == 0:
            old, oddest = (oddest if taken > 1 else 0.0), 1.0
        spoken -= spoken / 4096
        score = 0.0
        if odds < min(old, oddest) and taken > 100:
            said = min(odds * (1 + spoken), 1.0)
            score = 1 - math.sqrt(said) / 150 if said < 1 else 0.0
            spoken += odds < 1 / 32
        oddest = min(oddest, odds)
        scores.append(score)
    return scores


@settings(max_examples=25)
@given(
    st.integers(0, 10_000),
    st.sampled_from([60_000, 300_000, 1_800_000]),
    st.sampled_from(["noise", "season", "steps", "spikes", "walk"]),
)
def test_scores_are_those_of_the_description(seed: int, every: int, shape: str) -> None:
    """Bit for bit, on noise, seasons, steps, spikes and a walk that never comes back."""
    rng = np.random.default_rng(seed)
    count = np.arange(450)
    value = rng.normal(0, 1, 450) + 1e-3
    value += {
        "noise": count * 0.0,
        "season": 10 * np.sin(count / 20),
        "steps": 5.0 * (count // 130),
        "spikes": 40.0 * (count % 97 == 96) * rng.random(450),
        "walk": np.cumsum(rng.normal(0, 2, 450)),
    }[shape]
    at = T + count * every

    found = step(MetricState(), MetricBatch(sid=np.zeros(450, np.int32), at=at, value=value))

    assert found.score.tolist() == slow(at.tolist(), value.tolist())
