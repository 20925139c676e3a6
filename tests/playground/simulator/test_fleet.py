# SPDX-License-Identifier: Apache-2.0

"""A healthy fleet: in time order, reproducible, and alive in every healthy way."""

from __future__ import annotations

import numpy as np

from opx.core.base.time import DAY, MINUTE
from opx.playground.simulator import fleet
from opx.playground.simulator.fleet import Fleet, Noise, Plan

START = 1_767_225_600_000 // DAY * DAY
PLAN = Plan(streams=400, hours=72, period=5 * MINUTE, start=START, seed=3)


def table(plan: Plan) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """(steps, streams), NaN where nothing came."""
    found = np.full((plan.steps, plan.streams), np.nan)
    for step, batch in enumerate(Fleet(plan).batches()):
        assert set(batch.at.tolist()) <= {plan.start + step * plan.period}
        assert (np.diff(batch.sid) > 0).all()
        assert np.isfinite(batch.value).all()
        found[step, batch.sid] = batch.value
    return found


VALUES = table(PLAN)


def test_batches_come_in_time_order_and_are_typed_as_ingested() -> None:
    """72 hours of five minutes are 864 steps; the columns have the types of the log."""
    batch = next(Fleet(PLAN).batches())

    assert PLAN.steps == 864
    assert (batch.sid.dtype, batch.at.dtype, batch.value.dtype) == (np.int32, np.int64, np.float64)
    assert len(Fleet(PLAN).series()) == 400


def test_the_seed_decides_everything() -> None:
    """The same again, asked twice or made twice; another seed gives another fleet."""
    twice = Fleet(PLAN)
    first, second = ([b.value.tolist() for b in twice.batches()] for _ in range(2))
    other = Plan(streams=400, hours=72, period=5 * MINUTE, start=START, seed=4)

    assert first == second
    np.testing.assert_array_equal(VALUES, table(PLAN))
    assert not np.array_equal(VALUES, table(other), equal_nan=True)


def test_nearly_every_point_comes() -> None:
    """One in two thousand is lost, and a restart costs a service a point or none."""
    assert 0.995 < np.isfinite(VALUES).mean() < 1


def test_counters_only_grow_until_they_begin_again() -> None:
    """A total falls only to what one step can add; within three days some do, most never."""
    counters = VALUES[:, Fleet(PLAN).noise == Noise.COUNTER]
    falls = 0
    for column in counters.T:
        values = column[np.isfinite(column)]
        fell = np.flatnonzero(np.diff(values) < 0)
        falls += len(fell)
        assert (values[fell + 1] <= np.diff(values).max() * 3).all()

    assert 0 < falls < counters.shape[1] * 6


def test_flat_streams_change_by_a_release_at_most_never_by_noise() -> None:
    """Constant to the last digit."""
    for column in VALUES[:, Fleet(PLAN).noise == Noise.FLAT].T:
        assert len(set(column[np.isfinite(column)].tolist())) == 1


def test_load_follows_the_day_and_rests_at_the_weekend() -> None:
    """Steady streams of one class: their days repeat, and a Saturday is at 0.6 of a Friday."""
    plan = Plan(streams=200, hours=48, period=30 * MINUTE, start=START + 1 * DAY, seed=5)
    steady = table(plan)[:, Fleet(plan).noise == Noise.STEADY]
    friday, saturday = np.nanmean(steady[:48], axis=0), np.nanmean(steady[48:], axis=0)
    rest = saturday / friday

    assert (START // DAY + 1) % 7 == 1  # 1970-01-01 was a Thursday, so this is a Friday
    assert set(np.round(rest[rest < 0.8], 1).tolist()) <= {0.5, 0.6, 0.7}
    assert 0.2 < (rest < 0.8).mean() < 0.8


def test_an_empty_fleet_is_empty() -> None:
    """No streams, no points, every step."""
    plan = Plan(streams=0, hours=1, period=5 * MINUTE, start=START, seed=0)

    assert [len(batch) for batch in fleet.Fleet(plan).batches()] == [0] * 12
