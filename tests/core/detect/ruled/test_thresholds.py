# SPDX-License-Identifier: Apache-2.0

"""The threshold block: windows, holding, clearing, silence, percentiles, rates."""

from __future__ import annotations

from typing import Any

import pytest
from tests.core.detect.ruled.kit import CLEARED, FIRING, Fed, Point, T, edges, rule, series

from opx.core.base.time import HOUR, MINUTE, SECOND
from opx.core.detect.finding import ClearReason, Finding, FindingKind
from opx.core.detect.ruled import thresholds
from opx.core.detect.rules import DetectionRule
from opx.core.ingest.signals import Identity

SERIES = [series(sid, "latency_ms", name, host="a") for sid, name in enumerate(("orders", "store"))]


def slow(name: str = "slow", for_: str = "0ms", **said: Any) -> DetectionRule:
    """Above 100 on average over 10 s, of ``orders``."""
    sides = {} if "below" in said else {"above": 100}
    given = {"metric": "latency_ms", "stat": "avg", "window": "10s", "labels": ORDERS, **sides}
    return rule("threshold", {**given, **said}, name, for_=for_, kind="evidence")


ORDERS = {"service": "orders"}


def fed(*points: Point, by: DetectionRule | None = None) -> Fed:
    """A book that took these points in at one time, within a tick of ``T``."""
    one = Fed([by or slow()], SERIES)
    one.take(0, points)
    return one


def test_a_window_is_judged_by_the_first_point_after_it() -> None:
    """150 and 90 average 120, above 100: it fires at the window's end, since its start."""
    one = fed((0, 1_000, 150.0), (0, 9_999, 90.0))
    assert one.found == []

    [finding] = one.take(0, [(0, 10_000, 0.0)])

    by = slow()
    assert finding.id == Finding.id_of(
        f"threshold/slow/{by.hash}", "latency_ms{host=a}", T + 10_000
    )
    assert (finding.rule, finding.state, finding.kind) == (
        "threshold/slow",
        FIRING,
        FindingKind.EVIDENCE,
    )
    assert finding.identity == Identity("prod", "orders")
    assert (finding.since, finding.at) == (T, T + 10_000)
    assert finding.summary == "slow: avg of latency_ms is 120, above 100"
    assert finding.evidence == {
        "expected": "avg not above 100",
        "value": 120.0,
        "points": 2,
        "window": [T, T + 10_000],
        "justification": "measured",
        "trace": [
            {
                "condition": "avg of latency_ms",
                "expected": "above 100",
                "seen": 120.0,
                "held": True,
            }
        ],
    }


@pytest.mark.parametrize(
    ("stat", "value"),
    [
        ("count", 3.0),
        ("avg", 5.0),
        ("min", -1.0),
        ("max", 12.0),
        ("sum", 15.0),
        ("p50", 4.0),
        ("p95", 12.0),
    ],
)
def test_statistics(stat: str, value: float) -> None:
    """Of 4, 12 and -1: three points, mean 5, from -1 to 12, 15 in all, the second the middle."""
    points = ((0, 0, 4.0), (0, 1, 12.0), (0, 2, -1.0), (0, 10_000, 0.0))

    [finding] = fed(*points, by=slow(stat=stat, above=-100)).found

    assert finding.evidence["value"] == value


@pytest.mark.parametrize(("stat", "rank"), [("p50", 500), ("p95", 950), ("p99", 990)])
def test_a_percentile_is_the_value_at_its_rank(stat: str, rank: int) -> None:
    """Of 1 to 1000 in any order the 95th percentile is 950: exactly, from the values."""
    points = [(0, i, float(7 * i % 1_000 + 1)) for i in range(1_000)]

    [finding] = fed(*points, (0, 10_000, 0.0), by=slow(stat=stat, above=-1)).found

    assert finding.evidence["value"] == rank
    assert "of_every" not in finding.evidence


def test_a_percentile_of_very_many_points_is_of_every_fourth() -> None:
    """3,000 points that rise from 0 to 2,999: within 0.2% of its rank, and it says so."""
    points = [(0, i, float(i)) for i in range(3_000)]

    [finding] = fed(*points, (0, 10_000, 0.0), by=slow(stat="p95", above=-1)).found

    assert finding.evidence["of_every"] == 4
    assert finding.evidence["value"] == pytest.approx(2_850, abs=6)


def test_a_rate_is_how_much_a_counter_grew_per_second_of_its_window() -> None:
    """By 50, then it began again and came to 30: 80 in 10 s. The first window, of which the
    beginning is not known, says nothing."""
    points = [(0, 5_000, 1e6), (0, 10_000, 1e6), (0, 14_000, 1e6 + 50), (0, 19_000, 30.0)]

    [finding] = fed(*points, (0, 20_000, 30.0), by=slow(stat="rate", above=-1)).found

    assert finding.evidence["value"] == 8.0
    assert finding.evidence["window"] == [T + 10_000, T + 20_000]


def test_it_fires_once_and_clears_with_the_first_good_window() -> None:
    """Bad, bad, good, good: one edge each way."""
    points = ((0, 0, 200.0), (0, 10_000, 200.0), (0, 20_000, 50.0), (0, 30_000, 50.0))

    fired, cleared = fed(*points, (0, 40_000, 50.0)).found

    assert edges([fired, cleared]) == [(FIRING, 10_000), (CLEARED, 30_000)]
    assert (cleared.id, cleared.cleared) == (fired.id, ClearReason.RESOLVED)
    assert cleared.evidence["value"] == 50.0


def test_below_fires_below() -> None:
    """The same the other way round."""
    low = slow(stat="min", below=10)

    found = fed((0, 0, 9.0), (0, 10_000, 11.0), (0, 20_000, 11.0), by=low).found

    assert edges(found) == [(FIRING, 10_000), (CLEARED, 20_000)]


def test_it_must_hold() -> None:
    """For 30 s of 10 s windows: three bad ones in a row, and a good one starts over. The trace
    says how long it had held."""
    values = [200.0, 200.0, 50.0, 200.0, 200.0, 200.0, 50.0]
    points = [(0, i * 10_000, value) for i, value in enumerate(values)]

    [finding] = fed(*points, by=slow(for_="30s")).found

    assert (finding.since, finding.at) == (T + 30_000, T + 60_000)
    assert isinstance(finding.evidence["trace"], list)
    assert finding.evidence["trace"][-1] == {
        "condition": "for",
        "expected": "30000 ms",
        "seen": "30000 ms",
        "held": True,
    }


def test_a_window_without_points_says_nothing() -> None:
    """Five silent minutes neither clear what fires nor fire again."""
    one = fed((0, 0, 200.0), (0, 10_000, 200.0))
    assert edges(one.found) == [(FIRING, 10_000)]

    assert one.take(0, [(0, 310_000, 200.0)]) == []
    found = one.take(0, [(0, 320_000, 50.0), (0, 330_000, 50.0)])
    assert edges(found) == [(CLEARED, 330_000)]


def test_a_late_point_is_counted_and_not_used() -> None:
    """Nothing changes the judgement of a window that is closed."""
    one = fed((0, 0, 10.0), (0, 10_000, 10.0))

    assert one.take(0, [(0, 9_999, 1e9), (0, 20_000, 10.0)]) == []
    assert one.book.thresholds.late == 1


def test_points_may_be_out_of_order_within_their_window() -> None:
    """Only a window that is closed is closed."""
    found = fed((0, 9_000, 300.0), (0, 1_000, 0.0), (0, 10_000, 0.0)).found

    assert [finding.evidence["value"] for finding in found] == [150.0]


def test_only_matching_series_are_watched() -> None:
    """Other series pass by, and each matching one is judged on its own."""
    points = [(sid, at, 200.0) for at in (0, 10_000) for sid in (0, 1)]

    assert [f.identity.service for f in fed(*points).found] == ["orders"]
    everything = fed(*points, by=slow(labels={})).found
    assert [f.identity.service for f in everything] == ["orders", "store"]


def test_a_silent_series_expires() -> None:
    """Fifteen minutes after the last point; told by a tick or by the next point alike."""
    by_tick = fed((0, 0, 200.0), (0, 10_000, 200.0))
    by_point = fed((0, 0, 200.0), (0, 10_000, 200.0))
    expiry = 10_000 + 15 * MINUTE

    assert by_tick.take(expiry - 1) == []
    [expired] = by_tick.take(expiry)
    [pointed] = by_point.take(0, [(0, expiry + 5_000, 200.0)])

    assert (expired.cleared, expired.at) == (ClearReason.EXPIRED, T + expiry)
    assert pointed == expired
    by_tick.take(expiry, [(0, expiry + 5_000, 200.0)])
    assert by_tick.stored()["thresholds"] == by_point.stored()["thresholds"]


def test_the_last_points_of_a_silent_series_still_count() -> None:
    """When what there was of the last window was good, it is resolved, not expired."""
    one = fed((0, 0, 200.0), (0, 10_000, 50.0))

    [cleared] = one.take(HOUR)

    assert (cleared.cleared, cleared.at) == (ClearReason.RESOLVED, T + 20_000)


def test_a_late_point_of_the_window_in_which_it_fell_silent_is_late() -> None:
    """That window was judged: telling it again would be the same finding a second time."""
    one = fed((0, 0, 200.0), (0, 10_000, 200.0))
    one.take(HOUR)

    assert one.take(HOUR, [(0, 5_000, 200.0), (0, 11_000, 200.0)]) == []
    assert one.book.thresholds.late == 2


def test_a_changed_rule_never_fires_under_the_id_of_the_old() -> None:
    """Both saw the same window of the same stream: two findings."""
    one = fed((0, 0, 200.0), (0, 10_000, 200.0))
    [old] = one.found

    [withdrawn] = one.bind([slow(above=50)], 11 * SECOND)
    [new] = one.take(0, [(0, 5_000, 200.0), (0, 10_000, 200.0)])

    assert (withdrawn.id, withdrawn.cleared) == (old.id, ClearReason.WITHDRAWN)
    assert edges([withdrawn, new]) == [(CLEARED, 11_000), (FIRING, 10_000)]
    assert new.id != old.id


def test_a_sum_beyond_all_numbers_can_still_be_saved() -> None:
    """It stops at the largest float instead of becoming infinite."""
    one = fed((0, 0, 1.7e308), (0, 1, 1.7e308), by=slow(stat="sum"))

    [track] = one.stored()["thresholds"]["tracks"]
    assert track["sum"] == thresholds.HUGE
