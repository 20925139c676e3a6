# SPDX-License-Identifier: Apache-2.0

"""Metric points, and the numbering of their series."""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from opx.adapters.wires import forms, metrics
from opx.adapters.wires.metrics import SeriesIndex
from opx.core.ingest.checks import Reason
from opx.core.ingest.mapping import MappingRule
from opx.core.ingest.signals import Identity, Series
from opx.engine.intake import Incoming, Parsed
from opx.errors import BadInput, TooLarge

NOW = 1_767_225_600_000
INCOMING = Incoming(now=NOW)


def point(metric: str = "up", value: Any = 1, **more: Any) -> dict[str, Any]:
    return {"metric": metric, "value": value, **more}


def parse(body: Any, index: SeriesIndex | None = None, incoming: Incoming = INCOMING) -> Parsed:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return metrics.parse(index or SeriesIndex(), raw, incoming)


def rows(parsed: Parsed) -> list[tuple[int, int, float]]:
    points = parsed.batch.points
    assert points is not None
    return list(zip(points.sid.tolist(), points.at.tolist(), points.value.tolist(), strict=True))


def refusals(parsed: Parsed) -> list[tuple[int, Reason]]:
    return [(refusal.index, refusal.reason) for refusal in parsed.refusals]


ONE = point("cpu", 0.5, timestamp=NOW - 5, labels={"service": "orders", "env": "prod"})


@pytest.mark.parametrize(
    "body", [ONE, [ONE], {"metrics": [ONE]}, {"metrics": ONE}, b" \n" + json.dumps(ONE).encode()]
)
def test_one_point_however_it_is_wrapped(body: Any) -> None:
    """Alone, in a list, or under ``metrics``: the same batch, with its new series."""
    parsed = parse(body)

    assert parsed.accepted == 1
    assert parsed.refusals == []
    assert rows(parsed) == [(0, NOW - 5, 0.5)]
    assert parsed.batch.series == (
        Series(
            sid=0,
            metric="cpu",
            labels={"service": "orders", "env": "prod"},
            identity=Identity("prod", "orders"),
        ),
    )
    assert parsed.batch.points is not None
    columns = parsed.batch.points
    assert [str(c.dtype) for c in (columns.sid, columns.at, columns.value)] == [
        "int32",
        "int64",
        "float64",
    ]


def test_times_are_numbers_texts_or_now() -> None:
    """Milliseconds, RFC 3339 with any offset, or nothing, which is when it came."""
    parsed = parse(
        [
            point(timestamp=NOW - 1),
            point(timestamp="2026-01-01T00:00:00.250Z"),
            point(timestamp="2026-01-01T01:59:59.123456789+02:00"),
            point(timestamp=None),
            point(),
        ]
    )

    assert [at for _, at, _ in rows(parsed)] == [NOW - 1, NOW + 250, NOW - 877, NOW, NOW]


def test_a_series_is_its_metric_and_its_labels() -> None:
    """Order, spacing and empty labels make no other series; another value or metric does."""
    index = SeriesIndex()
    bodies = [
        b'{"metric":"m","value":1,"labels":{"a":"1","b":"2"}}',
        b'{"metric":"m","value":1,"labels":{"b": "2", "a": "1", "c": ""}}',
        b'{"metric":"m","value":1,"labels":{"\\u0061":"1","b":"2"}}',
        b'{"metric":"m","value":1,"labels":{"a":"1","b":"3"}}',
        b'{"metric":"n","value":1,"labels":{"a":"1","b":"2"}}',
        b'{"metric":"m","value":1,"labels":{}}',
        b'{"metric":"m","value":1}',
    ]

    assert [rows(parse(body, index))[0][0] for body in bodies] == [0, 0, 0, 1, 2, 3, 3]


def test_another_mapping_makes_another_series_and_leaves_the_old_one_as_it_was() -> None:
    """Points are whose the mapping of now says: under a new number, since what came before was
    another's. It is found again by the old mapping, and by whoever starts from the log."""
    index = SeriesIndex()
    ours = Incoming(now=NOW, mapping=MappingRule(service=("team",)))
    both = [point(labels={"team": "shop"}), point(labels={"team": "shop", "service": "orders"})]

    before = parse(both, index).batch
    after = parse(both, index, ours).batch
    again = parse(both, index).batch

    assert before.points is not None
    assert after.points is not None
    assert again.points is not None
    assert [(one.sid, one.identity.service) for one in before.series] == [(0, ""), (1, "orders")]
    assert [(one.sid, one.identity.service) for one in after.series] == [(2, "shop"), (3, "shop")]
    assert again.points.sid.tolist() == [0, 1]
    restarted = SeriesIndex([*before.series, *after.series])
    assert [sid for sid, _, _ in rows(parse(both, restarted, ours))] == [2, 3]
    assert restarted.unmapped() == []


def test_a_mapping_that_changes_nothing_for_a_series_keeps_its_number() -> None:
    """Only what is another's by now is another series."""
    index = SeriesIndex()
    wider = Incoming(now=NOW, mapping=MappingRule(service=("service", "team")))
    body = [point(labels={"service": "orders"}), point(labels={"team": "shop"})]

    parse(body, index)

    assert [sid for sid, _, _ in rows(parse(body, index, wider))] == [0, 2]


def test_a_secret_in_a_label_never_becomes_part_of_a_series() -> None:
    """Labels are masked before the series has its name."""
    index = SeriesIndex()
    one = parse(point(labels={"url": "http://u:one@h"}), index)
    two = parse(point(labels={"url": "http://u:two@h"}), index)

    assert one.batch.series[0].labels == {"url": "http://u:[masked]@h"}
    assert rows(one)[0][0] == rows(two)[0][0]


def test_a_series_travels_until_it_is_on_disk() -> None:
    """Every batch that uses it carries it, until one of them is known to be kept."""
    index = SeriesIndex()
    both = [point("a"), point("b")]

    first = parse(both, index)
    again = parse([point("b")], index)
    index.kept(again.batch.series)
    third = parse(both, index)
    index.kept(third.batch.series)

    assert [series.sid for series in first.batch.series] == [0, 1]
    assert [series.sid for series in again.batch.series] == [1]
    assert [series.sid for series in third.batch.series] == [0]
    assert parse(both, index).batch.series == ()


def test_the_index_goes_on_where_the_log_ended() -> None:
    """Known series keep their numbers, gaps stay gaps, and a new one gets the next."""
    first = parse([point("a"), point("b", labels={"x": "1"}), point("c")], SeriesIndex())
    known = [series for series in first.batch.series if series.sid != 1]
    index = SeriesIndex(known)

    parsed = parse([point("c"), point("d"), point("a")], index)

    assert [sid for sid, _, _ in rows(parsed)] == [2, 3, 0]
    assert [series.sid for series in parsed.batch.series] == [3]


BAD: list[tuple[Any, Reason]] = [
    ({"metric": "m"}, Reason.MALFORMED),
    ({"value": 1}, Reason.MALFORMED),
    (point(value="1"), Reason.MALFORMED),
    (point(value=True), Reason.MALFORMED),
    (point(value=None), Reason.MALFORMED),
    (point(labels={"a": 1}), Reason.MALFORMED),
    (point(labels=[]), Reason.MALFORMED),
    (point(labels=None), Reason.MALFORMED),
    (point(timestamp=1.5), Reason.MALFORMED),
    (point(timestamp=-1), Reason.MALFORMED),
    (point(timestamp=10**30), Reason.MALFORMED),
    (point(timestamp="yesterday"), Reason.BAD_TIME),
    (point(timestamp="2026-01-01T00:00:00"), Reason.BAD_TIME),
    (point(timestamp=NOW + 600_001), Reason.IN_FUTURE),
    (point(timestamp="2025-12-24T23:59:59.999Z"), Reason.TOO_OLD),
    (point(timestamp=NOW // 1000), Reason.TOO_OLD),
    (point("9m"), Reason.BAD_NAME),
    (point("m" * 201), Reason.TOO_LONG),
    (point(labels={"a b": "1"}), Reason.BAD_NAME),
    (point(labels={f"l{n}": "x" for n in range(65)}), Reason.TOO_MANY_LABELS),
    (point(labels={"a": "x" * 4_097}), Reason.TOO_LONG),
    (point(labels={f"l{n}": "x" * 4_000 for n in range(5)}), Reason.TOO_LARGE),
    ("text", Reason.MALFORMED),
    (None, Reason.MALFORMED),
    ([], Reason.MALFORMED),
]


@pytest.mark.parametrize(("bad", "reason"), BAD)
def test_a_bad_point_costs_its_neighbours_nothing(bad: Any, reason: Reason) -> None:
    """The points around it are taken, it is refused with its place and its reason."""
    parsed = parse([point("a", 1), bad, point("b", 2)])

    assert [value for _, _, value in rows(parsed)] == [1, 2]
    assert refusals(parsed) == [(1, reason)]
    assert [series.metric for series in parsed.batch.series] == ["a", "b"]


def test_a_number_that_is_no_float_is_refused() -> None:
    """What JSON can write and a float cannot hold is out; NaN is no JSON at all."""
    body = b'[{"metric":"a","value":1e999},{"metric":"b","value":' + b"1" * 400 + b"}]"

    assert refusals(parse(body)) == [(0, Reason.MALFORMED), (1, Reason.MALFORMED)]
    with pytest.raises(BadInput, match="not JSON"):
        parse(b'[{"metric":"a","value":NaN}]')


def test_refusals_of_every_kind_come_in_order() -> None:
    """Wrong shape, wrong time and wrong name in one body: places stay those of the body."""
    parsed = parse([point("9"), point(timestamp=1), {"metric": 1}, point("ok", 7), point("8")])

    assert refusals(parsed) == [
        (0, Reason.BAD_NAME),
        (1, Reason.TOO_OLD),
        (2, Reason.MALFORMED),
        (4, Reason.BAD_NAME),
    ]
    assert rows(parsed) == [(0, NOW, 7.0)]


def test_a_refused_point_makes_no_series() -> None:
    """A point that is not taken leaves no trace in the index."""
    index = SeriesIndex()
    parse([point("old", timestamp=1), point("far", timestamp=NOW + 10**9)], index)

    assert rows(parse(point("new"), index))[0][0] == 0


def test_a_scoped_sender_makes_and_feeds_its_own_series_only() -> None:
    """Another's series is refused whether it is known or new, and stays unnumbered."""
    index = SeriesIndex()
    scoped = Incoming(now=NOW, services=frozenset({"orders"}))
    mine, other = {"service": "orders"}, {"service": "payments"}
    parse(point("known", labels=other), index)

    parsed = parse(
        [
            point("known", labels=other),
            point("new", labels=other),
            point("new"),
            point("mine", 5, labels=mine),
        ],
        index,
        scoped,
    )

    assert refusals(parsed) == [(n, Reason.OUT_OF_SCOPE) for n in range(3)]
    assert rows(parsed) == [(1, NOW, 5.0)]


def test_the_number_of_series_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """When there are too many, new ones are refused and known ones go on."""
    monkeypatch.setattr(metrics, "MAX_SERIES", 2)
    index = SeriesIndex()
    parsed = parse([point("a"), point("b"), point("c"), point("a", 9)], index)

    assert refusals(parsed) == [(2, Reason.TOO_MANY_SERIES)]
    assert [sid for sid, _, _ in rows(parsed)] == [0, 1, 0]


def test_the_memory_of_spellings_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that spells its labels anew each time fills nothing, and keeps its series."""
    monkeypatch.setattr(metrics, "CACHE_BYTES", 2_000)
    index = SeriesIndex()
    bodies = [b'{"metric":"m","value":1,"labels":{%s}}' % (b" " * n) for n in range(100)]

    assert {rows(parse(body, index))[0][0] for body in bodies} == {0}
    assert sum(len(cache) for cache in index._cache.values()) <= 2_000 // 150


def test_a_body_holds_ten_thousand_points() -> None:
    """One more is too much, in good shape or bad."""
    assert parse([point()] * 10_000).accepted == 10_000
    for item in (point(), 1):
        with pytest.raises(TooLarge):
            parse([item] * 10_001)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[1,", b"[] x", b"nope", b"\xff", b'{"metrics":[}', b"[" * 100_000]
)
def test_what_is_not_json_is_refused_whole(body: bytes) -> None:
    """There is no item to name: the body itself is the mistake."""
    with pytest.raises(BadInput):
        parse(body)


def test_an_empty_list_is_nothing() -> None:
    """No points, no batch, no refusal."""
    parsed = parse([])

    assert (parsed.accepted, parsed.refusals, parsed.batch.points) == (0, [], None)


def test_two_threads_number_a_series_once() -> None:
    """What several bodies bring at once has one number for each series and none for two, and
    each batch has the series that its points need."""
    index = SeriesIndex()
    bodies = [
        [point("m", n, labels={"n": str(n % 1_500)}) for n in range(start, start + 1_000)]
        for start in (0, 500, 1_000, 1_500)
    ]
    often = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(len(bodies)) as pool:
            parsed = list(pool.map(lambda body: parse(body, index), bodies))
    finally:
        sys.setswitchinterval(often)

    names: dict[int, set[str]] = {}
    for body, one in zip(bodies, parsed, strict=True):
        told = {series.sid: series.labels["n"] for series in one.batch.series}
        for (sid, _, _), sent in zip(rows(one), body, strict=True):
            assert told[sid] == sent["labels"]["n"]
            names.setdefault(sid, set()).add(told[sid])
    assert len(names) == 1_500
    assert len({name for each in names.values() for name in each}) == 1_500


def test_what_was_read_by_an_old_mapping_is_not_remembered() -> None:
    """A body that was begun before the mapping changed and ends after it leaves nothing behind
    that would be taken for somebody's by the new one."""
    index = SeriesIndex()
    old, new = MappingRule(), MappingRule(service=("team",))
    body = json.dumps([point("m", 1, labels={"team": "a", "service": "b"})]).encode()
    late = forms.points(body).items[0]

    index.go_by(new)
    index.sid(late, Incoming(now=NOW, mapping=old))
    (series,) = parse(body, index, Incoming(now=NOW, mapping=new)).batch.series

    assert series.identity.service == "a"
