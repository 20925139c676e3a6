# SPDX-License-Identifier: Apache-2.0
"""The parts of the predictor: names, slopes, odds, urgency, the share of error lines."""

from __future__ import annotations

import math

import numpy as np
import pytest
from tests.core.detect.predict.kit import T

from opx.core.base.time import DAY, HOUR, MINUTE, SECOND
from opx.core.detect.predict.lines import Lines, take
from opx.core.detect.predict.naming import meaning
from opx.core.detect.predict.odds import KINDS, Odds
from opx.core.detect.predict.prediction import Kind, Prediction, Urgency, urgency
from opx.core.detect.predict.slopes import Levels
from opx.core.detect.predict.state import PredictState
from opx.core.ingest.signals import Identity, LogLevel, LogLine, Tick

NONE = math.nan
LEAK = KINDS.index(Kind.LEAK)


@pytest.mark.parametrize(
    ("metric", "kind", "sign", "counter", "limit"),
    [
        ("memory_percent", Kind.LEAK, 1, False, 100),
        ("process_open_fds", Kind.LEAK, 1, False, NONE),
        ("node_filesystem_avail_bytes", Kind.DISK, -1, False, 0),
        ("diskUsedRatio", Kind.DISK, 1, False, 1),
        ("queue_depth", Kind.QUEUE, 1, False, NONE),
        ("http.error.ratio", Kind.ERRORS, 1, False, 0.5),
        ("queue_errors_total", Kind.ERRORS, 1, True, NONE),
        ("requests_refused_total", Kind.REFUSED, 1, True, NONE),
        ("client_retries", Kind.RETRIES, 1, False, NONE),
    ],
)
def test_a_name_says_what_a_stream_is_watched_for(
    metric: str, kind: Kind, sign: int, counter: bool, limit: float
) -> None:
    """What kind it is, where the limit lies, and which limit its unit has."""
    found = meaning(metric)

    assert found is not None
    assert (found.kind, found.sign, found.counter) == (kind, sign, counter)
    assert found.limit == limit or (math.isnan(found.limit) and math.isnan(limit))


def test_a_name_that_says_nothing_is_watched_for_a_limit_only() -> None:
    """Temperature is nobody's business, unless somebody says where it is too hot."""
    told = meaning("temperature", 90.0)

    assert meaning("temperature") is None
    assert meaning("disk_read_seconds_total") is None
    assert told is not None
    assert (told.kind, told.limit) == (Kind.LEVEL, 90.0)


def test_the_slope_is_the_median_of_all_pairs() -> None:
    """Of levels 0, 1, 2, 9 the pairs give 1, 1, 7, 1, 4, 3: sorted 1 1 1 3 4 7. Lower median 1,
    lower quartile the second of six, upper the fourth."""
    levels = Levels()
    levels.rings = [np.full((1, 16), np.nan) for _ in range(3)]
    levels.newest, levels.parts = np.zeros((1, 3)), np.zeros((1, 2, 3))
    row = np.zeros(1, np.int64)
    for minute, level in enumerate([0.0, 1.0, 2.0, 9.0]):
        levels.push(row, np.array([100.0 + minute]), np.array([level]))

    assert levels.slope(row, np.array([4.0]))[:, 0].tolist() == [1.0, 1.0, 3.0]


@pytest.mark.parametrize("stretch", [10.0, 16.0, 40.0, 64.0, 200.0])
def test_the_slope_is_the_same_at_every_scale(stretch: float) -> None:
    """A level that rises by 0.25 a minute does so by minutes, fours and sixteens, though one in
    seven is wild and a quarter of an hour is missing."""
    levels = Levels()
    levels.rings = [np.full((1, 16), np.nan) for _ in range(3)]
    levels.newest, levels.parts = np.zeros((1, 3)), np.zeros((1, 2, 3))
    row = np.zeros(1, np.int64)
    for minute in range(400):
        if 300 <= minute < 315:
            continue
        wild = 1e6 if minute % 112 == 111 else 0.0
        levels.push(row, np.array([float(minute)]), np.array([0.25 * minute + wild]))

    assert levels.slope(row, np.array([stretch]))[0, 0] == pytest.approx(0.25)


def test_before_anything_is_counted_the_way_that_is_gone_is_the_odds() -> None:
    """Half of the way: one in two. Seven tenths: seven in ten."""
    odds = Odds().of(np.array([LEAK, LEAK]), np.array([0.5, 0.7]))

    assert odds.tolist() == [0.5, 0.7]


def test_every_trend_that_ended_moves_the_odds() -> None:
    """At .65: (4 * .65 + 2) / (4 + 6) after six of which two failed. One that turned at .3 says
    nothing of those that get further, and leaks say nothing of queues."""
    odds = Odds()
    leaks = np.full(2, LEAK)
    odds.learn(leaks, np.array([0.9, 1.0]), failed=True)
    odds.learn(np.full(4, LEAK), np.full(4, 0.69), failed=False)
    odds.learn(np.full(1, LEAK), np.array([0.3]), failed=False)

    assert odds.of(leaks[:1], np.array([0.65]))[0] == pytest.approx(0.46)
    assert odds.of(leaks[:1], np.array([0.25]))[0] == pytest.approx((1 + 2) / (4 + 7))
    assert odds.of(np.array([KINDS.index(Kind.QUEUE)]), np.array([0.65]))[0] == 0.65
    assert (odds.cases(LEAK, 0.65), odds.cases(LEAK, 0.75)) == (6, 2)


@pytest.mark.parametrize(
    ("probability", "horizon", "expected"),
    [
        (0.4, 15 * MINUTE, Urgency.MEDIUM),
        (0.5, 15 * MINUTE, Urgency.HIGH),
        (0.8, 15 * MINUTE, Urgency.CRITICAL),
        (0.8, 15 * MINUTE + 1, Urgency.HIGH),
        (0.5, HOUR, Urgency.MEDIUM),
        (0.9, 6 * HOUR, Urgency.MEDIUM),
        (0.7, 6 * HOUR, Urgency.LOW),
        (1.0, DAY, Urgency.LOW),
    ],
)
def test_urgency_is_a_table(probability: float, horizon: int, expected: Urgency) -> None:
    """By how likely and how soon, bounds included."""
    assert urgency(probability, horizon) is expected


def lines(minute: int, errors: int, many: int = 50) -> list[LogLine | Tick]:
    """A minute of lines, so many of them errors, and the tick that closes it."""
    at = T + minute * MINUTE
    told = [
        LogLine(
            identity=Identity("prod", "orders"),
            at=at + n,
            received_at=at + n,
            level=LogLevel.ERROR if n < errors else LogLevel.INFO,
            message="m",
        )
        for n in range(many)
    ]
    return [*told, Tick(at + MINUTE + 15 * SECOND)]


def climb() -> list[LogLine | Tick]:
    """An hour of 2 errors in 50 lines, then one more every other minute."""
    return [
        item
        for minute in range(100)
        for item in lines(minute, 2 + minute % 2 + max(0, minute - 60) // 2)
    ]


def predicted(items: list[LogLine | Tick]) -> list[Prediction]:
    return take(Lines(), PredictState(), items)


def test_a_rising_share_of_error_lines_is_predicted() -> None:
    """From 2 in 50 towards every second line at one in 50 every two minutes: 46 minutes in all.
    Told about half way."""
    (told,) = predicted(climb())

    assert (told.kind, told.evidence["limit"]) == (Kind.ERRORS, 0.5)
    assert told.identity == Identity("prod", "orders")
    assert abs(told.made_at - (T + 84 * MINUTE)) <= 5 * MINUTE
    assert told.horizon_ms == pytest.approx(23 * MINUTE, abs=6 * MINUTE)


def test_few_lines_wait_for_more() -> None:
    """Four lines a minute, one of them an error: a point every five minutes and no leap."""
    state, counted = PredictState(), Lines()

    items = [item for minute in range(9) for item in lines(minute, 1, many=4)]

    assert take(counted, state, items) == []
    assert counted.counts["prod", "orders"] == [-1, 16, 4]


def test_lines_cut_anywhere_and_restarted_say_the_same() -> None:
    """Both states are saved and loaded between any two items of a thousand."""
    items = climb()
    counted, state, found = Lines(), PredictState(), []
    for start in range(0, len(items), 997):
        found += take(counted, state, items[start : start + 997])
        counted, state = Lines.load(counted.save()), PredictState.load(state.save())

    assert found == predicted(items)


def test_services_that_log_are_bounded() -> None:
    """The least recently seen goes."""
    counted = Lines(most=2)
    for name in ("a", "b", "a", "c"):
        line = LogLine(
            identity=Identity("prod", name), at=T, received_at=T, level=LogLevel.INFO, message="m"
        )
        take(counted, PredictState(), [line])

    assert [who for _, who in counted.counts] == ["a", "c"]
