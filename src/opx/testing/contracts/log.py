# SPDX-License-Identifier: Apache-2.0

"""What every write-ahead log must do. Give each of ``CHECKS`` both ends of an empty one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import numpy as np

from opx.core.base.time import HOUR, Ms
from opx.core.ingest.signals import (
    Alert,
    Event,
    Identity,
    Item,
    LogLevel,
    LogLine,
    MetricBatch,
    Rejected,
    Series,
    Severity,
    Tick,
)
from opx.engine.ports import Appender, Batch, Chunk, Tail
from opx.errors import Unavailable

AT: Ms = 1_767_225_600_000


@dataclass(frozen=True, slots=True)
class Ends:
    """Both ends of one log."""

    appender: Appender
    tail: Tail


def series(sid: int) -> Series:
    identity = Identity("prod", "orders", f"host-{sid}")
    return Series(sid=sid, metric="latency_ms", labels={"n": str(sid)}, identity=identity)


def points(sids: Sequence[int], at: Ms = AT) -> MetricBatch:
    """One point of each of ``sids``, one ms apart, its value a half more than its sid."""
    return MetricBatch(
        sid=np.array(sids, np.int32),
        at=at + np.arange(len(sids), dtype=np.int64),
        value=np.array(sids, np.float64) + 0.5,
    )


def items() -> tuple[Item, ...]:
    """One of each type."""
    who = Identity("prod", "orders")
    alert = Alert(
        fingerprint="f",
        identity=who,
        severity=Severity.SEV2,
        labels={"alertname": "Down"},
        annotations={"summary": "weg ☂"},
        starts_at=AT,
        ends_at=AT + 1,
        received_at=AT + 2,
    )
    event = Event(
        id="e",
        source="s",
        type="deploy",
        subject="orders",
        identity=who,
        severity=None,
        at=AT,
        received_at=AT,
        data={"version": "1.2", "sizes": [1, 2.5, None]},
    )
    line = LogLine(
        identity=who,
        at=AT,
        received_at=AT + 3,
        level=LogLevel.WARN,
        message="zu langsam ☂",
        fields={"thread": "7"},
    )
    rejected = Rejected(id="r", at=AT, wire="metrics", reason="late", item="{}", source="c")
    return (alert, event, line, rejected, Tick(AT))


def rows(chunks: Sequence[Chunk]) -> list[tuple[int, int, float]]:
    """Every point of ``chunks``, in order."""
    return [
        (int(sid), int(at), float(value))
        for chunk in chunks
        if chunk.points is not None
        for sid, at, value in zip(
            chunk.points.sid, chunk.points.at, chunk.points.value, strict=True
        )
    ]


async def what_is_appended_is_read(log: Ends) -> None:
    """Series, points and items come out as they went in, under the seq that was answered."""
    batch = Batch(series=(series(0), series(1)), points=points([0, 1, 0]), items=items())
    seq = await log.appender.append(batch)

    (chunk,) = log.tail.read(0, 10)
    assert chunk.seq == seq == 1
    assert chunk.series == (series(0), series(1))
    assert rows([chunk]) == [(0, AT, 0.5), (1, AT + 1, 1.5), (0, AT + 2, 0.5)]
    assert chunk.items == items()
    assert chunk.at > 0


async def an_empty_log_has_nothing(log: Ends) -> None:
    """Before the first append there is nothing to read, and nothing to drop."""
    assert log.tail.read(0, 10) == []
    log.tail.drop(100)
    assert list(log.tail.series()) == list(log.appender.series()) == []


async def each_reader_position_is_served(log: Ends) -> None:
    """Reading goes on after any seq, at most ``limit`` at a time, also backwards."""
    for _ in range(5):
        await log.appender.append(Batch(items=(Tick(AT),)))

    def seqs(after: int, limit: int) -> list[int]:
        return [chunk.seq for chunk in log.tail.read(after, limit)]

    assert seqs(0, 2) == [1, 2]
    assert seqs(2, 2) == [3, 4]
    assert seqs(4, 2) == [5]
    assert seqs(5, 2) == []
    assert seqs(1, 10) == [2, 3, 4, 5]
    assert seqs(9, 10) == []
    await log.appender.append(Batch(items=(Tick(AT),)))
    assert seqs(5, 10) == [6]


async def news_ends_the_waiting(log: Ends) -> None:
    """Nobody waits after a read that found something; then what is appended ends it, also what
    was before it began, and without any it ends in time."""

    async def append() -> None:
        await log.appender.append(Batch(items=(Tick(AT),)))

    async def following(after: int) -> list[int]:
        async with asyncio.timeout(20):
            while not (chunks := log.tail.read(after, 10)):
                await log.tail.changed(within=HOUR)
            await log.tail.changed(within=HOUR)
        return [chunk.seq for chunk in chunks]

    await log.tail.changed(within=1)
    waiting = asyncio.create_task(following(0))
    await append()
    assert await waiting == [1]
    assert log.tail.read(1, 10) == []
    await append()
    assert await following(1) == [2]
    waiting = asyncio.create_task(following(2))
    await asyncio.sleep(0)
    assert not waiting.done()
    await append()
    assert await waiting == [3]
    assert log.tail.read(3, 10) == []
    await log.tail.changed(within=1)


async def a_series_is_told_once(log: Ends) -> None:
    """A series sent again is not told again; both ends list all of them by sid."""
    await log.appender.append(Batch(series=(series(1),), points=points([1])))
    await log.appender.append(Batch(series=(series(0), series(1)), points=points([0, 1])))

    assert [chunk.series for chunk in log.tail.read(0, 10)] == [(series(1),), (series(0),)]
    assert list(log.appender.series()) == [series(0), series(1)]
    assert list(log.tail.series()) == [series(0), series(1)]


async def points_of_an_unknown_series_are_refused(log: Ends) -> None:
    """A point whose series is not in the log is not kept, nor is the rest of its batch."""
    try:
        await log.appender.append(Batch(points=points([3]), items=(Tick(AT),)))
    except Unavailable:
        pass
    else:
        raise AssertionError("it was taken")

    await log.appender.append(Batch(series=(series(3),), points=points([3])))
    assert rows(log.tail.read(0, 10)) == [(3, AT, 3.5)]


async def many_at_once_are_all_kept(log: Ends) -> None:
    """Appends that wait together are each there once, however few commits that takes."""

    async def one(sid: int) -> int:
        batch = Batch(series=(series(sid),), points=points([sid]), items=(Tick(AT + sid),))
        return await log.appender.append(batch)

    seqs = await asyncio.gather(*(one(sid) for sid in range(50)))
    chunks = log.tail.read(0, 1000)
    assert {chunk.seq for chunk in chunks} == set(seqs)
    assert sorted(row[0] for row in rows(chunks)) == list(range(50))
    at = {item: chunk.seq for chunk in chunks for item in chunk.items}
    assert [at[Tick(AT + sid)] for sid in range(50)] == list(seqs)


async def dropping_keeps_what_is_needed(log: Ends) -> None:
    """``drop`` never takes a commit after ``through``, nor the last one."""
    for sid in range(4):
        await log.appender.append(Batch(series=(series(sid),), points=points([sid])))
    log.tail.drop(2)

    assert [chunk.seq for chunk in log.tail.read(2, 10)] == [3, 4]
    log.tail.drop(4)
    assert [chunk.seq for chunk in log.tail.read(3, 10)] == [4]
    assert list(log.tail.series()) == [series(sid) for sid in range(4)]


async def a_closed_log_refuses(log: Ends) -> None:
    """After ``close`` nothing is taken, and nothing is lost."""
    await log.appender.append(Batch(items=(Tick(AT),)))
    await log.appender.close()
    try:
        await log.appender.append(Batch(items=(Tick(AT),)))
    except Unavailable:
        pass
    else:
        raise AssertionError("it was taken")
    assert len(log.tail.read(0, 10)) == 1


CHECKS: tuple[Callable[[Ends], Awaitable[None]], ...] = (
    what_is_appended_is_read,
    an_empty_log_has_nothing,
    each_reader_position_is_served,
    news_ends_the_waiting,
    a_series_is_told_once,
    points_of_an_unknown_series_are_refused,
    many_at_once_are_all_kept,
    dropping_keeps_what_is_needed,
    a_closed_log_refuses,
)
