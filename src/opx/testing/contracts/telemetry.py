# SPDX-License-Identifier: Apache-2.0

"""What every ``Telemetry`` must do. Give each of ``CHECKS`` an empty one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import numpy as np

from opx.core.base.reads import Stat
from opx.core.base.time import DAY, SECOND, Ms, Window
from opx.core.ingest.signals import Identity, MetricBatch, Series
from opx.engine.ports import MetricQuery, Telemetry

AT: Ms = 1_767_225_600_000
"""Midnight."""


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


async def ask(
    telemetry: Telemetry,
    stat: Stat,
    start: Ms,
    end: Ms,
    step: Ms = SECOND,
    labels: dict[str, str] | None = None,
) -> list[float | None]:
    """The values of ``latency_ms`` from ``start`` to ``end`` (ms since ``AT``)."""
    query = MetricQuery(
        metric="latency_ms",
        labels={"a": "b"} if labels is None else labels,
        window=Window(AT + start, AT + end),
        step=step,
        stat=stat,
    )
    buckets = await telemetry.query(query)
    assert [bucket.at for bucket in buckets] == list(range(AT + start, AT + end, step))
    return [bucket.value for bucket in buckets]


async def every_stat_is_right(telemetry: Telemetry) -> None:
    """Each stat of three points in a bucket, in memory and on disk; none is None or 0."""
    rows = points((0, 100, 1.0), (0, 999, 4.0), (0, 500, 4.0), (1, 0, 99.0))
    telemetry.add(1, [series(0, a="b"), series(1, a="c")], rows)
    for _ in range(2):
        assert await ask(telemetry, Stat.COUNT, 0, 2000) == [3.0, 0.0]
        assert await ask(telemetry, Stat.SUM, 0, 2000) == [9.0, 0.0]
        assert await ask(telemetry, Stat.AVG, 0, 2000) == [3.0, None]
        assert await ask(telemetry, Stat.MIN, 0, 2000) == [1.0, None]
        assert await ask(telemetry, Stat.MAX, 0, 2000) == [4.0, None]
        await telemetry.flush()


async def buckets_are_half_open(telemetry: Telemetry) -> None:
    """They start at the window's start; its end is not in it, not even in the last bucket."""
    rows = points(*((0, at, 1.0) for at in (249, 250, 749, 750, 999, 1249, 1250)))
    telemetry.add(1, [series(0, a="b")], rows)
    for _ in range(2):
        assert await ask(telemetry, Stat.COUNT, 250, 1250, step=500) == [2.0, 3.0]
        assert await ask(telemetry, Stat.COUNT, 250, 1000, step=500) == [2.0, 2.0]
        await telemetry.flush()


async def memory_and_disk_are_one(telemetry: Telemetry) -> None:
    """Points on disk, in memory and late ones of another day add up."""
    telemetry.add(1, [series(0, a="b")], points((0, 0, 1.0), (0, DAY, 2.0)))
    await telemetry.flush()
    telemetry.add(2, [], points((0, 1, 4.0)))
    await telemetry.flush()
    telemetry.add(3, [], points((0, 2, 8.0), (0, -DAY, 16.0)))

    assert await ask(telemetry, Stat.SUM, -DAY, 2 * DAY, step=DAY) == [16.0, 13.0, 2.0]


async def series_with_equal_labels_are_one(telemetry: Telemetry) -> None:
    """Labels decide which series is meant, all of them, in any order."""
    both = [series(0, "x", a="b", c="d"), series(1, "y", c="d", a="b")]
    telemetry.add(1, [*both, series(2, a="b")], points((0, 0, 1.0), (1, 0, 2.0), (2, 0, 4.0)))

    assert await ask(telemetry, Stat.SUM, 0, 1000, labels={"c": "d", "a": "b"}) == [3.0]
    assert await ask(telemetry, Stat.SUM, 0, 1000, labels={"a": "b"}) == [4.0]


async def an_unknown_series_is_empty(telemetry: Telemetry) -> None:
    """Asking for what never was is no error."""
    assert await ask(telemetry, Stat.MAX, 0, 2000) == [None, None]
    assert await ask(telemetry, Stat.COUNT, 0, 2000) == [0.0, 0.0]


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
    """It covers commits without points too; flushing nothing is nothing."""
    assert await telemetry.flush() == telemetry.committed() == 0
    telemetry.add(3, [series(0, a="b")], points((0, 0, 1.0)))
    telemetry.add(4, [], None)
    assert telemetry.committed() == 0
    assert await telemetry.flush() == telemetry.committed() == 4
    assert await telemetry.flush() == 4


async def a_forgotten_day_is_empty(telemetry: Telemetry) -> None:
    """Whole days on disk that were over by then are gone, and nothing else, also later; what
    was committed stays so, and a new point of such a day is one."""
    rows = points((0, -2 * DAY, 1.0), (0, -DAY, 2.0), (0, -1, 4.0), (0, 0, 8.0))
    telemetry.add(1, [series(0, a="b")], rows)
    await telemetry.flush()

    assert await telemetry.forget(AT - 1) == 1
    assert await telemetry.forget(AT + DAY - 1) == 1
    assert await telemetry.forget(AT + DAY - 1) == 0
    assert telemetry.committed() == 1
    assert await ask(telemetry, Stat.SUM, -2 * DAY, DAY, step=DAY) == [0.0, 0.0, 8.0]
    telemetry.add(2, [], points((0, -DAY, 16.0)))
    assert await telemetry.flush() == 2
    assert await ask(telemetry, Stat.SUM, -2 * DAY, DAY, step=DAY) == [0.0, 16.0, 8.0]


CHECKS: tuple[Callable[[Telemetry], Awaitable[None]], ...] = (
    every_stat_is_right,
    buckets_are_half_open,
    memory_and_disk_are_one,
    series_with_equal_labels_are_one,
    an_unknown_series_is_empty,
    a_seq_counts_once,
    a_flush_says_how_far_it_goes,
    a_forgotten_day_is_empty,
)
