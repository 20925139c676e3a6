# SPDX-License-Identifier: Apache-2.0

"""Threshold rules: windows, holding, clearing, silence, saving."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opx.core.base.reads import Stat
from opx.core.base.time import HOUR, MINUTE, SECOND, Ms
from opx.core.detect import thresholds
from opx.core.detect.finding import ClearReason, Finding, FindingKind, FindingState
from opx.core.detect.rules import Side, ThresholdRule
from opx.core.detect.thresholds import ThresholdState
from opx.core.ingest.signals import Identity, MetricBatch, Series, Severity

T: Ms = 1_767_225_600_000
"""A whole minute, so windows of 10 s begin at it."""
Point = tuple[int, Ms, float]
FIRING, CLEARED = FindingState.FIRING, FindingState.CLEARED

SERIES = {
    sid: Series(
        sid=sid,
        metric="latency_ms",
        labels={"service": name, "host": "a"},
        identity=Identity("prod", name),
    )
    for sid, name in enumerate(("orders", "store", "users"))
}


def rule(**changes: object) -> ThresholdRule:
    values: dict[str, object] = {
        "name": "slow",
        "hash": "h1",
        "metric": "latency_ms",
        "labels": {"service": "orders"},
        "stat": Stat.AVG,
        "window": 10 * SECOND,
        "side": Side.ABOVE,
        "limit": 100.0,
        "severity": Severity.SEV3,
        "kind": FindingKind.EVIDENCE,
        "justification": "measured",
    }
    return ThresholdRule(**{**values, **changes})  # type: ignore[arg-type]


def batch(*points: Point) -> MetricBatch:
    """Points as (sid, ms after ``T``, value)."""
    return MetricBatch(
        sid=np.array([sid for sid, _, _ in points], np.int32),
        at=np.array([T + at for _, at, _ in points], np.int64),
        value=np.array([value for _, _, value in points], np.float64),
    )


def run(
    state: ThresholdState, *points: Point, rules: tuple[ThresholdRule, ...] = (rule(),)
) -> list[Finding]:
    """Bind the rules, unless they are in force, and take the points in."""
    found = []
    if not thresholds.in_force(state, rules):
        found += thresholds.bind(state, rules, T)
    return found + thresholds.step(state, SERIES, batch(*points), T)


def ticked(state: ThresholdState, at: Ms) -> list[Finding]:
    return thresholds.step(state, SERIES, None, T + at)


def saved(state: ThresholdState) -> dict[str, Any]:
    """What a store would give back."""
    return json.loads(json.dumps(thresholds.save(state), allow_nan=False))


def edges(findings: list[Finding]) -> list[tuple[FindingState, Ms]]:
    return [(finding.state, finding.at - T) for finding in findings]


def test_a_window_is_judged_by_the_first_point_after_it() -> None:
    """150 and 90 average 120, above 100: it fires at the window's end, since its start."""
    state = ThresholdState()

    assert run(state, (0, 1_000, 150.0), (0, 9_999, 90.0)) == []
    [finding] = run(state, (0, 10_000, 0.0))

    assert finding.id == Finding.id_of(
        "threshold/slow/h1", "latency_ms{host=a,service=orders}", T + 10_000
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
    }


@pytest.mark.parametrize(
    ("stat", "value"),
    [(Stat.COUNT, 3.0), (Stat.AVG, 5.0), (Stat.MIN, -1.0), (Stat.MAX, 12.0), (Stat.SUM, 15.0)],
)
def test_statistics(stat: Stat, value: float) -> None:
    """Of 4, 12 and -1: three points, mean 5, from -1 to 12, 15 in all."""
    points = ((0, 0, 4.0), (0, 1, 12.0), (0, 2, -1.0), (0, 10_000, 0.0))

    [finding] = run(ThresholdState(), *points, rules=(rule(stat=stat, limit=-100.0),))

    assert finding.evidence["value"] == value


def test_it_fires_once_and_clears_with_the_first_good_window() -> None:
    """Bad, bad, good, good: one edge each way."""
    points = ((0, 0, 200.0), (0, 10_000, 200.0), (0, 20_000, 50.0), (0, 30_000, 50.0))

    fired, cleared = run(ThresholdState(), *points, (0, 40_000, 50.0))

    assert edges([fired, cleared]) == [(FIRING, 10_000), (CLEARED, 30_000)]
    assert (cleared.id, cleared.cleared) == (fired.id, ClearReason.RESOLVED)
    assert cleared.evidence["value"] == 50.0


def test_below_fires_below() -> None:
    """The same the other way round."""
    low = rule(side=Side.BELOW, stat=Stat.MIN, limit=10.0)

    found = run(ThresholdState(), (0, 0, 9.0), (0, 10_000, 11.0), (0, 20_000, 11.0), rules=(low,))

    assert edges(found) == [(FIRING, 10_000), (CLEARED, 20_000)]


def test_it_must_hold() -> None:
    """For 30 s of 10 s windows: three bad ones in a row, and a good one starts over."""
    values = [200.0, 200.0, 50.0, 200.0, 200.0, 200.0, 50.0]
    points = [(0, i * 10_000, value) for i, value in enumerate(values)]

    [finding] = run(ThresholdState(), *points, rules=(rule(hold=30 * SECOND),))

    assert (finding.since, finding.at) == (T + 30_000, T + 60_000)


def test_a_window_without_points_says_nothing() -> None:
    """Five silent minutes neither clear what fires nor fire again."""
    state = ThresholdState()
    assert edges(run(state, (0, 0, 200.0), (0, 10_000, 200.0))) == [(FIRING, 10_000)]

    assert run(state, (0, 310_000, 200.0)) == []
    assert edges(run(state, (0, 320_000, 50.0), (0, 330_000, 50.0))) == [(CLEARED, 330_000)]


def test_a_late_point_is_counted_and_not_used() -> None:
    """Nothing changes the judgement of a window that is closed."""
    state = ThresholdState()
    run(state, (0, 0, 10.0), (0, 10_000, 10.0))

    assert run(state, (0, 9_999, 1e9), (0, 20_000, 10.0)) == []
    assert state.late == 1


def test_points_may_be_out_of_order_within_their_window() -> None:
    """Only a window that is closed is closed."""
    found = run(ThresholdState(), (0, 9_000, 300.0), (0, 1_000, 0.0), (0, 10_000, 0.0))

    assert [finding.evidence["value"] for finding in found] == [150.0]


def test_only_matching_series_are_watched() -> None:
    """Other series pass by, and each matching one is judged on its own."""
    points = [(sid, at, 200.0) for at in (0, 10_000) for sid in SERIES]
    everything = rule(labels={})

    assert [f.identity.service for f in run(ThresholdState(), *points)] == ["orders"]
    assert [f.identity.service for f in run(ThresholdState(), *points, rules=(everything,))] == [
        "orders",
        "store",
        "users",
    ]


def test_a_series_nobody_has_named_is_counted_and_tried_again() -> None:
    """Its points cannot be matched, which is a number and not an error."""
    state = ThresholdState()
    thresholds.bind(state, (rule(),), T)
    thresholds.step(state, {}, batch((0, 0, 200.0)), T)
    assert state.nameless == 1

    found = run(state, (0, 10_000, 200.0), (0, 20_000, 200.0))

    assert edges(found) == [(FIRING, 20_000)]


def test_a_silent_series_expires() -> None:
    """Fifteen minutes after the last point; told by a tick or by the next point alike."""
    by_tick, by_point = ThresholdState(), ThresholdState()
    for state in (by_tick, by_point):
        run(state, (0, 0, 200.0), (0, 10_000, 200.0))
    expiry = 10_000 + 15 * MINUTE

    assert ticked(by_tick, expiry - 1) == []
    [expired] = ticked(by_tick, expiry)
    [pointed] = run(by_point, (0, expiry + 5_000, 200.0))

    assert (expired.cleared, expired.at) == (ClearReason.EXPIRED, T + expiry)
    assert pointed == expired
    run(by_tick, (0, expiry + 5_000, 200.0))
    assert thresholds.save(by_tick) == thresholds.save(by_point)


def test_the_last_points_of_a_silent_series_still_count() -> None:
    """When what there was of the last window was good, it is resolved, not expired."""
    state = ThresholdState()
    run(state, (0, 0, 200.0), (0, 10_000, 50.0))

    [cleared] = ticked(state, MINUTE * 60)

    assert (cleared.cleared, cleared.at) == (ClearReason.RESOLVED, T + 20_000)


def test_a_rule_that_is_changed_or_removed_clears_what_it_had_open() -> None:
    """The new version starts from nothing and matches every series anew."""
    state = ThresholdState()
    run(state, (0, 0, 200.0), (0, 10_000, 200.0))
    strict = rule(hash="h2", limit=10.0)

    [cleared] = thresholds.bind(state, (strict,), T + 11_000)
    assert (cleared.cleared, cleared.at) == (ClearReason.WITHDRAWN, T + 11_000)
    assert edges(run(state, (0, 20_000, 50.0), (0, 30_000, 50.0), rules=(strict,))) == [
        (FIRING, 30_000)
    ]


def test_a_state_that_was_saved_works_by_the_rules_it_was_saved_with() -> None:
    """A replay needs no documents, and knows that others are in force by now."""
    state = ThresholdState()
    run(state, (0, 0, 200.0))

    loaded = thresholds.load(saved(state))

    assert thresholds.in_force(loaded, (rule(),))
    assert not thresholds.in_force(loaded, (rule(hash="h2"),))
    assert edges(thresholds.step(loaded, SERIES, batch((0, 10_000, 0.0)), T)) == [(FIRING, 10_000)]


def test_a_changed_rule_never_fires_under_the_id_of_the_old() -> None:
    """Both saw the same window of the same stream: two findings."""
    state = ThresholdState()
    [old] = run(state, (0, 0, 200.0), (0, 10_000, 200.0))

    found = run(state, (0, 5_000, 200.0), (0, 10_000, 200.0), rules=(rule(hash="h2"),))

    assert [(one.state, one.at - T) for one in found] == [(CLEARED, 0 + 10_000), (FIRING, 10_000)]
    assert found[0].id == old.id
    assert found[1].id != old.id


def test_a_late_point_of_the_window_in_which_it_fell_silent_is_late() -> None:
    """That window was judged: telling it again would be the same finding a second time."""
    state = ThresholdState()
    run(state, (0, 0, 200.0), (0, 10_000, 200.0))
    ticked(state, HOUR)

    assert run(state, (0, 5_000, 200.0), (0, 11_000, 200.0)) == []
    assert state.late == 2


def test_an_open_finding_that_no_track_knows_of_is_withdrawn() -> None:
    """What the log lost cannot leave an episode open for ever; what is known stays."""
    state = ThresholdState()
    [known] = run(state, (0, 0, 200.0), (0, 10_000, 200.0))
    stray = replace(known, id="stray")
    other = replace(known, id="other", rule="alert")
    thresholds.missed(state, [known, stray, other])

    assert not thresholds.in_force(state, (rule(),))
    [cleared] = thresholds.bind(state, (rule(),), T + MINUTE)

    assert (cleared.id, cleared.cleared) == ("stray", ClearReason.WITHDRAWN)
    assert thresholds.in_force(state, (rule(),))
    assert edges(run(state, (0, 20_000, 0.0), (0, 30_000, 0.0))) == [(CLEARED, 30_000)]


def test_a_sum_beyond_all_numbers_can_still_be_saved() -> None:
    """It stops at the largest float instead of becoming infinite."""
    state = ThresholdState()
    run(state, (0, 0, 1.7e308), (0, 1, 1.7e308), rules=(rule(stat=Stat.SUM),))

    assert saved(state)["tracks"][0]["sum"] == thresholds.HUGE


POINTS = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.integers(0, 40 * MINUTE),
        st.sampled_from([0.1, 0.2, 0.3, 99.9, 100.0, 100.1, 1e9]),
    ),
    max_size=60,
)
RULES = (
    rule(labels={}),
    rule(name="held", hash="h3", labels={}, stat=Stat.SUM, hold=20 * SECOND),
    rule(name="few", hash="h4", stat=Stat.COUNT, side=Side.BELOW, limit=2.0, window=MINUTE),
)


@given(points=POINTS, ordered=st.booleans(), cuts=st.lists(st.integers(0, 60), max_size=8))
def test_it_does_not_matter_how_the_stream_is_cut(
    points: list[Point], ordered: bool, cuts: list[int]
) -> None:
    """Any cutting into chunks gives the same findings, even with a restart at every cut."""
    if ordered:
        points.sort(key=lambda point: point[1])
    whole, cut = ThresholdState(), ThresholdState()

    expected = run(whole, *points, rules=RULES)
    bounds = [0, *sorted(min(at, len(points)) for at in cuts), len(points)]
    found = []
    for start, end in pairwise(bounds):
        cut = thresholds.load(saved(cut))
        found += run(cut, *points[start:end], rules=RULES)

    assert found == expected
    assert thresholds.save(cut) == thresholds.save(whole)
