# SPDX-License-Identifier: Apache-2.0

"""A case's metrics become one series for each node and kind."""

from __future__ import annotations

import numpy as np
import pytest

from opx.core.analyse.causes import reading
from opx.core.analyse.causes.case import Case, Target
from opx.core.analyse.causes.reading import Kind


def case(**metrics: list[float | None]) -> Case:
    """One node ``n`` that reports the same in the baseline and in the incident."""
    named = {name.replace("__", "/"): values for name, values in metrics.items()}
    return Case(
        target=Target(node="n", metric="latency", agg="p50"),
        graph={},
        baseline={"n": named},
        incident={"n": named},
        period_s=60,
    )


@pytest.mark.parametrize(
    ("metric", "kind"),
    [
        ("latency/p99", Kind.SLOW),
        ("http_request_duration_ms", Kind.SLOW),
        ("availability/Average", Kind.FAILING),
        ("failed_requests", Kind.FAILING),
        ("requests/Sum", Kind.LOAD),
        ("cpu_percent", Kind.ODD),
        ("responseTime/Average", Kind.SLOW),
        ("HTTPErrors", Kind.FAILING),
        ("unavailable_replicas", Kind.FAILING),
        ("unsuccessful_calls", Kind.FAILING),
        ("default_pool_size", Kind.ODD),
        ("terror_level", Kind.ODD),
        ("syscalls", Kind.ODD),
        ("delayed_jobs", Kind.ODD),
    ],
)
def test_a_name_says_what_kind_it_is(metric: str, kind: Kind) -> None:
    """Failed requests are failures, and the duration of requests is latency; the word is meant,
    not letters that stand in another one."""
    assert reading.kind_of(metric) is kind


@pytest.mark.parametrize(
    ("metric", "worse"),
    [
        ("available_replicas", 0.0),
        ("successful_calls/Sum", 0.0),
        ("unavailable_replicas", 5.0),
        ("unsuccessful_calls/Sum", 5.0),
        ("callsNotSuccessful", 5.0),
        ("availability_errors", 5.0),
    ],
)
def test_a_name_that_says_the_opposite_is_read_the_other_way_round(
    metric: str, worse: float
) -> None:
    """Five successful calls are good, five unsuccessful ones are not."""
    values = [worse, 5.0 - worse]
    found = reading.tracks(case(**{metric: values}))["n", Kind.FAILING]

    np.testing.assert_array_equal(found.during, [1.0, 0.0])


def test_the_target_s_own_metric_comes_first() -> None:
    """The same name and agg if there is one; then the mean; never two of a kind."""
    found = reading.tracks(case(latency__p99=[1.0], latency__p50=[2.0], latency__Average=[3.0]))
    other = reading.tracks(case(latency__p99=[1.0], latency__Average=[3.0]))

    assert [track.metric for track in found.values()] == ["latency/p50"]
    assert other["n", Kind.SLOW].metric == "latency/Average"


def test_errors_are_counted_for_each_request() -> None:
    """5 errors of 50 requests are a tenth; without requests there is no share."""
    track = reading.tracks(case(errors=[5.0, 0.0, None], requests=[50.0, 0.0, 10.0]))[
        "n", Kind.FAILING
    ]

    np.testing.assert_array_equal(track.during, [0.1, np.nan, np.nan])


def test_availability_is_what_is_left_of_the_most_there_was() -> None:
    """100 is all; 97 is 0.03 of failures."""
    track = reading.tracks(case(availability=[100.0, 97.0]))["n", Kind.FAILING]

    np.testing.assert_allclose(track.during, [0.0, 0.03])


def test_what_tells_of_latency_is_not_asked_for_the_rest() -> None:
    """Processors are looked at only where there is neither latency nor failures."""
    assert ("n", Kind.ODD) not in reading.tracks(case(latency=[1.0], cpu=[1.0]))
    assert ("n", Kind.ODD) in reading.tracks(case(cpu=[1.0]))
