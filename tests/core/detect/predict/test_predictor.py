# SPDX-License-Identifier: Apache-2.0
"""What is predicted, when, and how it ends: trends whose time to the limit is known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from tests.core.detect.predict.kit import STEP, T, Watched, batch, flat, leak, series

from opx.core.base.time import HOUR, MINUTE
from opx.core.detect.predict.prediction import Kind, Prediction, Urgency, Withdrawn
from opx.core.detect.predict.predictor import SILENCE, acted, failed, step, tick
from opx.core.detect.predict.state import PredictState
from opx.core.ingest.signals import Identity

ORDERS = Identity("prod", "orders")
Happened = Callable[[PredictState, Identity, int], list[Prediction]]


def test_a_leak_is_told_half_way_with_the_time_that_is_left() -> None:
    """From 40 at half a percent a minute it takes two hours to 100. After one hour it has come
    half of the way, so it is told, with about an hour to go."""
    watched = Watched()
    assert watched.take(flat(120)) == []

    (told,) = watched.take(leak(110))

    assert (told.kind, told.withdrawn, told.identity) == (Kind.LEAK, None, ORDERS)
    assert abs(told.made_at - (T + 180 * MINUTE)) <= 3 * MINUTE
    assert abs(told.made_at + told.horizon_ms - (T + 240 * MINUTE)) <= 2 * MINUTE
    assert told.expires_at == told.made_at + 2 * told.horizon_ms
    assert 0.5 <= told.probability < 0.52
    assert (told.cases, told.at) == (0, told.made_at)


def test_the_evidence_says_what_trend_and_what_was_usual() -> None:
    """The pace, the level, what was usual before, the limit, and how much longer at this pace."""
    watched = Watched()
    watched.take(flat(120))

    (told,) = watched.take(leak(110))

    shown = told.evidence
    assert shown["metric"] == "memory_percent"
    assert shown["limit"] == 100.0
    assert shown["limit_from"] == "told"
    assert shown["per_minute"] == pytest.approx(0.5)
    assert shown["usual"] == pytest.approx(40.0, abs=0.5)
    assert shown["level"] == pytest.approx(70.0, abs=2.0)
    assert shown["minutes_left"] == pytest.approx(60.0, abs=3.0)


def test_what_falls_towards_nothing_left_is_the_same_upside_down() -> None:
    """Free space goes from 60 to 0 as memory goes from 40 to 100: told at the same minute."""
    up, down = Watched(), Watched(metric="disk_free_bytes")
    levels = np.concatenate([flat(120), leak(110)])

    (one,), (other,) = up.take(levels), down.take(100.0 - levels)

    assert (other.kind, other.made_at) == (Kind.DISK, one.made_at)
    assert other.evidence["limit"] == 0.0
    assert other.evidence["per_minute"] == pytest.approx(-0.5)


def test_a_limit_that_was_told_is_the_one_that_counts() -> None:
    """A queue has no limit by its name; told that 100 is one, it is as with memory."""
    told, untold = Watched("queue_depth", limit=100.0), Watched("queue_depth")
    levels = np.concatenate([flat(120), leak(110)])

    assert [one.kind for one in told.take(levels)] == [Kind.QUEUE]
    assert untold.take(levels) == []


def test_a_counter_is_looked_at_by_its_growth_and_may_begin_again() -> None:
    """Refused requests: 40 a second, then half a one more every minute, towards 100. The counter
    starts again at 0 every two and a half minutes, which changes nothing."""
    rate = np.repeat(np.concatenate([flat(120), leak(110)]), 4)
    count, edges = 0.0, []
    watched = Watched("requests_refused_total", limit=100.0)
    for number, growth in enumerate(rate.tolist()):
        count = 0.0 if number % 10 == 9 else count + growth * 15
        at = T + number * STEP
        edges += step(watched.state, batch([0], [at], [count]), at)

    (told,) = edges
    assert told.kind is Kind.REFUSED
    assert abs(told.made_at - (T + 180 * MINUTE)) <= 5 * MINUTE
    assert abs(told.horizon_ms - HOUR) <= 5 * MINUTE


def test_a_step_is_no_trend() -> None:
    """A new level, from 40 to 75 of 100 at once and there to stay."""
    watched = Watched()

    assert watched.take(np.concatenate([flat(120), flat(600, 75.0)])) == []


def test_a_cache_that_fills_and_stays_full_is_no_leak() -> None:
    """It nears 70 of 100, slower and slower: at no time is the way half gone at its pace."""
    watched = Watched()
    filled = 40 + 30 * -np.expm1(-np.arange(400) / 60)

    assert watched.take(np.concatenate([flat(120), filled])) == []


def test_a_day_is_no_leak() -> None:
    """Three days that swing between 20 and 80 of 100, without any noise: each morning looks like
    a leak of hours."""
    watched = Watched()
    day = 50 - 30 * np.cos(2 * np.pi * np.arange(3 * 1_440) / 1_440)

    assert watched.take(day) == []


def test_a_collector_of_garbage_is_told_of_once_at_most() -> None:
    """Memory that is freed at 65 of 100 looks like a leak the first time, if it goes beyond half
    of the way. What it has come back from is nothing new the second time."""
    low, high = Watched(), Watched()
    short, long = np.arange(25) * 1.0, np.arange(45) * 1.0

    assert low.take(np.concatenate([flat(60), np.tile(40 + short, 12)])) == []
    edges = high.take(np.concatenate([flat(60), np.tile(40 + long, 12)]))
    assert [one.withdrawn for one in edges] == [None, Withdrawn.TURNED]


def told_of(watched: Watched) -> str:
    watched.take(flat(120))
    (told,) = watched.take(leak(70))
    return told.id


def test_it_is_withdrawn_when_half_of_the_climb_is_given_back() -> None:
    """From 75 back to 50, whose like was 40: once, with the same id."""
    watched = Watched()
    id = told_of(watched)

    (over,) = watched.take(flat(90, 50.0))

    assert (over.id, over.withdrawn) == (id, Withdrawn.TURNED)
    assert over.at > over.made_at


def test_it_is_withdrawn_when_it_stays_where_it_is() -> None:
    """An hour at 75 without a climb; the level is what is usual then."""
    watched = Watched()
    id = told_of(watched)

    (over,) = watched.take(flat(59, 75.0)) + watched.take(flat(20, 75.0))

    assert (over.id, over.withdrawn) == (id, Withdrawn.FLAT)
    assert watched.take(flat(60, 75.0)) == []


def test_it_is_withdrawn_when_nothing_comes_any_more() -> None:
    """A quarter of an hour after the last point, and not before; also if points come later."""
    one, other = Watched(), Watched()
    id = told_of(one)
    told_of(other)
    last = one.now - STEP

    assert tick(one.state, last + SILENCE - 1) == []
    (over,) = tick(one.state, last + SILENCE)
    other.minute += 60
    (later,) = other.take([76.0])

    assert (over.id, over.withdrawn, over.at) == (id, Withdrawn.SILENT, last + SILENCE)
    assert later == over


def test_it_expires_when_it_should_have_happened() -> None:
    """A climb that slows down so that it never ends is told once, and over in its time."""
    watched = Watched()
    watched.take(flat(120))
    (told,) = watched.take(leak(70))

    edges = watched.take(75 + 5 * np.log1p(np.arange(150) / 5))

    assert [(one.id, one.withdrawn) for one in edges] == [(told.id, Withdrawn.EXPIRED)]
    assert edges[0].at == told.expires_at


def test_a_failure_ends_it_and_teaches() -> None:
    """The trend got there, so the next one like it is believed more: from 4 cases' worth of a
    prior at 0.5 and one that failed, (2 + 1) / 5."""
    watched = Watched()
    id = told_of(watched)

    (over,) = failed(watched.state, ORDERS, watched.now)

    assert (over.id, over.withdrawn) == (id, Withdrawn.FAILED)
    other = Watched(sid=1, service="stock", state=watched.state, minute=watched.minute)
    other.take(flat(120))
    (told,) = other.take(leak(70))
    assert told.cases == 1
    # with one more failure a trend is told from (4 * way + 1) / 5 = 0.5, so at 0.375 of the way,
    # where (0.3 to 0.4) one failed as well: 45 minutes gone, 75 to go
    assert told.probability == pytest.approx(0.5, abs=0.02)
    assert told.horizon_ms == pytest.approx(75 * MINUTE, abs=4 * MINUTE)


def test_an_action_ends_it_and_teaches_nothing() -> None:
    """What was acted on might have failed or not: it is not counted."""
    watched = Watched()
    id = told_of(watched)

    (over,) = acted(watched.state, ORDERS, watched.now)

    assert (over.id, over.withdrawn) == (id, Withdrawn.ACTED)
    assert watched.state.odds.ended.sum() == 0


def test_a_limit_is_learned_from_three_failures() -> None:
    """Three services failed with about 100 in their queues, so a fourth one that climbs there is
    told of, and it says from how many that is known."""
    state = PredictState()
    levels = np.concatenate([flat(60), leak(120)])
    for sid, name in enumerate(("a", "b", "c")):
        one = Watched("queue_depth", sid=sid, service=name, state=state)
        assert one.take(levels) == []
        failed(state, Identity("prod", name), one.now)

    (told, *_) = Watched("queue_depth", sid=3, service="d", state=state).take(levels)

    assert told.evidence["limit"] == pytest.approx(100.0, abs=1.0)
    assert told.evidence["limit_from"] == 3


def test_two_instances_of_a_service_are_one_trouble() -> None:
    """Both leak: it is told once, and over when both are back."""
    state = PredictState()
    state.know([series(n, "memory_percent", resource=f"pod-{n}") for n in range(2)])
    levels = np.concatenate([flat(120), leak(70), flat(30), flat(30)])
    late = np.concatenate([flat(120), leak(70), leak(30, level=75.0), flat(30)])
    edges = []
    for minute, pair in enumerate(zip(levels, late, strict=True)):
        at = T + minute * MINUTE
        edges += step(state, batch([0, 1], [at, at], pair), at)

    told, over = edges
    assert (told.withdrawn, over.withdrawn) == (None, Withdrawn.TURNED)
    assert told.id == over.id
    assert over.at >= T + 220 * MINUTE


def test_urgency_grows_with_how_likely_and_how_soon() -> None:
    """A leak of a point a minute, half way: 30 minutes to go, even odds."""
    watched = Watched()
    watched.take(flat(120))

    (told,) = watched.take(leak(40, pace=1.0))

    assert 20 * MINUTE < told.horizon_ms <= 31 * MINUTE
    assert told.urgency is Urgency.MEDIUM


def test_what_has_no_known_name_is_not_watched() -> None:
    """Nor does it cost a row."""
    state = PredictState()
    state.know([series(0, "temperature"), series(1, "memory_percent")])

    assert len(state) == 1


@pytest.mark.parametrize("happened", [failed, acted])
def test_what_is_over_is_told_anew_only_when_it_begins_anew(happened: Happened) -> None:
    """It climbs on to 90 and stays there, is restarted, and leaks again: that is told when half of
    the way is gone, as the first time, though it has been at 90. Told twice, it counts once."""
    watched = Watched()
    id = told_of(watched)
    happened(watched.state, ORDERS, watched.now)
    assert happened(watched.state, ORDERS, watched.now) == []
    assert watched.state.odds.ended[:, 0].sum() == (happened is failed)

    assert watched.take(np.concatenate([leak(30, level=75.0), flat(20, 90.0), flat(120)])) == []
    began = watched.now
    (told,) = watched.take(leak(70))

    assert watched.state.odds.ended[:, 0].sum() == (happened is failed)
    assert told.id != id
    assert 43 * MINUTE <= told.made_at - began <= 63 * MINUTE
