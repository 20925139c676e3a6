# SPDX-License-Identifier: Apache-2.0
"""Territories against a slow oracle and against figures worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opx.core.detect.metrics.territory import OCTAVES, Territory

ROW = np.zeros(1, np.int64)


def make(planes: int, words: int, streams: int = 1) -> Territory:
    made = Territory(planes=planes, words=words)
    made.bits = np.zeros((streams, planes, words), np.uint64)
    made.counts = np.zeros((streams, OCTAVES), np.uint32)
    return made


class Walk:
    """One stream, point by point."""

    def __init__(self, planes: int = 1, words: int = 4) -> None:
        self.territory = make(planes, words)
        self.frame = np.zeros((2, 1))
        self.taken = 0

    def to(self, *values: float) -> float:
        self.taken += 1
        taken = np.array([float(self.taken)])
        with np.errstate(all="ignore"):
            odds = self.territory.look(ROW, self.frame, np.array(values)[:, None], taken)
        return float(odds[0])


def test_the_first_change_of_a_constant_is_odd_and_then_known() -> None:
    """After nine equal values the first other one has odds 1 in 11; again it is nothing new."""
    walk = Walk()

    assert [walk.to(5.0) for _ in range(9)] == [1.0] * 9
    assert walk.to(6.0) == pytest.approx(1 / 11)
    assert walk.to(6.0) == 1.0
    assert walk.to(5.0) == 1.0


def test_distances_are_ranked_among_those_that_came() -> None:
    """The frame is four times the first step of 64 cells wide: a step of 1 is 64 cells, octave
    6, half of one octave 5. What came farther counts, what came nearer does not."""
    walk = Walk()
    walk.to(0.0)
    walk.to(1.0)  # octave 6, the first novelty

    assert walk.to(0.5) == pytest.approx(2 / 4)  # octave 5: one came as far, of 3 points
    assert walk.to(0.5) == 1.0
    assert walk.to(-1.0) == pytest.approx(2 / 6)  # octave 6: one as far, of 5 points
    assert walk.to(-1.25) == pytest.approx(4 / 7)  # octave 4: all three, of 6 points


def test_beyond_all_that_came_every_doubling_halves_the_odds() -> None:
    """Steps of one cell, then one of 32 cells: five octaves farther than ever."""
    walk = Walk()
    walk.to(0.0)
    walk.to(1.0)  # octave 6; a cell is 1/64
    for _ in range(7):
        walk.to(1.0)
    walk.territory.counts[:] = 0
    walk.territory.counts[0, 0] = 4  # as if only neighbours had ever been new

    assert walk.to(0.5) == pytest.approx((0 + 1) / (10 + 1) / 2**5)


def test_a_wild_value_costs_one_bit_of_resolution() -> None:
    """A value a million times too large doubles the frame once; what was known stays known."""
    walk = Walk()
    for value in (0.0, 1.0, 0.5, 0.25):
        walk.to(value)
    width = float(walk.frame[1, 0])

    assert walk.to(1e6) < 1.0
    assert walk.frame[1, 0] == 2 * width
    assert [walk.to(value) for value in (0.0, 1.0, 0.5, 0.25)] == [1.0] * 4


@settings(max_examples=60)
@given(st.integers(0, 1_000), st.booleans())
def test_the_nearest_cell_is_found(seed: int, flat: bool) -> None:
    """The octave of a cell is that of its distance to the nearest occupied one along the axis
    on which it is farther, as a search over all of them says."""
    rng = np.random.default_rng(seed)
    planes, words = (1, 4) if flat else (64, 1)
    side = 64 * words
    territory = make(planes, words, streams=3)
    known = rng.integers(0, [3, planes, side], (rng.integers(3, 40), 3))
    known[:3, 0] = [0, 1, 2]
    for row, first, last in known:
        territory.bits[row, first, last // 64] |= np.uint64(1) << np.uint64(last % 64)
    asked = rng.integers(0, [1, planes, side], (3, 3))
    asked[:, 0] = [0, 1, 2]

    octaves = territory._octave(asked[:, 0], asked[:, 1], asked[:, 2])

    for (row, first, last), octave in zip(asked, octaves, strict=True):
        own = known[known[:, 0] == row]
        away = np.maximum(abs(own[:, 1] - first), abs(own[:, 2] - last)).min()
        assert 2**octave >= away
        assert octave == 0 or 2 ** (octave - 1) < away


@settings(max_examples=60)
@given(st.integers(0, 1_000), st.booleans(), st.booleans())
def test_doubling_a_frame_keeps_every_place(seed: int, flat: bool, up: bool) -> None:
    """A point's cell is occupied after the frame has grown exactly if it or a neighbour of its
    pair was before."""
    rng = np.random.default_rng(seed)
    planes, words = (1, 4) if flat else (64, 1)
    side, axes = 64 * words, 1 if flat else 2
    territory = make(planes, words)
    known = rng.integers(0, [planes, side], (20, 2))
    for first, last in known:
        territory.bits[0, first, last // 64] |= np.uint64(1) << np.uint64(last % 64)
    frame = np.array([[0.0], [1.0]])
    beyond = np.full((axes, 1), side + 1.0 if up else -1.0)

    territory._grow(ROW, frame, beyond, ROW)

    base = 0 if up else side // 2
    expected = {
        (0 if flat else base + int(first) // 2, base + int(last) // 2) for first, last in known
    }
    found = {
        (first, last)
        for first in range(planes)
        for last in range(side)
        if territory.bits[0, first, last // 64] >> np.uint64(last % 64) & np.uint64(1)
    }
    assert found == expected
    assert frame[:, 0].tolist() == [0.0 if up else -float(side), 2.0]
