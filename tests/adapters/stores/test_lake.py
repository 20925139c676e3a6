# SPDX-License-Identifier: Apache-2.0

"""What the lake does across restarts, power cuts, failing disks and compactions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from opx.adapters.stores import lake
from opx.adapters.stores.lake import Lake
from opx.adapters.stores.telemetry import merging, reading
from opx.core.base.reads import Stat
from opx.core.base.time import DAY, HOUR, SECOND
from opx.core.ingest.signals import MetricBatch
from opx.errors import Conflict, Damaged, TooLarge, Unavailable
from opx.testing.contracts.telemetry import AT, ask, points, series


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Lake]:
    telemetry = Lake(folder)
    try:
        yield telemetry
    finally:
        await telemetry.close()


def tell(telemetry: Lake, through: int) -> None:
    """What ``brain`` does at start: everything the log holds, from its beginning. Commit n
    is one point of value 2**n."""
    for seq in range(1, through + 1):
        telemetry.add(seq, [series(0, a="b")], points((0, seq, 2.0**seq)))


async def total(telemetry: Lake) -> float | None:
    (value,) = await ask(telemetry, Stat.SUM, 0, 1000)
    return value


def entries(folder: Path) -> list[Path]:
    return sorted((folder / "points" / "_delta_log").glob("*.json"))


def test_a_replay_adds_nothing_twice(tmp_path: Path) -> None:
    """A crash after the table's commit and before anybody noted it: the log is told again
    from its beginning, and each point is there once."""

    async def main() -> None:
        async with opened(tmp_path) as telemetry:
            tell(telemetry, 2)
            await telemetry.flush()
            tell(telemetry, 3)  # never flushed: lost with the process
        async with opened(tmp_path) as telemetry:
            assert telemetry.committed() == 2
            assert await total(telemetry) == 2 + 4
            tell(telemetry, 4)
            assert await total(telemetry) == 2 + 4 + 8 + 16
            assert await telemetry.flush() == 4
        async with opened(tmp_path) as telemetry:
            assert telemetry.committed() == 4
            assert await total(telemetry) == 2 + 4 + 8 + 16

    asyncio.run(main())


def test_series_outlive_the_log_they_came_with(tmp_path: Path) -> None:
    """A series that came without points is known after a restart that tells nothing again."""

    async def main() -> None:
        async with opened(tmp_path) as telemetry:
            telemetry.add(1, [series(0, a="b"), series(1, "other", a="b")], None)
            assert await telemetry.flush() == 1
        async with opened(tmp_path) as telemetry:
            telemetry.add(2, [], points((0, 0, 1.0), (1, 0, 2.0)))
            assert await total(telemetry) == 3.0

    asyncio.run(main())


@pytest.mark.parametrize("part", ["nothing", "half"])
@pytest.mark.parametrize("what", ["the entry", "the data"])
def test_a_commit_that_a_power_cut_left_torn_is_told_again(
    what: str, part: str, tmp_path: Path
) -> None:
    """The newest entry of the table's log, or the file it names, is empty or half there: it
    counts as never made, and the write-ahead log fills the gap."""

    async def main() -> None:
        async with opened(tmp_path) as telemetry:
            tell(telemetry, 1)
            await telemetry.flush()
            before = set(tmp_path.rglob("*.parquet"))
            tell(telemetry, 2)
            await telemetry.flush()
            (data,) = set(tmp_path.rglob("*.parquet")) - before
        torn = entries(tmp_path)[-1] if what == "the entry" else data
        torn.write_bytes(torn.read_bytes()[: torn.stat().st_size // 2 if part == "half" else 0])

        async with opened(tmp_path) as telemetry:
            assert telemetry.committed() == 1
            tell(telemetry, 3)
            assert await telemetry.flush() == 3
            assert await total(telemetry) == 2 + 4 + 8
        async with opened(tmp_path) as telemetry:
            assert telemetry.committed() == 3
            assert await total(telemetry) == 2 + 4 + 8

    asyncio.run(main())


def test_a_torn_first_entry_is_made_again(tmp_path: Path) -> None:
    """A power cut while the table was made leaves nothing that would be in the way."""

    async def main() -> None:
        async with opened(tmp_path):
            pass
        (first,) = entries(tmp_path)
        first.write_bytes(b"")
        async with opened(tmp_path) as telemetry:
            tell(telemetry, 1)
            assert await telemetry.flush() == 1

    asyncio.run(main())


def test_a_torn_entry_beneath_a_checkpoint_is_damage(tmp_path: Path) -> None:
    """What others rest on is not dropped."""

    async def main() -> None:
        async with opened(tmp_path) as telemetry:
            tell(telemetry, 1)
            await telemetry.flush()
        newest = entries(tmp_path)[-1]
        newest.write_bytes(b"")
        newest.with_suffix(".checkpoint.parquet").touch()
        with pytest.raises(Damaged):
            Lake(tmp_path)

    asyncio.run(main())


def test_a_failed_flush_loses_nothing(tmp_path: Path) -> None:
    """While the disk refuses, points stay readable in memory; the next flush has them all."""

    async def main() -> None:
        async with opened(tmp_path) as telemetry:
            tell(telemetry, 1)
            await telemetry.flush()
            log = tmp_path / "points" / "_delta_log"
            log.rename(tmp_path / "aside")
            log.write_text("not a folder")
            tell(telemetry, 2)
            for _ in range(2):
                with pytest.raises(Unavailable):
                    await telemetry.flush()
            assert telemetry.committed() == 1
            tell(telemetry, 3)
            assert await total(telemetry) == 2 + 4 + 8
            log.unlink()
            (tmp_path / "aside").rename(log)
            assert await telemetry.flush() == 3
            assert await total(telemetry) == 2 + 4 + 8
        async with opened(tmp_path) as telemetry:
            assert telemetry.committed() == 3
            assert await total(telemetry) == 2 + 4 + 8

    asyncio.run(main())


def test_a_cancelled_flush_writes_nothing_twice(tmp_path: Path) -> None:
    """Whoever gives up waiting for a flush does not stop it; the next one knows."""

    async def main() -> None:
        async with opened(tmp_path) as telemetry:
            tell(telemetry, 2)
            flushing = asyncio.create_task(telemetry.flush())
            await asyncio.sleep(0)
            flushing.cancel()
            await asyncio.gather(flushing, return_exceptions=True)
            tell(telemetry, 3)
            assert await total(telemetry) == 2 + 4 + 8
            assert await telemetry.flush() == 3
            assert await total(telemetry) == 2 + 4 + 8

    asyncio.run(main())


def test_a_reader_sees_every_point_once_at_any_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While commits arrive, flushes go on and what was flushed is merged, a query counts
    exactly what was added before it, by the point and by the hour."""
    monkeypatch.setattr(merging, "MERGE_AT", 2)

    async def main() -> None:
        async with opened(tmp_path) as telemetry:

            async def keep(doing: Callable[[], Awaitable[object]]) -> None:
                while not done.is_set():
                    await doing()
                    await asyncio.sleep(0)

            done = asyncio.Event()
            upkeep = [asyncio.create_task(keep(one)) for one in (telemetry.flush, telemetry.tidy)]
            for seq in range(1, 101):
                telemetry.add(seq, [series(0, a="b")], points((0, seq, 1.0), (0, seq + DAY, 1.0)))
                assert await ask(telemetry, Stat.COUNT, 0, 2 * DAY, step=DAY) == [seq, seq]
                assert await ask(telemetry, Stat.COUNT, 0, SECOND) == [seq]
            done.set()
            await asyncio.gather(*upkeep)
            assert any(one.rolled for one in telemetry._view.files)

    asyncio.run(main())


async def tidied(telemetry: Lake) -> None:
    while await telemetry.tidy():
        pass


def test_a_tidied_table_is_small_and_the_same(tmp_path: Path) -> None:
    """Sixty flushes become one file; the log of the table is short again, the transaction is
    remembered, and the table opens and goes on."""
    assert merging.MERGE_AT == lake.CLEAN_EVERY == 60

    async def main() -> None:
        async with opened(tmp_path) as telemetry:
            for seq in range(1, 61):
                telemetry.add(seq, [series(0, a="b")], points((0, seq, 1.0)))
                await telemetry.flush()
                await tidied(telemetry)
                assert len(telemetry._view.files) == (seq if seq < 60 else 1)
            assert await total(telemetry) == 60
        assert list(tmp_path.rglob("_last_checkpoint"))
        async with opened(tmp_path) as telemetry:
            assert telemetry.committed() == 60
            telemetry.add(61, [], points((0, 0, 1.0)))
            await telemetry.flush()
            assert await total(telemetry) == 61

    asyncio.run(main())


def test_a_day_that_is_over_is_sorted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of one size wait for others until their day is quiet; then they become files of
    which no two hold the same series, and that stays so."""
    monkeypatch.setattr(merging, "MERGE_AT", 2)
    monkeypatch.setattr(merging, "PIECE", 2)
    monkeypatch.setattr(lake, "CLEAN_EVERY", 3)
    told = [series(sid, str(sid), a="b") for sid in range(4)]

    async def main() -> None:
        async with opened(tmp_path) as telemetry:
            for seq in range(1, 5):
                telemetry.add(seq, told, points((seq % 4, -seq, 1.0), ((seq + 1) % 4, -seq, 1.0)))
                await telemetry.flush()
                await tidied(telemetry)
            for seq in range(5, 8):
                telemetry.add(seq, [], points((0, seq, 1.0)))
                await telemetry.flush()
                await tidied(telemetry)
            over = [one for one in telemetry._view.files if one.day == "2025-12-31"]
            ranges = sorted(one.sids for one in over)
            assert sum(one.rows for one in over) == 8
            assert all(first[1] < second[0] for first, second in pairwise(ranges))
            await tidied(telemetry)
            assert [one for one in telemetry._view.files if one.day == "2025-12-31"] == over
            assert await ask(telemetry, Stat.COUNT, -SECOND, SECOND) == [8.0, 3.0]

    asyncio.run(main())


def test_a_merge_that_fails_is_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the disk refuses, what is read is what it was; then the merge is made."""
    monkeypatch.setattr(merging, "MERGE_AT", 2)

    async def main() -> None:
        async with opened(tmp_path) as telemetry:
            for seq in (1, 2):
                tell(telemetry, seq)
                await telemetry.flush()
            (tmp_path / "rolled").write_text("not a folder")
            for _ in range(2):
                with pytest.raises(Unavailable):
                    await tidied(telemetry)
            assert await total(telemetry) == 2 + 4
            (tmp_path / "rolled").unlink()
            await tidied(telemetry)
            assert [one.rolled for one in telemetry._view.files] == [True]
            assert await total(telemetry) == 2 + 4

    asyncio.run(main())


def test_what_is_forgotten_while_it_is_merged_stays_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A merge that was begun before its day was forgotten brings nothing back."""
    monkeypatch.setattr(merging, "MERGE_AT", 2)

    async def main() -> None:
        async with opened(tmp_path) as telemetry:
            for seq in (1, 2):
                tell(telemetry, seq)
                await telemetry.flush()
            assert await telemetry.tidy()
            assert await telemetry.forget(AT + DAY) == 1
            await tidied(telemetry)
            assert telemetry._view.files == ()
            assert await total(telemetry) == 0

    asyncio.run(main())


def test_more_than_can_be_read_at_once_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By what the files say they hold, before any of it is read; roll-ups make it less."""
    monkeypatch.setattr(merging, "MERGE_AT", 1)
    monkeypatch.setattr(reading, "MAX_POINTS", 50)

    async def main() -> None:
        async with opened(tmp_path) as telemetry:
            rows = points(*((0, at, 1.0) for at in range(100)))
            telemetry.add(1, [series(0, a="b")], rows)
            await telemetry.flush()
            with pytest.raises(TooLarge):
                await total(telemetry)
            with pytest.raises(TooLarge):
                await ask(telemetry, Stat.SUM, 0, DAY, step=HOUR)
            await tidied(telemetry)
            with pytest.raises(TooLarge):
                await total(telemetry)
            assert sum(filter(None, await ask(telemetry, Stat.SUM, 0, DAY, step=HOUR))) == 100

    asyncio.run(main())


@pytest.mark.parametrize("wide", [False, True], ids=["deep", "wide"])
def test_the_shape_of_a_batch_does_not_matter(wide: bool, tmp_path: Path) -> None:
    """Twenty thousand points of one series, or one of each of as many, unsorted, over three
    days: the same sum, in memory and on disk."""
    count = 20_000
    sid = np.arange(count, dtype=np.int32) if wide else np.zeros(count, np.int32)
    batch = MetricBatch(
        sid=sid[::-1].copy(),
        at=AT + np.arange(count, dtype=np.int64)[::-1] * (3 * DAY // count),
        value=np.ones(count),
    )
    known = [series(number, str(number), a="b") for number in range(count if wide else 1)]

    async def main() -> None:
        async with opened(tmp_path) as telemetry:
            telemetry.add(1, known, batch)
            for _ in range(2):
                found = await ask(telemetry, Stat.COUNT, 0, 3 * DAY, step=12 * HOUR)
                # The points stand 12,960 ms apart; 12 h hold 3,333 1/3 of them.
                assert found == [3334.0, 3333.0, 3333.0, 3334.0, 3333.0, 3333.0]
                await telemetry.flush()

    asyncio.run(main())


def test_memory_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Points that cannot be flushed are refused at a bound, and taken again after a flush."""
    monkeypatch.setattr(lake, "MAX_TAIL", 1)

    async def main() -> None:
        async with opened(tmp_path) as telemetry:
            tell(telemetry, 2)
            with pytest.raises(Unavailable):
                tell(telemetry, 3)
            await telemetry.flush()
            tell(telemetry, 3)
            assert await total(telemetry) == 2 + 4 + 8

    asyncio.run(main())


def test_one_process_at_a_time(tmp_path: Path) -> None:
    """A lake that is open is not opened again."""

    async def main() -> None:
        async with opened(tmp_path):
            with pytest.raises(Conflict):
                Lake(tmp_path)

    asyncio.run(main())
