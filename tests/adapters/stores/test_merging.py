# SPDX-License-Identifier: Apache-2.0

"""Which files are merged, by what they hold alone."""

from __future__ import annotations

from opx.adapters.stores.telemetry import merging
from opx.adapters.stores.telemetry.delta import Stored
from opx.adapters.stores.telemetry.merging import FAN_IN, MERGE_AT, PIECE

DAY = "2026-01-01"


def fresh(number: int, rows: int = 100, day: str = DAY) -> Stored:
    """A flush: it holds something of every series."""
    path = f"/t/points/day={day}/part-{number}.parquet"
    return Stored(day=day, path=path, rows=rows, sids=(0, 99), times=(0, 1), rolled=False)


def merged(merge: str, rows: int, sids: tuple[int, int] = (0, 99), number: int = 0) -> Stored:
    path = f"/t/points/day={DAY}/merged-{merge}-{number}.parquet"
    return Stored(day=DAY, path=path, rows=rows, sids=sids, times=(0, 1), rolled=True)


def plan(*stored: Stored, over: bool = False) -> set[str]:
    return {one.path for one in merging.plan(stored, {DAY} if over else ())}


def paths(*stored: Stored) -> set[str]:
    return {one.path for one in stored}


def test_flushes_of_a_growing_day_wait_until_they_are_many_or_large() -> None:
    """59 small ones wait, 60 do not; nor do two that make a file together."""
    many = [fresh(number) for number in range(MERGE_AT)]
    assert plan(*many[1:]) == set()
    assert plan(*many) == paths(*many)
    large = fresh(1, PIECE // 2), fresh(2, PIECE // 2)
    assert plan(large[0]) == set()
    assert plan(*large) == paths(*large)


def test_merged_files_wait_for_as_many_of_their_size() -> None:
    """Eight of about one size become one; others stay, and so does what is large enough."""
    some = [merged(f"m{number}", 10_000 + number) for number in range(FAN_IN)]
    other, large = merged("other", 900_000), merged("large", PIECE)
    assert plan(*some[1:], other, large) == set()
    assert plan(*some, other, large) == paths(*some)


def test_a_day_that_is_over_is_merged_whole() -> None:
    """Whatever holds the same series, be it two files; files of one merge are left alone, and
    so are those with series of their own."""
    first, second = merged("a", 5_000), merged("b", 4_000)
    assert plan(first, second) == set()
    assert plan(first, second, over=True) == paths(first, second)
    assert plan(fresh(1), over=True) == paths(fresh(1))
    parts = [merged("c", 5_000, (n * 50, n * 50 + 50), n) for n in range(2)]
    assert plan(*parts, over=True) == set()
    apart = merged("d", 5_000, (0, 49)), merged("e", 5_000, (50, 99))
    assert plan(*apart, over=True) == set()


def test_a_few_late_points_do_not_have_a_day_written_again() -> None:
    """Less than one in 64 waits, until there are so many flushes that they are merged among
    themselves; one in 64 is worth it."""
    day = merged("day", 6_400)
    assert plan(day, fresh(1, 99), over=True) == set()
    assert plan(day, fresh(1, 100), over=True) == paths(day, fresh(1, 100))
    trickle = [fresh(number, 1) for number in range(MERGE_AT)]
    assert plan(day, *trickle, over=True) == paths(*trickle)
    assert plan(day, merged("late", 60), over=True) == set()


def test_one_day_at_a_time_the_oldest_first() -> None:
    """Files of two days are never merged."""
    yesterday = [fresh(number, day="2025-12-31") for number in range(MERGE_AT)]
    today = [fresh(number) for number in range(MERGE_AT)]
    assert plan(*today, *yesterday) == paths(*yesterday)
