# SPDX-License-Identifier: Apache-2.0

"""Whatever is told in whatever order, and wherever it lies by then: a query is answered as by
going through all points one by one."""

from __future__ import annotations

import asyncio
import math
import re
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opx.adapters.stores import lake
from opx.adapters.stores.lake import Lake
from opx.adapters.stores.telemetry import delta, merging
from opx.core.base.metrics import MetricQuery
from opx.core.base.reads import Stat
from opx.core.base.time import HOUR, MINUTE, SECOND, Ms, Window
from opx.engine.ports import Telemetry
from opx.testing.contracts.telemetry import AT, points, series
from opx.testing.memory import MemoryTelemetry

Row: TypeAlias = tuple[int, Ms, float]
Values: TypeAlias = list[float | None]
Found: TypeAlias = dict[tuple[tuple[str, str], ...], Values]

SERIES = (series(0, "x", k="a"), series(1, "y", k="a"), series(2, k="b"), series(3))
LABELS = (
    {"k": "a", "environment": "prod", "service": "orders", "resource": "x"},
    {"k": "a", "environment": "prod", "service": "orders", "resource": "y"},
    {"k": "b", "environment": "prod", "service": "orders"},
    {"environment": "prod", "service": "orders"},
)
EARLIER = 5 * MINUTE

# ------------------------------------------------------------------- one by one


def expected(query: MetricQuery, rows: Sequence[Row]) -> Found:
    """The values of each group. ``rows``: in ms since ``AT``."""
    start, end = query.window.start, query.window.end
    starts = range(start, end, query.step)
    held: dict[tuple[tuple[str, str], ...], dict[int, list[float]]] = {}
    if query.by == ():
        held[()] = defaultdict(list)
    for sid, labels in enumerate(LABELS):
        if any(labels.get(name, "") != value for name, value in query.labels.items()):
            continue
        if any(not re.fullmatch(p, labels.get(name, "")) for name, p in query.matching.items()):
            continue
        names = sorted(labels) if query.by is None else sorted(query.by)
        group = held.setdefault(
            tuple((name, labels.get(name, "")) for name in names), defaultdict(list)
        )
        mine = sorted((AT + at, value) for number, at, value in rows if number == sid)
        if query.stat is Stat.RATE:
            mine = grown([one for one in mine if start - EARLIER <= one[0] < end])
        for at, value in mine:
            if start <= at < end:
                group[(at - start) // query.step].append(value)
    return {
        group: [
            one(query.stat, buckets.get(n, []), (min(at + query.step, end) - at) / SECOND)
            for n, at in enumerate(starts)
        ]
        for group, buckets in sorted(held.items())
    }


def grown(counter: Sequence[tuple[Ms, float]]) -> list[tuple[Ms, float]]:
    found = []
    for (_, before), (at, now) in pairwise(counter):
        found.append((at, now - before if now >= before else now))
    return found


def one(stat: Stat, values: list[float], seconds: float) -> float | None:
    values = sorted(values)
    if stat is Stat.COUNT:
        return float(len(values))
    if stat is Stat.SUM:
        return math.fsum(values)
    if not values:
        return None
    if stat is Stat.RATE:
        return math.fsum(values) / seconds
    if stat in (Stat.MIN, Stat.MAX):
        return values[0] if stat is Stat.MIN else values[-1]
    if stat is Stat.AVG:
        return math.fsum(values) / len(values)
    place = {Stat.P50: 0.5, Stat.P95: 0.95, Stat.P99: 0.99}[stat] * (len(values) - 1)
    low = values[math.floor(place)]
    return low + (place - math.floor(place)) * (values[math.ceil(place)] - low)


def same(found: Found, wanted: Found) -> bool:
    return list(found) == list(wanted) and all(
        (a is None and b is None)
        or (a is not None and b is not None and math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9))
        for group, row in wanted.items()
        for a, b in zip(found[group], row, strict=True)
    )


# ------------------------------------------------------------------- what is told and asked

instants = st.builds(
    lambda hour, minute, rest: hour * HOUR + minute * MINUTE + rest,
    st.sampled_from([-1, 0, 0, 7]),
    st.sampled_from([0, 1, 57, 59]),
    st.sampled_from([0, 1, 30_000, 59_999]),
)
told = st.lists(
    st.tuples(st.integers(0, 3), instants, st.integers(-3, 20).map(float)), min_size=1, max_size=20
)
AFTER = (["flush"], ["flush", "tidy"], ["flush", "tidy", "restart"], [])
parts = st.lists(st.tuples(told, st.sampled_from(AFTER)), min_size=1, max_size=5)
windows = st.builds(
    lambda start, span: Window(AT + start, AT + start + span),
    st.sampled_from([0, 0, -HOUR, 2 * MINUTE, 7 * HOUR, 1]),
    st.sampled_from([7 * HOUR, 8 * HOUR + 90 * SECOND, 2 * HOUR, MINUTE]),
)
asked = st.builds(
    MetricQuery,
    metric=st.just("latency_ms"),
    labels=st.sampled_from([{}, {}, {}, {"k": "a"}, {"k": ""}, {"resource": "y"}]),
    matching=st.sampled_from([{}, {}, {}, {"k": "a|b"}, {"k": "b?"}]),
    by=st.sampled_from([(), ("k",), ("k", "resource"), None]),
    window=windows,
    step=st.sampled_from([HOUR, 90 * MINUTE, 10 * MINUTE, 17 * MINUTE + 1]),
    stat=st.just(Stat.COUNT),
)


@contextmanager
def small() -> Iterator[None]:
    """Merge early, into tiny files, and let go of what was replaced at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merging, "MERGE_AT", 2)
        patch.setattr(merging, "FAN_IN", 2)
        patch.setattr(merging, "SMALLEST", 2)
        patch.setattr(merging, "PIECE", 4)
        patch.setattr(lake, "CLEAN_EVERY", 3)
        patch.setattr(delta, "KEEP_HOURS", 0)
        yield


async def answers(
    telemetry: Telemetry,
    again: Callable[[], Telemetry],
    parts: Sequence[tuple[list[Row], list[str]]],
    queries: Sequence[MetricQuery],
) -> None:
    """Of each part, add the points and do what comes after, then ask for every statistic; a
    restart is told everything again, as by the log."""
    commits: list[list[Row]] = []
    for rows, after in parts:
        commits.append(rows)
        telemetry.add(len(commits), SERIES, points(*rows))
        for step in after:
            if step == "flush":
                await telemetry.flush()
            elif step == "tidy":
                while await telemetry.tidy():
                    pass
            else:
                await telemetry.close()
                telemetry = again()
                for seq, earlier in enumerate(commits, 1):
                    telemetry.add(seq, SERIES, points(*earlier))
        for query in (replace(one, stat=stat) for one in queries for stat in Stat):
            found = await telemetry.query(query)
            got = {
                tuple(one.labels.items()): [bucket.value for bucket in one.buckets]
                for one in found.results
            }
            wanted = expected(query, [row for rows in commits for row in rows])
            assert same(got, wanted), (rows, after, query, got, wanted)
    await telemetry.close()


@settings(max_examples=40)
@given(parts=parts, queries=st.lists(asked, min_size=1, max_size=2))
def test_the_fake_answers_as_going_through_all_points_does(
    parts: list[tuple[list[Row], list[str]]], queries: list[MetricQuery]
) -> None:
    """Any statistic, grouping, window and step; the fake's memory is its disk."""
    parts = [(rows, [step for step in after if step != "restart"]) for rows, after in parts]
    asyncio.run(answers(MemoryTelemetry(), MemoryTelemetry, parts, queries))


@settings(max_examples=40)
@given(parts=parts, queries=st.lists(asked, min_size=1, max_size=2))
def test_the_lake_answers_as_going_through_all_points_does(
    parts: list[tuple[list[Row], list[str]]], queries: list[MetricQuery]
) -> None:
    """From memory, from disk, from what was merged, by roll-ups, and after a restart."""

    async def main(folder: Path) -> None:
        await answers(Lake(folder), lambda: Lake(folder), parts, queries)

    with tempfile.TemporaryDirectory() as folder, small():
        asyncio.run(main(Path(folder)))
