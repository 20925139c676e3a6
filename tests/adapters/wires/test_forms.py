# SPDX-License-Identifier: Apache-2.0

"""Points in other forms: columns of one series, and samples of streams and nodes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opx.adapters.wires import forms, metrics
from opx.adapters.wires.metrics import SeriesIndex
from opx.core.ingest.checks import Reason
from opx.core.ingest.signals import Identity
from opx.engine.intake import Incoming, Parsed
from opx.errors import TooLarge

NOW = 1_767_225_600_000
INCOMING = Incoming(now=NOW)
Row = tuple[str, tuple[tuple[str, str], ...], int, float]


def parse(body: Any, incoming: Incoming = INCOMING) -> Parsed:
    return metrics.parse(SeriesIndex(), json.dumps(body).encode(), incoming)


def rows(parsed: Parsed) -> list[Row]:
    """Each point with the metric and the labels of its series."""
    points = parsed.batch.points
    if points is None:
        return []
    known = {one.sid: one for one in parsed.batch.series}
    columns = zip(points.sid.tolist(), points.at.tolist(), points.value.tolist(), strict=True)
    return [
        (known[sid].metric, tuple(sorted(known[sid].labels.items())), at, value)
        for sid, at, value in columns
    ]


def refusals(parsed: Parsed) -> list[tuple[int, Reason]]:
    return [(refusal.index, refusal.reason) for refusal in parsed.refusals]


def column(*values: Any, **more: Any) -> dict[str, Any]:
    times = [NOW - n for n in range(len(values))]
    return {
        "metric": "m",
        "labels": {"service": "x"},
        "timestamps": times,
        "values": values,
        **more,
    }


X = (("service", "x"),)


# ---------------------------------------------------------------- columns


@pytest.mark.parametrize("wrap", ["alone", "list", "metrics"])
def test_a_column_is_its_points(wrap: str) -> None:
    """One series with all its points in order, times as numbers or texts, however wrapped."""
    one = column(1, 2.5, timestamps=[NOW - 1, "2026-01-01T00:00:00Z"])
    parsed = parse({"alone": one, "list": [one], "metrics": {"metrics": [one]}}[wrap])

    assert rows(parsed) == [("m", X, NOW - 1, 1.0), ("m", X, NOW, 2.5)]
    assert (parsed.accepted, parsed.refusals) == (2, [])
    assert len(parsed.batch.series) == 1


def test_several_columns_and_points_among_them() -> None:
    """A list may mix the forms; places count points."""
    parsed = parse([column(1, 2), {"metric": "p", "value": 3}, column(4, metric="n", labels={})])

    assert [(metric, value) for metric, _, _, value in rows(parsed)] == [
        ("m", 1.0),
        ("m", 2.0),
        ("p", 3.0),
        ("n", 4.0),
    ]


def test_a_bad_point_of_a_column_costs_itself() -> None:
    """A gap, a time that is none or too old: refused with its place, and kept as the point
    that it would have been."""
    times = [NOW, NOW, "noon", -5, NOW]
    parsed = parse([{"metric": 1}, column(1, None, 3, 4, 5, timestamps=times)])

    assert [value for _, _, _, value in rows(parsed)] == [1.0, 5.0]
    assert refusals(parsed) == [
        (0, Reason.MALFORMED),
        (2, Reason.OUT_OF_RANGE),
        (3, Reason.BAD_TIME),
        (4, Reason.TOO_OLD),
    ]
    assert json.loads(parsed.refusals[2].item) == {
        "metric": "m", "value": 3.0, "timestamp": "noon", "labels": {"service": "x"}
    }  # fmt: skip


@pytest.mark.parametrize(
    "bad",
    [
        {"timestamps": [NOW]},
        {"timestamps": None},
        {"timestamps": [NOW, 2**53]},
        {"timestamps": [NOW, 1.5]},
        {"values": [1, "x"]},
        {"values": 1},
        {"metric": 5},
    ],
)
def test_a_column_that_is_none_is_one_refused_item(bad: dict[str, Any]) -> None:
    """Lists of two lengths or of other things: it cannot be said which point is wrong."""
    parsed = parse([{**column(1, 2), **bad}, column(3)])

    assert refusals(parsed) == [(0, Reason.MALFORMED)]
    assert [value for _, _, _, value in rows(parsed)] == [3.0]


def test_a_column_of_somebody_else_is_refused_point_by_point() -> None:
    """Labels, name and scope are those of every point; no series is made of it."""
    scoped = Incoming(now=NOW, services=frozenset({"x"}))
    parsed = parse([column(1, 2, labels={"service": "y"}), column(3, metric="a b")], scoped)

    assert refusals(parsed) == [
        (0, Reason.OUT_OF_SCOPE),
        (1, Reason.OUT_OF_SCOPE),
        (2, Reason.BAD_NAME),
    ]
    assert parsed.batch.series == ()


def test_a_column_without_points_is_looked_at_too() -> None:
    """It is nothing, and is taken; its name and its labels must be such all the same."""
    bad = [column(metric="a b"), column(labels={"a": "x" * 4_097}), column(labels={"a": 1})]
    parsed = parse([column(), *bad, column(1)])

    assert refusals(parsed) == [
        (0, Reason.BAD_NAME),
        (1, Reason.TOO_LONG),
        (2, Reason.MALFORMED),
    ]
    assert [value for _, _, _, value in rows(parsed)] == [1.0]


def test_columns_hold_ten_thousand_points_together() -> None:
    """Not one more."""
    half = column(*[1] * 5_000)

    assert parse([half, half]).accepted == 10_000
    with pytest.raises(TooLarge):
        parse([half, half, column(1)])


def test_a_long_column_is_refused_before_points_are_made_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A million points cost what it takes to count them."""
    made = []
    monkeypatch.setattr(forms, "WirePoint", lambda *parts: made.append(parts))

    with pytest.raises(TooLarge):
        parse({"metric": "m", "timestamps": [NOW] * 10_001, "values": [1] * 10_001})
    assert made == []


def test_what_many_refused_points_share_is_not_kept_with_each() -> None:
    """Long labels of a column that is refused whole are kept with the first hundred."""
    parsed = parse(column(*[1] * 5_000, metric="a b", labels={"service": "x" * 4_000}))

    assert len(parsed.refusals) == 5_000
    assert sum(len(refusal.item) for refusal in parsed.refusals) < 500_000
    assert all(refusal.item for refusal in parsed.refusals[:100])


# ---------------------------------------------------------------- samples

STREAM = {
    "stream_id": "s-7",
    "timestamp": "2026-01-01T00:00:00Z",
    "latency_p99": 4.2,
    "utilization": 61,
    "error_rate": 0.02,
    "bandwidth_gbps": 180.5,
    "qp_errors": 0,
    "is_anomaly": False,
}
NODE = {
    "nodeId": "n-3",
    "timestamp": NOW // 1_000,
    "iops": 900,
    "latency": 3.1,
    "errorRate": 0.5,
    "throughput": 120,
    "queueDepth": 8,
    "activeConnections": 42,
}


@pytest.mark.parametrize("body", [STREAM, [STREAM], {"metrics": STREAM}])
def test_a_stream_sample_is_a_series_each(body: Any) -> None:
    """Units stand in the names: µs, percent, Gbit/s; what has none keeps its name."""
    parsed = parse(body)

    labels = (("resource", "s-7"), ("stream_id", "s-7"))
    assert rows(parsed) == [
        ("latency_p99_us", labels, NOW, 4.2),
        ("utilization_percent", labels, NOW, 61.0),
        ("error_rate_percent", labels, NOW, 0.02),
        ("bandwidth_gbps", labels, NOW, 180.5),
        ("qp_errors", labels, NOW, 0.0),
        ("is_anomaly", labels, NOW, 0.0),
    ]
    assert {one.identity for one in parsed.batch.series} == {Identity("default", "", "s-7")}


def test_a_node_sample_is_a_series_each() -> None:
    """ms, percent, MB/s; IOPS are their own unit. Its time is in seconds."""
    labels = (("node_id", "n-3"), ("resource", "n-3"))
    assert rows(parse(NODE)) == [
        ("iops", labels, NOW, 900.0),
        ("latency_ms", labels, NOW, 3.1),
        ("error_rate_percent", labels, NOW, 0.5),
        ("throughput_mb_per_s", labels, NOW, 120.0),
        ("queue_depth", labels, NOW, 8.0),
        ("active_connections", labels, NOW, 42.0),
    ]


def test_texts_of_a_sample_are_labels_of_all_its_series() -> None:
    """So it can be said whose it is; secrets are masked; null is nothing."""
    parsed = parse(
        {"nodeId": 3, "iops": 1, "latency": 2, "service": "store", "token": "hunter2",
         "labels": {"environment": "prod"}, "errorRate": None, "resource": "disk"}
    )  # fmt: skip

    assert [metric for metric, *_ in rows(parsed)] == ["iops", "latency_ms"]
    assert {one.identity for one in parsed.batch.series} == {Identity("prod", "store", "disk")}
    assert parsed.batch.series[0].labels["node_id"] == "3"
    assert "hunter2" not in repr(parsed.batch)


def test_a_stream_and_a_node_of_one_id_stay_two() -> None:
    """Both measure an error rate; neither is mixed into the other."""
    parsed = parse([{"stream_id": "1", "error_rate": 1}, {"nodeId": "1", "errorRate": 2}])

    assert [(metric, value) for metric, _, _, value in rows(parsed)] == [
        ("error_rate_percent", 1.0),
        ("error_rate_percent", 2.0),
    ]
    assert len(parsed.batch.series) == 2


@pytest.mark.parametrize(
    ("sample", "expected"),
    [
        ({"stream_id": "s"}, Reason.MALFORMED),
        ({"stream_id": "s", "service": "x"}, Reason.MALFORMED),
        ({"stream_id": "", "utilization": 1}, Reason.MALFORMED),
        ({"stream_id": None, "utilization": 1}, Reason.MALFORMED),
        ({"stream_id": "s", "utilization": [1]}, Reason.MALFORMED),
        ({"stream_id": "s", "utilization": 1, "labels": {"a": 1}}, Reason.MALFORMED),
        ({"nodeId": "n", "latency": 1, "latency_ms": 2}, Reason.MALFORMED),
        ({"stream_id": "s", "timestamp": "noon", "utilization": 1}, Reason.BAD_TIME),
        ({"stream_id": "s", "timestamp": 5, "utilization": 1}, Reason.TOO_OLD),
        ({"stream_id": "s", "utilization": 10**400}, Reason.OUT_OF_RANGE),
        ({"stream_id": "s", "a b": 1}, Reason.BAD_NAME),
        ({"stream_id": "s", "utilization": 1, "text": "x" * 70_000}, Reason.TOO_LARGE),
    ],
)
def test_what_is_refused_of_a_sample(sample: dict[str, Any], expected: Reason) -> None:
    """It costs itself and nothing beside it."""
    parsed = parse([STREAM, sample, NODE])

    assert refusals(parsed) == [(6, expected)]
    assert parsed.accepted == 12


@pytest.mark.parametrize("name", ["time", "ts", "@timestamp"])
@pytest.mark.parametrize(
    "item",
    [{"metric": "m", "value": 1}, {"stream_id": "s", "load": 2}, {"nodeId": "n", "a": 2}],
    ids=["point", "stream", "node"],
)
def test_a_time_by_another_name_is_not_now(item: dict[str, Any], name: str) -> None:
    """It is refused with the name that it must have: what came now is not when it was."""
    parsed = parse([item | {name: NOW - 5_000}, {"metric": "m", "value": 2}])

    assert parsed.accepted == 1
    (refused,) = parsed.refusals
    assert (refused.index, refused.reason) == (0, Reason.MALFORMED)
    assert f"{name} is no field: a time is named timestamp" in refused.detail


def test_what_a_point_says_besides_is_not_dropped() -> None:
    """A field that a point or a column does not have is an error that names it."""
    parsed = parse([{"metric": "m", "value": 1, "service": "x"}, column(1, unit="s")])

    assert parsed.accepted == 0
    assert "service" in parsed.refusals[0].detail
    assert "unit" in parsed.refusals[1].detail


def test_a_body_may_not_be_blown_up() -> None:
    """Labels that are written once and would stand on thousands of points are too much."""
    many = {f"m{n}": n for n in range(3_000)}

    with pytest.raises(TooLarge):
        parse({"stream_id": "s", **{f"t{n}": "x" * 3_000 for n in range(4)}, **many})


@pytest.mark.parametrize("more", [{"stream_id": "s"}, {"values": [1], "timestamps": [NOW]}])
def test_what_has_two_forms_is_refused(more: dict[str, Any]) -> None:
    """What has a metric and a value is a point and nothing else: neither half is dropped."""
    assert refusals(parse({"metric": "p", "value": 1, **more})) == [(0, Reason.MALFORMED)]


POINTS = st.lists(
    st.tuples(
        st.sampled_from([NOW, NOW - 5, 5, "2026-01-01T00:00:00Z", "noon"]),
        st.none() | st.floats(-1e6, 1e6),
    ),
    max_size=5,
)


@given(st.lists(POINTS, max_size=4))
def test_a_column_is_what_its_points_are_one_by_one(columns: list[list[tuple[Any, Any]]]) -> None:
    """The same points are taken of it, and the same are refused for the same reasons."""
    body = [
        {"metric": f"m{n}", "timestamps": [at for at, _ in c], "values": [v for _, v in c]}
        for n, c in enumerate(columns)
    ]
    singles = [(f"m{n}", at, v) for n, c in enumerate(columns) for at, v in c]
    by_column = parse(body)
    # Alone a null is malformed, for a point without a value is none; in a column it is a gap.
    by_point = parse([{"metric": m, "timestamp": at, "value": v} for m, at, v in singles])

    assert rows(by_column) == rows(by_point)
    assert [r.index for r in by_column.refusals] == [r.index for r in by_point.refusals]
    assert by_column.accepted + len(by_column.refusals) == len(singles)
