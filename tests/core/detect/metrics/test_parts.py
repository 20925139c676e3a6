# SPDX-License-Identifier: Apache-2.0
"""The parts one by one: counters, hours, the gate, the memory that is bounded."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from opx.core.detect.metrics import counters, points
from opx.core.detect.metrics import fields as of
from opx.core.detect.metrics.hours import Hours
from opx.core.detect.metrics.state import MetricState
from opx.core.detect.metrics.stream import Scores, step
from opx.core.ingest.signals import MetricBatch
from opx.errors import Damaged

T = 1_767_225_600_000
HOUR = 3_600_000
ROW = np.zeros(1, np.int64)


def run(state: MetricState, sid: object, at: object, value: object) -> Scores:
    size = len(np.atleast_1d(value))
    return step(
        state,
        MetricBatch(
            sid=np.broadcast_to(np.array(sid, np.int32), size),
            at=np.array(at, np.int64),
            value=np.array(value, np.float64),
        ),
    )


def every(ms: int, count: int) -> NDArray[np.int64]:
    return T + np.arange(count) * ms


def one(name: int, state: MetricState) -> float:
    return float(state.numbers[name, 0])


def read(f: NDArray[np.float64], at: float, value: float) -> float:
    looked_at, _ = counters.read(f, np.array([at]), np.array([value]))
    return float(looked_at[0])


def test_a_counter_is_looked_at_as_growth_per_second() -> None:
    """After 16 rises a stream is a counter: 30 in 15 s are 2 a second. A reset says nothing,
    and what grows after it counts again."""
    f = np.zeros((of.FIELDS, 1))
    rates = [read(f, T + n * 15_000, n * 30.0) for n in range(20)]

    assert rates[:16] == [n * 30.0 for n in range(16)]
    assert rates[16:] == [2.0] * 4
    assert np.isnan(read(f, T + 20 * 15_000, 10.0))
    assert read(f, T + 21 * 15_000, 55.0) == 3.0
    assert f[of.KIND, 0] == counters.COUNTER


def test_rounding_is_no_change() -> None:
    """A constant that has no exact form, and a counter that grows by such, score 0 throughout."""
    at = every(60_000, 2_000)

    for value in (np.full(2_000, 0.1), np.cumsum(np.full(2_000, 0.1))):
        assert not run(MetricState(), 0, at, value).score.any()


def test_what_falls_a_little_was_no_counter() -> None:
    """A fall to more than half is no reset: a gauge from then on, however long it rises."""
    f = np.zeros((of.FIELDS, 1))
    for n in range(20):
        read(f, T + n * 1_000, 100.0 + n)

    values = [read(f, T + (20 + n) * 1_000, 110.0 + n) for n in range(30)]

    assert values == [110.0 + n for n in range(30)]
    assert f[of.KIND, 0] == counters.GAUGE_FOR_GOOD


def test_a_reset_of_a_counter_is_no_anomaly() -> None:
    """A counter that grows evenly and starts again three times scores 0 throughout."""
    value = np.concatenate([np.arange(200) * 5.0, np.arange(300) * 5.0, np.arange(100) * 5.0])

    scores = run(MetricState(), 0, every(15_000, 600), value)

    assert not scores.score.any()


def test_late_and_repeated_points_change_nothing() -> None:
    """They score 0, and the stream goes on as if they had not come."""
    rng = np.random.default_rng(1)
    value, at = rng.normal(0, 1, 300), every(60_000, 300)
    plain, mixed = MetricState(), MetricState()
    first = run(plain, 0, at[:200], value[:200])
    assert np.array_equal(run(mixed, 0, at[:200], value[:200]).score, first.score)

    late = run(mixed, 0, [at[199], at[50]], [1e6, -1e6])

    assert late.score.tolist() == [0.0, 0.0]
    rest = run(plain, 0, at[200:], value[200:])
    assert np.array_equal(run(mixed, 0, at[200:], value[200:]).score, rest.score)


def test_a_clock_that_was_years_ahead_is_got_over() -> None:
    """One point from the year 2100: the seven after it are late, the eighth is believed."""
    state = MetricState()
    run(state, 0, every(60_000, 50), np.zeros(50))
    run(state, 0, [4_102_444_800_000], [0.0])

    run(state, 0, T + HOUR + np.arange(20) * 60_000, np.zeros(20))

    assert one(of.SEEN, state) == 50 + 1 + 13


def test_an_hour_is_weighed_a_tenth_against_earlier_days() -> None:
    """Two days of 10 make it 10; a third of 40 makes it 10 + 30/3, as all count the same up to
    ten days. Within the first day an hour is what came in it so far."""
    hours, f = Hours(), np.zeros((of.FIELDS, 1))
    hours.means, hours.days = np.zeros((1, 24)), np.zeros((1, 24), np.uint8)
    seen = []
    for day, value in ((0, 10.0), (1, 10.0), (2, 40.0), (3, 0.0)):
        for minute in (0, 30):
            at = T + day * 24 * HOUR + minute * 60_000
            seen.append(float(hours.usual(ROW, f, np.array([at * 1.0]), np.array([value]))[0]))
            f[of.TAKEN] += 1

    assert seen == [10.0, 10.0, 10.0, 10.0, 10.0, 10.0, 20.0, 20.0]


def test_only_records_speak_and_each_for_less() -> None:
    """Of what comes within one block of points only what is odder than all before it speaks;
    the odds are doubled after the stream has spoken once."""
    f = np.zeros((of.FIELDS, 1))
    f[of.TAKEN], f[of.ODDEST_BEFORE], f[of.ODDEST] = points.GATE + 2, 1.0, 1.0

    said = [float(points._gated(f, np.array([odds]))[0]) for odds in (0.01, 0.02, 0.005)]

    assert said == pytest.approx([0.01, 1.0, 0.01], rel=1e-3)


def test_a_new_stream_says_nothing() -> None:
    """Nothing within the first hundred points scores, whatever it is."""
    scores = run(MetricState(), 0, every(60_000, 100), [*[1.0] * 90, *[1e9] * 10])

    assert not scores.score.any()


def test_the_first_change_of_a_constant_stream_is_flagged_once() -> None:
    """After 500 equal values another is as odd as can be; the next time it is known."""
    scores = run(MetricState(), 0, every(60_000, 600), [*[3.0] * 500, *[4.0, 3.0] * 50])

    assert scores.anomaly.nonzero()[0].tolist() == [500]


def test_a_flood_of_streams_is_bounded_and_takes_its_own_place() -> None:
    """Of a thousand streams that came once each at most 64 are kept; the three that have come
    for long are still there, and what went is counted."""
    state = MetricState(most=64)
    for n in range(50):
        run(state, [0, 1, 2], [T + n * 60_000] * 3, [1.0, 2.0, 3.0])

    for n in range(0, 1_000, 25):
        run(state, np.arange(100 + n, 125 + n), [T] * 25, np.ones(25))

    assert len(state) <= 64
    assert state.rows.used <= 64
    assert (state.rows.find(np.arange(3)) >= 0).all()
    assert len(state) + state.evicted == 1_003


def test_strangers_who_come_all_at_once_leave_those_that_are_known() -> None:
    """Twenty streams that have come for long are still there after a batch of a thousand others,
    where there is room for 64."""
    state = MetricState(most=64)
    for n in range(200):
        run(state, np.arange(20), [T + n * 60_000] * 20, np.ones(20))

    run(state, np.arange(100, 1_100), [T] * 1_000, np.ones(1_000))

    assert len(state) <= 64
    assert (state.rows.find(np.arange(20)) >= 0).all()


def test_a_batch_of_more_streams_than_are_kept_is_scored() -> None:
    """Every point has an answer, and no more streams are kept than may be."""
    state = MetricState(most=10)

    scores = run(state, np.arange(95), [T] * 95, np.ones(95))

    assert len(scores.score) == 95
    assert len(state) <= 10


def test_rubbish_is_counted() -> None:
    """Values that are no numbers and times that are none are refused, and leave no stream."""
    state = MetricState()

    run(state, [1, 2, 3], [T, T, 1 << 60], [np.nan, np.inf, 1.0])

    assert (state.refused, len(state)) == (3, 0)


def test_a_state_that_is_none_is_damaged() -> None:
    """A missing array, one of another shape and another format are told as damage."""
    state = MetricState()
    run(state, 0, every(1_000, 20), np.ones(20))
    saved = state.save()

    for wrong in (
        {"place.bits": np.zeros((3, 2, 1), np.uint64)},
        {"counts": np.array([99, 1, 1, 1, 1, 1])},
        {"counts": np.zeros(0, np.int64)},
        {"rows": np.array([7])},
        {"sids": np.array([1, 2])},
        {"numbers": saved["numbers"][:, :0]},
    ):
        with pytest.raises(Damaged):
            MetricState.load(saved | wrong)
    del saved["numbers"]
    with pytest.raises(Damaged):
        MetricState.load(saved)
