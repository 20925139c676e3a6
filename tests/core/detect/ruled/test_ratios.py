# SPDX-License-Identifier: Apache-2.0

"""The ratio block: what two sums of counters amount to."""

from __future__ import annotations

from typing import Any

from tests.core.detect.ruled.kit import CLEARED, FIRING, Fed, Point, T, edges, rule, series

from opx.core.base.time import MINUTE, SECOND
from opx.core.detect.finding import ClearReason
from opx.core.detect.rules import DetectionRule
from opx.core.ingest.signals import Identity

OK, BAD, OTHER_OK, OTHER_BAD = 0, 1, 2, 3
SERIES = [
    series(OK, "requests", code="200"),
    series(BAD, "requests", code="500"),
    series(OTHER_OK, "requests", "store", code="200"),
    series(OTHER_BAD, "requests", "store", code="500"),
]


def errors(for_: str = "0ms", **said: Any) -> DetectionRule:
    """More than a tenth of at least 20 requests in 10 s."""
    given = {
        "part": {"metric": "requests", "labels": {"code": "500"}},
        "whole": {"metric": "requests"},
        "window": "10s",
        "above": 0.1,
        "atLeast": 20,
    }
    return rule("ratio", {**given, **said}, "errors", for_=for_)


def fed(*points: Point, by: DetectionRule | None = None) -> Fed:
    one = Fed([by or errors()], SERIES)
    one.take(0, points)
    return one


def test_the_growth_of_the_part_is_held_against_that_of_the_whole() -> None:
    """20 bad of 100 in the window: the numbers before it do not matter."""
    points = [(OK, 0, 5_000.0), (BAD, 0, 900.0), (OK, 9_000, 5_080.0), (BAD, 9_000, 920.0)]

    [finding] = fed(*points, (OK, 10_000, 5_080.0)).found

    assert (finding.rule, finding.stream) == ("ratio/errors", "prod/orders/")
    assert finding.identity == Identity("prod", "orders")
    assert (finding.since, finding.at) == (T, T + 10_000)
    assert finding.summary == "errors: requests of requests is 0.2, above 0.1"
    assert finding.evidence == {
        "expected": "ratio not above 0.1",
        "value": 0.2,
        "part": 20.0,
        "whole": 100.0,
        "window": [T, T + 10_000],
        "justification": "measured",
        "trace": [
            {
                "condition": "requests of requests",
                "expected": "above 0.1",
                "seen": 0.2,
                "held": True,
            },
            {"condition": "whole", "expected": "at least 20", "seen": 100.0, "held": True},
        ],
    }


def test_it_fires_once_and_clears_with_the_first_good_window() -> None:
    """Half bad for two windows, then none: one edge each way."""
    counts = [(0, 0), (50, 50), (100, 100), (200, 100), (300, 100)]
    points = []
    for window, (well, bad) in enumerate(counts):
        points += [(OK, window * 10_000, float(well)), (BAD, window * 10_000 + 1, float(bad))]

    found = fed(*points).found

    assert edges(found) == [(FIRING, 20_000), (CLEARED, 40_000)]
    assert found[1].cleared is ClearReason.RESOLVED


def test_a_whole_that_is_too_small_says_nothing() -> None:
    """19 of 19 bad is not yet trouble; it neither fires nor clears."""
    few = [(BAD, 0, 0.0), (BAD, 9_000, 19.0), (BAD, 10_000, 19.0)]

    assert fed(*few).found == []


def test_services_do_not_mix() -> None:
    """One is well and large, the other ill and small: the ill one is found."""
    points = [(sid, 0, 0.0) for sid in (OK, BAD, OTHER_OK, OTHER_BAD)]
    points += [(OK, 9_000, 10_000.0), (OTHER_OK, 9_000, 10.0), (OTHER_BAD, 9_000, 10.0)]
    points += [(sid, 10_000, 10_000.0) for sid in (OK, OTHER_OK)]

    assert [one.identity.service for one in fed(*points).found] == ["store"]


def test_a_counter_that_fell_began_again() -> None:
    """From 1,000 to 30 it grew by 30; of 30 + 70 that is 0.3."""
    points = [(BAD, 0, 1_000.0), (OK, 0, 0.0), (BAD, 9_000, 30.0), (OK, 9_000, 70.0)]

    [finding] = fed(*points, (OK, 10_000, 70.0)).found

    assert finding.evidence["value"] == 0.3


def test_the_clock_closes_the_window_of_a_service_that_stops_sending() -> None:
    """A minute after its end, at the window's own time."""
    one = fed((OK, 0, 0.0), (BAD, 0, 0.0), (OK, 5_000, 10.0), (BAD, 5_000, 90.0))

    assert one.take(10_000 + MINUTE - 1) == []
    [finding] = one.take(10_000 + MINUTE)
    assert (finding.state, finding.at) == (FIRING, T + 10_000)


def test_a_point_of_a_window_that_the_clock_closed_is_late_and_its_growth_is_not_lost() -> None:
    """It shows in the next window of which something comes."""
    one = fed((OK, 0, 0.0), (BAD, 0, 0.0))
    one.take(10 * MINUTE)

    assert one.take(10 * MINUTE, [(BAD, 9_000, 50.0)]) == []
    assert one.book.ratios.late == 1
    now = 10 * MINUTE
    one.take(now, [(BAD, now, 50.0), (OK, now, 50.0)])
    [finding] = one.take(now, [(BAD, now + 10_000, 50.0)])
    assert finding.evidence["value"] == 0.5


def test_what_nothing_is_said_of_any_more_expires() -> None:
    """Fifteen minutes after the last window that said something."""
    one = fed((OK, 0, 0.0), (BAD, 0, 0.0), (OK, 5_000, 50.0), (BAD, 5_000, 50.0))
    one.take(MINUTE + 10_000)
    assert edges(one.found) == [(FIRING, 10_000)]

    found = one.take(17 * MINUTE)

    assert [(edge.cleared, edge.at - T) for edge in found] == [
        (ClearReason.EXPIRED, 10_000 + 15 * MINUTE)
    ]


def test_it_must_hold() -> None:
    """For 20 s: the second bad window in a row fires."""
    points = [(OK, 0, 0.0), (BAD, 0, 0.0)]
    for end in (10, 20, 30):
        points += [(OK, end * SECOND - 1, end * 5.0), (BAD, end * SECOND - 1, end * 5.0)]

    [finding] = fed(*points, by=errors(for_="20s")).found

    assert (finding.since, finding.at) == (T, T + 20_000)


def test_the_same_points_again_change_nothing() -> None:
    """A counter that is told twice has not grown."""
    points = [(OK, 0, 0.0), (BAD, 0, 0.0), (OK, 9_000, 96.0), (BAD, 9_000, 10.0)]

    assert fed(*points, *points, (OK, 10_000, 96.0)).found == []
