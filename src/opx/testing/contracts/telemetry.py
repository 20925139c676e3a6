# SPDX-License-Identifier: Apache-2.0

"""What every ``Telemetry`` must do. Give each of ``CHECKS`` an empty one."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace

import numpy as np

from opx.core.base.metrics import MAX_BUCKETS, MetricAnswer, MetricQuery, Resolution
from opx.core.base.reads import Stat
from opx.core.base.time import DAY, HOUR, MINUTE, SECOND, Ms, Window
from opx.core.ingest.signals import Identity, MetricBatch, Series
from opx.engine.ports import Telemetry
from opx.errors import BadInput, ExpressionError, TooLarge

AT: Ms = 1_767_225_600_000
"""Midnight."""
MIXED = (Stat.COUNT, Stat.SUM, Stat.AVG, Stat.MIN, Stat.MAX, Stat.RATE)
"""What roll-ups can tell."""


def series(sid: int, resource: str = "", **labels: str) -> Series:
    return Series(
        sid=sid, metric="latency_ms", labels=labels, identity=Identity("prod", "orders", resource)
    )


def points(*rows: tuple[int, Ms, float]) -> MetricBatch:
    """Each row: sid, ms since ``AT``, value."""
    return MetricBatch(
        sid=np.array([row[0] for row in rows], np.int32),
        at=np.array([AT + row[1] for row in rows], np.int64),
        value=np.array([row[2] for row in rows], np.float64),
    )


def question(stat: Stat, start: Ms, end: Ms, step: Ms = SECOND) -> MetricQuery:
    """Of all series of ``latency_ms``, from ``start`` to ``end`` (ms since ``AT``)."""
    return MetricQuery(
        metric="latency_ms", window=Window(AT + start, AT + end), step=step, stat=stat
    )


def groups(answer: MetricAnswer) -> dict[tuple[str, ...], list[float | None]]:
    """The values of each result by those of its labels, in the order of their names."""
    return {
        tuple(one.labels[name] for name in sorted(one.labels)): [b.value for b in one.buckets]
        for one in answer.results
    }


async def values(telemetry: Telemetry, query: MetricQuery) -> list[float | None]:
    """Of the only group of a query, when every bucket stands where it should."""
    (result,) = (await telemetry.query(query)).results
    assert [bucket.at for bucket in result.buckets] == list(query.starts())
    return [bucket.value for bucket in result.buckets]


async def ask(
    telemetry: Telemetry,
    stat: Stat,
    start: Ms,
    end: Ms,
    step: Ms = SECOND,
    labels: dict[str, str] | None = None,
) -> list[float | None]:
    """The values of ``latency_ms`` from ``start`` to ``end`` (ms since ``AT``)."""
    told = {"a": "b"} if labels is None else labels
    return await values(telemetry, replace(question(stat, start, end, step), labels=told))


async def everywhere(telemetry: Telemetry) -> AsyncIterator[str]:
    """Take what was added from memory to disk, then through all upkeep there is to do."""
    yield "in memory"
    await telemetry.flush()
    yield "on disk"
    while await telemetry.tidy():
        pass
    yield "tidied"


async def every_stat_is_right(telemetry: Telemetry) -> None:
    """Each stat of three points in a bucket; none is None or 0."""
    rows = points((0, 100, 1.0), (0, 999, 4.0), (0, 500, 4.0), (1, 0, 99.0))
    telemetry.add(1, [series(0, a="b"), series(1, a="c")], rows)
    async for _ in everywhere(telemetry):
        assert await ask(telemetry, Stat.COUNT, 0, 2000) == [3.0, 0.0]
        assert await ask(telemetry, Stat.SUM, 0, 2000) == [9.0, 0.0]
        assert await ask(telemetry, Stat.AVG, 0, 2000) == [3.0, None]
        assert await ask(telemetry, Stat.MIN, 0, 2000) == [1.0, None]
        assert await ask(telemetry, Stat.MAX, 0, 2000) == [4.0, None]
        assert await ask(telemetry, Stat.P50, 0, 2000) == [4.0, None]
        assert await ask(telemetry, Stat.RATE, 0, 2000) == [3.0, None]


async def percentiles_lie_between_their_neighbours(telemetry: Telemetry) -> None:
    """Of 0, 10, ... 100 in any order the median is 50, 95 in a hundred are within 95 and 99
    within 99; of one point all three are that point."""
    rows = ((0, number, 10.0 * (number * 7 % 11)) for number in range(11))
    telemetry.add(1, [series(0, a="b")], points(*rows, (0, SECOND, 3.0)))
    async for _ in everywhere(telemetry):
        for stat, wanted in ((Stat.P50, 50.0), (Stat.P95, 95.0), (Stat.P99, 99.0)):
            found = await ask(telemetry, stat, 0, 2 * SECOND)
            assert [round(value, 9) for value in found if value is not None] == [wanted, 3.0]


async def buckets_are_half_open(telemetry: Telemetry) -> None:
    """They start at the window's start; its end is not in it, not even in the last bucket."""
    rows = points(*((0, at, 1.0) for at in (249, 250, 749, 750, 999, 1249, 1250)))
    telemetry.add(1, [series(0, a="b")], rows)
    async for _ in everywhere(telemetry):
        assert await ask(telemetry, Stat.COUNT, 250, 1250, step=500) == [2.0, 3.0]
        assert await ask(telemetry, Stat.COUNT, 250, 1000, step=500) == [2.0, 2.0]


async def memory_and_disk_are_one(telemetry: Telemetry) -> None:
    """Points on disk, tidied or not, in memory and late ones of another day add up."""
    telemetry.add(1, [series(0, a="b")], points((0, 0, 1.0), (0, DAY, 2.0)))
    async for _ in everywhere(telemetry):
        pass
    telemetry.add(2, [], points((0, 1, 4.0)))
    await telemetry.flush()
    telemetry.add(3, [], points((0, 2, 8.0), (0, -DAY, 16.0)))

    async for _ in everywhere(telemetry):
        assert await ask(telemetry, Stat.SUM, -DAY, 2 * DAY, step=DAY) == [16.0, 13.0, 2.0]


async def labels_choose_series(telemetry: Telemetry) -> None:
    """A series is meant when it has all the labels that are named, in any order, whatever
    others it has; its identity is labels too; a label that it lacks is empty."""
    both = [series(0, "x", a="b", c="d"), series(1, "y", c="d", a="b")]
    telemetry.add(1, [*both, series(2, a="b")], points((0, 0, 1.0), (1, 0, 2.0), (2, 0, 4.0)))

    for labels, wanted in (
        ({"c": "d", "a": "b"}, 3.0),
        ({"a": "b"}, 7.0),
        ({}, 7.0),
        ({"a": "b", "resource": "y"}, 2.0),
        ({"service": "orders", "environment": "prod"}, 7.0),
        ({"service": "payments"}, 0.0),
        ({"c": ""}, 4.0),
    ):
        assert await ask(telemetry, Stat.SUM, 0, 1000, labels=labels) == [wanted]


async def patterns_choose_series(telemetry: Telemetry) -> None:
    """A pattern fits the whole of a label, or not; one that is none is an error."""
    told = [series(0, path="/a"), series(1, path="/ab"), series(2)]
    telemetry.add(1, told, points((0, 0, 1.0), (1, 0, 2.0), (2, 0, 4.0)))
    asked = question(Stat.SUM, 0, 1000)

    for pattern, wanted in (("/a", 1.0), ("/a.*", 3.0), ("(/ab)?", 6.0), (".+", 3.0)):
        assert await values(telemetry, replace(asked, matching={"path": pattern})) == [wanted]
    try:
        await telemetry.query(replace(asked, matching={"path": "("}))
    except ExpressionError:
        return
    raise AssertionError("a pattern that is none was taken")


async def series_are_grouped_by_labels(telemetry: Telemetry) -> None:
    """One result for all with equal values of the labels, in their order; None is one for
    each series; where nothing was chosen there is none."""
    told = [series(0, "x", path="/b"), series(1, "y", path="/b"), series(2, path="/a"), series(3)]
    rows = points((0, 0, 1.0), (1, 1, 2.0), (2, 0, 4.0), (3, 0, 8.0))
    telemetry.add(1, told, rows)
    asked = question(Stat.SUM, 0, 2000)

    async for _ in everywhere(telemetry):
        found = await telemetry.query(replace(asked, by=("path",)))
        assert found.resolution is Resolution.RAW
        assert list(groups(found)) == [("",), ("/a",), ("/b",)]
        assert groups(found) == {("",): [8.0, 0.0], ("/a",): [4.0, 0.0], ("/b",): [3.0, 0.0]}
        found = await telemetry.query(replace(asked, by=("resource", "path"), stat=Stat.MAX))
        assert groups(found)["/b", "y"] == [2.0, None]
        found = await telemetry.query(replace(asked, by=None, labels={"path": "/b"}))
        assert [one.labels["resource"] for one in found.results] == ["x", "y"]
        assert not (await telemetry.query(replace(asked, by=None, metric="other"))).results


async def a_rate_is_growth_per_second(telemetry: Telemetry) -> None:
    """A counter that fell began again at 0; growth counts at the later of two points; counters
    add up; a first point has nothing to grow from; the last bucket may be cut short."""
    first = ((0, -SECOND, 10.0), (0, 0, 14.0), (0, 5 * SECOND, 4.0), (0, 11 * SECOND, 10.0))
    other = ((1, 12 * SECOND, 100.0), (1, 13 * SECOND, 103.0), (2, 0, 7.0))
    telemetry.add(1, [series(n, str(n)) for n in range(3)], points(*first, *other))
    asked = question(Stat.RATE, 0, 15 * SECOND, 10 * SECOND)

    async for _ in everywhere(telemetry):
        # 4 to 14, then 4 after a fall, in 10 s; then 6 and 3 in the 5 s that are left.
        assert await values(telemetry, asked) == [0.8, 1.8]
        only = replace(asked, by=None, window=Window(AT, AT + 10 * SECOND))
        each = (await telemetry.query(only)).results
        assert [b.value for one in each for b in one.buckets] == [0.8, None, None]


async def a_counter_is_looked_back_for(telemetry: Telemetry) -> None:
    """Growth from a point up to five minutes before the window counts, from an older one not."""
    rows = ((0, -5 * MINUTE, 1.0), (0, 1, 4.0), (1, -5 * MINUTE - 1, 1.0), (1, 1, 9.0))
    telemetry.add(1, [series(0), series(1)], points(*rows))
    async for _ in everywhere(telemetry):
        assert await values(telemetry, question(Stat.RATE, 0, SECOND)) == [3.0]


async def a_long_window_says_the_same(telemetry: Telemetry) -> None:
    """Over more than six hours, answered by the minute or by the hour: each stat is what the
    points come to, also where the window ends within a minute."""
    rows = ((0, 0, 2.0), (0, 59_999, 5.0), (0, MINUTE, 1.0), (0, HOUR + 1, 4.0), (0, 8 * HOUR, 9.0))
    telemetry.add(1, [series(0, a="b")], points(*rows))
    end = 8 * HOUR + 1
    wanted: dict[Stat, list[float | None]] = {
        Stat.COUNT: [3.0, 1.0, *[0.0] * 6, 1.0],
        Stat.SUM: [8.0, 4.0, *[0.0] * 6, 9.0],
        Stat.AVG: [8 / 3, 4.0, *[None] * 6, 9.0],
        Stat.MIN: [1.0, 4.0, *[None] * 6, 9.0],
        Stat.MAX: [5.0, 4.0, *[None] * 6, 9.0],
        # 2 to 5, then 1 after a fall; 1 to 4; 4 to 9 in the millisecond that is left.
        Stat.RATE: [4 / 3600, 3 / 3600, *[None] * 6, 5000.0],
    }
    assert set(wanted) == set(MIXED)
    async for _ in everywhere(telemetry):
        for stat, row in wanted.items():
            asked = question(stat, 0, end, HOUR)
            assert asked.resolution() is Resolution.HOUR
            assert _close(await values(telemetry, asked), row)
            fine = question(stat, 0, end, MINUTE)
            assert fine.resolution() is Resolution.MINUTE
            found = await values(telemetry, fine)
            assert [n for n, value in enumerate(found) if value] == [0, 1, 60, 480]


def _close(found: Sequence[float | None], wanted: Sequence[float | None]) -> bool:
    return all(
        (a is None and b is None) or (a is not None and b is not None and math.isclose(a, b))
        for a, b in zip(found, wanted, strict=True)
    )


async def late_points_count_in_order(telemetry: Telemetry) -> None:
    """A point that comes after those around it were tidied is where it belongs, for a counter
    too: 0, 6, 10 grew by 10; with a 2 in between that fell from 6 it is 6 + 2 + 8."""
    rows = points((0, 0, 0.0), (0, 20 * SECOND, 6.0), (0, 40 * SECOND, 10.0))
    telemetry.add(1, [series(0, a="b")], rows)
    async for _ in everywhere(telemetry):
        pass
    telemetry.add(2, [], points((0, 30 * SECOND, 2.0)))
    async for _ in everywhere(telemetry):
        assert await ask(telemetry, Stat.RATE, 0, 7 * HOUR, 7 * HOUR) == [16 / (7 * 3600)]
        assert await ask(telemetry, Stat.COUNT, 0, 7 * HOUR, 7 * HOUR) == [4.0]


async def an_unknown_series_is_empty(telemetry: Telemetry) -> None:
    """Asking for what never was is no error."""
    assert await ask(telemetry, Stat.MAX, 0, 2000) == [None, None]
    assert await ask(telemetry, Stat.COUNT, 0, 2000) == [0.0, 0.0]


async def a_query_has_bounds(telemetry: Telemetry) -> None:
    """Steps of nothing, and more buckets than anybody looks at, are refused, by groups too."""
    telemetry.add(1, [series(n, str(n)) for n in range(3)], points((0, 0, 1.0)))
    half = question(Stat.COUNT, 0, MAX_BUCKETS // 2, step=1)
    assert len(await values(telemetry, half)) == MAX_BUCKETS // 2
    for query, error in (
        (question(Stat.COUNT, 0, 1000, step=0), BadInput),
        (question(Stat.COUNT, 0, 1000, step=-1), BadInput),
        (question(Stat.COUNT, 0, MAX_BUCKETS + 1, step=1), TooLarge),
        (replace(half, by=None), TooLarge),
    ):
        try:
            await telemetry.query(query)
        except error:
            continue
        raise AssertionError(f"{query} was answered")


async def a_seq_counts_once(telemetry: Telemetry) -> None:
    """A commit that is added again changes nothing, before a flush and after."""
    told: Sequence[Series] = [series(0, a="b")]
    telemetry.add(1, told, points((0, 0, 1.0)))
    telemetry.add(1, told, points((0, 0, 1.0)))
    await telemetry.flush()
    telemetry.add(1, told, points((0, 0, 1.0)))
    telemetry.add(2, [], points((0, 1, 1.0)))

    assert await ask(telemetry, Stat.COUNT, 0, 1000) == [2.0]


async def a_flush_says_how_far_it_goes(telemetry: Telemetry) -> None:
    """It covers commits without points too; flushing nothing is nothing; upkeep changes
    nothing of it."""
    assert await telemetry.flush() == telemetry.committed() == 0
    telemetry.add(3, [series(0, a="b")], points((0, 0, 1.0)))
    telemetry.add(4, [], None)
    assert telemetry.committed() == 0
    assert await telemetry.flush() == telemetry.committed() == 4
    async for _ in everywhere(telemetry):
        assert await telemetry.flush() == telemetry.committed() == 4


async def a_forgotten_day_is_empty(telemetry: Telemetry) -> None:
    """Whole days on disk that were over by then are gone, and nothing else, also later; what
    was committed stays so, and a new point of such a day is one."""
    rows = points((0, -2 * DAY, 1.0), (0, -DAY, 2.0), (0, -1, 4.0), (0, 0, 8.0))
    telemetry.add(1, [series(0, a="b")], rows)
    async for _ in everywhere(telemetry):
        pass

    assert await telemetry.forget(AT - 1) == 1
    assert await telemetry.forget(AT + DAY - 1) == 1
    assert await telemetry.forget(AT + DAY - 1) == 0
    assert telemetry.committed() == 1
    assert await ask(telemetry, Stat.SUM, -2 * DAY, DAY, step=DAY) == [0.0, 0.0, 8.0]
    telemetry.add(2, [], points((0, -DAY, 16.0)))
    assert await telemetry.flush() == 2
    async for _ in everywhere(telemetry):
        assert await ask(telemetry, Stat.SUM, -2 * DAY, DAY, step=DAY) == [0.0, 16.0, 8.0]


CHECKS: tuple[Callable[[Telemetry], Awaitable[None]], ...] = (
    every_stat_is_right,
    percentiles_lie_between_their_neighbours,
    buckets_are_half_open,
    memory_and_disk_are_one,
    labels_choose_series,
    patterns_choose_series,
    series_are_grouped_by_labels,
    a_rate_is_growth_per_second,
    a_counter_is_looked_back_for,
    a_long_window_says_the_same,
    late_points_count_in_order,
    an_unknown_series_is_empty,
    a_query_has_bounds,
    a_seq_counts_once,
    a_flush_says_how_far_it_goes,
    a_forgotten_day_is_empty,
)
