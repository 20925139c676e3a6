# SPDX-License-Identifier: Apache-2.0
"""Laws of the predictor: what its edges may depend on, what they may not, and how large it is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.core.detect.predict.kit import T, Watched, batch, flat, leak, series

from opx.core.base.time import MINUTE
from opx.core.detect.predict.prediction import Prediction
from opx.core.detect.predict.predictor import step
from opx.core.detect.predict.state import PredictState
from opx.core.ingest.signals import MetricBatch
from opx.errors import Damaged

laws = settings(max_examples=8)
STREAMS = 4
METRICS = ("memory_percent", "disk_free_bytes", "requests_failed_total", "queue_depth")


def fresh() -> PredictState:
    state = PredictState()
    limits = {2: 30.0, 3: 100.0}
    state.know([series(n, metric, f"s{n}") for n, metric in enumerate(METRICS)], limits)
    return state


@st.composite
def troubles(draw: st.DrawFn) -> MetricBatch:
    """Four services, in order of time: each flat, then climbing and falling back, twice, with
    noise, gaps, points that come twice and rubbish."""
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    minutes = 400
    at, sid, value = [], [], []
    for stream in range(STREAMS):
        climb = np.concatenate([np.zeros(60), *[np.linspace(0, 1, 70), np.zeros(65)] * 2])
        climb = np.concatenate([climb, np.linspace(0, 0.6, minutes - len(climb))])
        level = 40 + 55 * climb * rng.uniform(0.4, 1) + rng.normal(0, 0.5, minutes)
        level = {1: 100 - level, 2: np.cumsum(level * 15)}.get(stream, level)
        own = T + np.arange(minutes) * MINUTE + stream
        at, sid, value = [*at, own], [*sid, np.full(minutes, stream)], [*value, level]
    order = np.argsort(np.concatenate(at), kind="stable")
    points = batch(*(np.concatenate(one)[order] for one in (sid, at, value)))
    keep = np.sort(rng.permutation(len(points))[: int(len(points) * rng.uniform(0.8, 1))])
    keep = np.sort(np.concatenate([keep, keep[:5]]))
    points = part(points, keep)
    for wild in draw(st.lists(st.sampled_from([np.nan, np.inf, -np.inf, 1e308, -1e149]))):
        points.value[rng.integers(0, len(points))] = wild
    return points


def part(points: MetricBatch, some: NDArray[np.int64] | slice) -> MetricBatch:
    return MetricBatch(sid=points.sid[some], at=points.at[some], value=points.value[some])


def run(state: PredictState, points: MetricBatch) -> list[Prediction]:
    return step(state, points, int(points.at[-1])) if len(points) else []


def same(one: object, other: object) -> bool:
    """Plain values and arrays, bit for bit."""
    if isinstance(one, np.ndarray):
        return np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


@laws
@given(troubles(), st.lists(st.integers(0, 1_600), max_size=8))
def test_cuts_and_restarts_change_nothing(points: MetricBatch, cuts: list[int]) -> None:
    """In any batches, the state saved and loaded between them, the edges are the same, and so is
    the state, bit for bit."""
    whole, state = fresh(), fresh()
    expected = run(whole, points)

    found, start = [], 0
    for end in [*sorted(min(cut, len(points)) for cut in cuts), len(points)]:
        found += run(state, part(points, slice(start, end)))
        state, start = PredictState.load(state.save()), end

    assert found == expected
    one, other = whole.save(), state.save()
    assert [name for name in one if not same(one[name], other[name])] == []


@laws
@given(troubles(), st.integers(1, 1_600))
def test_nothing_looks_ahead(points: MetricBatch, end: int) -> None:
    """The edges of a prefix are a prefix of the edges."""
    some = run(fresh(), part(points, slice(0, min(end, len(points)))))

    assert run(fresh(), points)[: len(some)] == some


def test_the_laws_are_about_something() -> None:
    """A plain one of these troubles has predictions that come and go."""
    watched = Watched()
    levels = np.concatenate([flat(60), leak(80), flat(60), leak(110), flat(30)])

    assert len(watched.take(levels)) == 4


@laws
@given(troubles())
def test_a_service_does_not_know_of_others(points: MetricBatch) -> None:
    """Alone, a stream of another kind is told of as it is among others."""
    together = run(fresh(), points)

    for stream in range(STREAMS):
        alone = run(fresh(), part(points, (points.sid == stream).nonzero()[0]))
        assert alone == [one for one in together if one.identity.service == f"s{stream}"]


@laws
@given(troubles())
def test_predictions_are_predictions(points: MetricBatch) -> None:
    """Whatever comes: a probability, a time ahead, each id told once and over once at most."""
    edges = run(fresh(), points)

    for one in edges:
        assert 0 <= one.probability <= 1
        assert one.horizon_ms >= 0
        assert one.made_at <= one.at
        assert one.made_at < one.expires_at
    marks = [(one.id, one.withdrawn is None) for one in edges]
    assert len(set(marks)) == len(marks)


def test_what_measures_nothing_changes_nothing() -> None:
    """Not-a-numbers, infinities and times beyond the calendar are counted and left out."""
    state, plain = fresh(), fresh()
    wild = batch([0] * 4, [T, T, T, 1 << 62], [np.nan, np.inf, -1e300, 1.0])

    assert run(state, wild) == []

    assert state.refused == 4
    assert same(state.save()["numbers"], plain.save()["numbers"])


def test_a_clock_that_jumps_ahead_and_back_makes_no_prediction() -> None:
    """A year ahead for one point, then as before: it is believed again after eight points, begins
    anew, and a real leak is told of as ever."""
    watched = Watched()
    watched.take(flat(120))
    ahead = watched.now + 365 * 1_440 * MINUTE
    assert step(watched.state, batch([0], [ahead], [40.0]), watched.now) == []

    assert watched.take(flat(60)) == []
    assert len(watched.take(leak(80))) == 1


def test_it_stays_as_large_as_it_may_be() -> None:
    """Ten million streams of which nobody knows cost no row; of a thousand that are known there
    is room for a hundred, and those that came last are there."""
    state = PredictState(most=100)
    state.know([series(n, "memory_percent") for n in range(1_000)])
    many = np.arange(1_000, 10_001_000, dtype=np.int32)

    step(state, batch(many, np.full(len(many), T), np.ones(len(many))), T)

    assert (len(state), len(state.series), state.evicted) == (100, 100, 900)
    assert state.numbers.shape[1] == 100
    assert sorted(state.series) == list(range(900, 1_000))


def test_what_was_evicted_takes_its_prediction_along() -> None:
    """When the only stream that says so had to go, nobody can say how it ends."""
    watched = Watched(state=PredictState(most=1))
    watched.take(flat(120))
    (told,) = watched.take(leak(70))
    watched.state.know([series(1, "memory_percent", "stock")])

    (over,) = step(watched.state, batch([], [], []), watched.now)

    assert (over.id, over.withdrawn) == (told.id, "forgotten")


@pytest.mark.parametrize("spoil", ["format", "numbers", "series"])
def test_a_spoilt_state_is_not_loaded(spoil: str) -> None:
    """A part that is missing or of another format is said to be damaged."""
    saved = fresh().save()
    del saved[spoil]

    with pytest.raises(Damaged):
        PredictState.load(saved)
    with pytest.raises(Damaged):
        PredictState.load({**fresh().save(), "format": 0})
