# SPDX-License-Identifier: Apache-2.0
"""Laws of the metric detector: what a stream's scores may depend on, and what they may not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from opx.core.detect.metrics.fields import TOUCHED
from opx.core.detect.metrics.state import MetricState
from opx.core.detect.metrics.stream import Scores, step
from opx.core.ingest.signals import MetricBatch

T = 1_767_225_400_000
laws = settings(max_examples=20)
CUTS = st.lists(st.integers(0, 500), max_size=8)


def batch(sid: object, at: object, value: object) -> MetricBatch:
    return MetricBatch(
        sid=np.array(sid, np.int32),
        at=np.array(at, np.int64),
        value=np.array(value, np.float64),
    )


def part(points: MetricBatch, some: NDArray[np.int64] | slice) -> MetricBatch:
    return MetricBatch(sid=points.sid[some], at=points.at[some], value=points.value[some])


@st.composite
def mixed(draw: st.DrawFn) -> MetricBatch:
    """Gauges, counters, constants, spikes and rubbish of three streams, in any mixture."""
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    size = draw(st.integers(1, 500))
    sid = rng.integers(0, 3, size)
    step_ms = draw(st.sampled_from([1_000, 60_000, 300_000, 3_400_000]))
    at = T + np.cumsum(rng.choice([0, 1, 1, 1, 1, 1, 1, 7], size)) * step_ms
    value = rng.normal(0, 1, size)
    value = np.where(sid == 1, np.cumsum(rng.integers(0, 5, size)) * 1.0, value)
    value = np.where(sid == 2, 7.0 + (rng.random(size) < 0.01), value)
    value[rng.random(size) < 0.02] *= 50
    late = rng.random(size) < draw(st.sampled_from([0, 0.05]))
    at[late] -= 3 * step_ms
    for wild in draw(st.lists(st.sampled_from([np.nan, np.inf, -np.inf, 1e308, -1e200, 1e149]))):
        value[rng.integers(0, size)] = wild
    for wild in draw(st.lists(st.sampled_from([0, -1, 1 << 62, 4_000_000_000_000]), max_size=2)):
        at[rng.integers(0, size)] = wild
    return batch(sid, at, value)


def same(one: Scores, other: Scores, where: NDArray[np.int64] | slice = slice(None)) -> bool:
    return (
        np.array_equal(one.score[where], other.score)
        and np.array_equal(one.anomaly[where], other.anomaly)
        and np.array_equal(one.turn[where], other.turn)
    )


@laws
@given(mixed(), CUTS)
def test_cuts_and_restarts_change_no_score(points: MetricBatch, cuts: list[int]) -> None:
    """In any batches, the state saved and loaded between them, the scores are bit for bit the
    same, and so is the state."""
    whole = MetricState()
    expected = step(whole, points)

    state, start = MetricState(), 0
    for end in [*sorted(min(cut, len(points)) for cut in cuts), len(points)]:
        found = step(state, part(points, slice(start, end)))
        assert same(expected, found, slice(start, end))
        state, start = MetricState.load(state.save()), end
    one, other = whole.save(), state.save()
    one["numbers"][TOUCHED] = other["numbers"][TOUCHED] = 0  # when, counted in batches
    assert np.array_equal(one["sids"], other["sids"])
    for name in ("place.bits", "place.counts", "level.bits", "hours.means", "hours.days"):
        assert np.array_equal(one[name][one["rows"]], other[name][other["rows"]])
    numbers = [saved["numbers"][:, saved["rows"]] for saved in (one, other)]
    assert np.array_equal(*numbers)


@laws
@given(mixed())
def test_a_stream_does_not_know_of_others(points: MetricBatch) -> None:
    """Alone, a stream scores as it does among others."""
    together = step(MetricState(), points)

    for sid in range(3):
        own = (points.sid == sid).nonzero()[0]
        assert same(together, step(MetricState(), part(points, own)), own)


@laws
@given(mixed(), st.integers(0, 500))
def test_nothing_looks_ahead(points: MetricBatch, end: int) -> None:
    """The scores of a prefix are a prefix of the scores."""
    some = slice(0, min(end, len(points)))

    found = step(MetricState(), part(points, some))

    assert same(step(MetricState(), points), found, some)


@laws
@given(mixed(), st.integers(-20, 20), st.integers(-10, 10))
def test_units_do_not_matter(points: MetricBatch, power: int, days: int) -> None:
    """Measured in units larger or smaller by a power of two, days earlier or later, the scores
    are bit for bit the same: no rounding is involved."""
    plain = batch(points.sid, points.at, np.where(np.abs(points.value) < 1e100, points.value, 0))
    moved = batch(points.sid, points.at, plain.value * 2.0**power)
    shifted = (moved.at >= 0) & (moved.at < 1 << 50)
    moved.at[shifted] += days * 86_400_000

    if shifted.all():
        assert same(step(MetricState(), plain), step(MetricState(), moved))


@laws
@given(st.integers(0, 1_000), st.floats(0.01, 100), st.floats(-1_000, 1_000))
def test_scale_and_offset_hardly_matter(seed: int, scale: float, offset: float) -> None:
    """Under any a*x+b with a > 0 all but a few scores stay what they were, to rounding."""
    rng = np.random.default_rng(seed)
    value = np.round(rng.normal(0, 5, 400) + 20 * (np.arange(400) % 100 == 99), 2)
    at = T + np.arange(400) * 60_000

    one = step(MetricState(), batch(np.zeros(400), at, value)).score
    other = step(MetricState(), batch(np.zeros(400), at, scale * value + offset)).score

    assert (np.abs(one - other) < 1e-9).mean() > 0.98


@pytest.mark.parametrize("offset", [9.0, 64.0])
def test_where_zero_lies_does_not_matter_to_a_gauge_that_rose_at_first(offset: float) -> None:
    """From -10 up to -2, as degrees on a cold morning, then around there with one spike: the same
    scores with a zero within that and with one far below it."""
    rng = np.random.default_rng(1)
    value = np.concatenate([np.linspace(-10, -2, 40), -2 + rng.normal(0, 0.1, 500)])
    value[400] = 15.0
    value = np.round(value * 64) / 64  # nothing is rounded when the offset is added
    at = T + np.arange(540) * 60_000

    one = step(MetricState(), batch(np.zeros(540), at, value)).score
    other = step(MetricState(), batch(np.zeros(540), at, value + offset)).score

    assert one[400] > 0.99
    assert np.allclose(one, other, rtol=0, atol=1e-9)


@laws
@given(mixed())
def test_scores_are_scores(points: MetricBatch) -> None:
    """Whatever comes, each point has one finite score from 0 to 1, and what is no number 0."""
    scores = step(MetricState(), points)

    assert len(scores.score) == len(points)
    assert ((scores.score >= 0) & (scores.score <= 1)).all()
    assert (scores.score[~np.isfinite(points.value)] == 0).all()
    assert np.array_equal(scores.anomaly, scores.score > 0.999)
    noted = scores.anomaly | (scores.turn > 0)
    assert np.array_equal(scores.remarks.point, noted.nonzero()[0])
