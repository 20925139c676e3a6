# SPDX-License-Identifier: Apache-2.0

"""What the write-ahead log does when it is cut, damaged, starved or killed."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from opx.adapters.stores.wal import WalAppender, WalTail, format, segments
from opx.core.base.time import HOUR
from opx.core.ingest.signals import Series, Tick
from opx.engine.ports import Batch, Chunk
from opx.errors import Conflict, Damaged, TooLarge, Unavailable
from opx.testing.contracts import log as contract
from opx.testing.memory import ManualClock

CHILD = Path(__file__).with_name("log_child.py")


def payload(at: int, series: tuple[Series, ...] = ()) -> bytes:
    return format.commit(series, [], [format.encode_items((Tick(at),))])


def written(folder: Path, count: int, segment_bytes: int = 64 << 20) -> list[int]:
    """Write commits 1 to ``count``, each a tick and a series; return where each one ends."""
    writer = segments.Writer(folder, 0, segment_bytes)
    ends = []
    for at in range(1, count + 1):
        series = (contract.series(at),)
        writer.write(at, series, payload(at, series))
        ends.append(segments.listed(folder)[-1].path.stat().st_size)
    writer.close()
    return ends


def ticks(folder: Path, after: int = 0) -> list[int]:
    tail = WalTail(folder)
    try:
        return [item.at for chunk in tail.read(after, 1000) for item in chunk.items]  # type: ignore[union-attr]
    finally:
        tail.close()


def test_a_log_cut_anywhere_keeps_every_whole_commit(tmp_path: Path) -> None:
    """Cut at any byte of its last two frames, a log reads up to the cut, says what it
    dropped, and goes on with a new seq that readers find."""
    whole = tmp_path / "whole"
    ends = written(whole, 4)
    (name,) = [segment.path.name for segment in segments.listed(whole)]
    for cut in range(ends[1], ends[3]):
        folder = tmp_path / str(cut)
        shutil.copytree(whole, folder)
        os.truncate(folder / name, cut)
        kept = [at for at, end in enumerate(ends, 1) if end <= cut]
        tail = WalTail(folder)
        assert [chunk.seq for chunk in tail.read(0, 10)] == kept

        writer = segments.Writer(folder, 0)
        torn = writer.torn
        assert (torn.size if torn else 0) == cut - ends[kept[-1] - 1]
        assert list(writer.series_log.series) == kept
        went_on = writer.write(99, (), payload(99))
        writer.close()

        assert went_on == kept[-1] + segments.GAP + 1
        assert [chunk.seq for chunk in tail.read(kept[-1], 10)] == [went_on]
        assert ticks(folder) == [*kept, 99]
        tail.close()
        shutil.rmtree(folder)


def test_a_series_log_cut_anywhere_is_mended(tmp_path: Path) -> None:
    """A definition whose commit never came to be does not count, however much of it is there."""
    whole = tmp_path / "whole"
    written(whole, 2)
    size = (whole / segments.SERIES).stat().st_size
    (segment,) = segments.listed(whole)
    first = format.whole(memoryview(segment.path.read_bytes()), 0)
    assert first is not None
    os.truncate(segment.path, first.end)
    for cut in range(size // 2, size + 1):
        os.truncate(whole / segments.SERIES, cut)
        folder = tmp_path / str(cut)
        shutil.copytree(whole, folder)
        os.truncate(folder / segments.SERIES, min(cut, size))

        writer = segments.Writer(folder, 0)
        assert list(writer.series_log.series) == [1]
        other = Series(sid=2, metric="other", labels={}, identity=contract.series(2).identity)
        writer.write(3, (other,), payload(3, (other,)))
        writer.close()

        assert WalTail(folder).series() == [contract.series(1), other]


@pytest.mark.parametrize("segment_bytes", [1, 64 << 20], ids=["an older segment", "the newest"])
def test_a_flipped_byte_is_damage(segment_bytes: int, tmp_path: Path) -> None:
    """Any changed byte of a commit that others follow is refused by both ends, never skipped,
    with the file and the place."""
    ends = written(tmp_path, 3, segment_bytes)
    place = segments.listed(tmp_path)[1 if segment_bytes == 1 else 0].path
    start, end = (0, ends[1]) if segment_bytes == 1 else (ends[0], ends[1])
    good = place.read_bytes()
    for at in range(start, end):
        place.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        tail = WalTail(tmp_path)
        assert [chunk.seq for chunk in tail.read(0, 1)] == [1]
        with pytest.raises(Damaged, match=f"{place.name} is damaged at byte {start}"):
            tail.read(1, 10)
        tail.close()
        if segment_bytes > 1:
            with pytest.raises(Damaged, match=f"{place.name} is damaged at byte {start}"):
                segments.Writer(tmp_path, 0)


def test_a_flipped_last_byte_is_a_torn_end(tmp_path: Path) -> None:
    """Nobody can tell a damaged last frame from a torn one: it is cut off and reported."""
    ends = written(tmp_path, 2)
    (segment,) = segments.listed(tmp_path)
    data = bytearray(segment.path.read_bytes())
    data[-1] ^= 1
    segment.path.write_bytes(data)

    writer = segments.Writer(tmp_path, 0)
    assert writer.torn == segments.Torn(segment.path, ends[0], ends[1] - ends[0])
    writer.close()
    assert ticks(tmp_path) == [1]


def test_a_reader_waits_for_a_frame_on_its_way(tmp_path: Path) -> None:
    """A frame that is half there is read once it is whole, also when another took its place."""
    ends = written(tmp_path, 2)
    (segment,) = segments.listed(tmp_path)
    data = segment.path.read_bytes()
    tail = WalTail(tmp_path)
    for cut in (ends[0], ends[0] + 10, ends[0] + 40, ends[1] - 1):
        segment.path.write_bytes(data[:cut])
        assert [chunk.seq for chunk in tail.read(0, 10)] == [1]
        assert tail.read(1, 10) == []

    segment.path.write_bytes(data[: ends[0]] + format.frame(5, 5, payload(5)))
    assert [chunk.seq for chunk in tail.read(1, 10)] == [5]
    tail.close()


def test_the_log_never_reuses_a_seq_that_others_have_seen(tmp_path: Path) -> None:
    """A log that may have lost its end goes on well beyond what anybody can have read."""
    written(tmp_path, 2)
    writer = segments.Writer(tmp_path, 7)
    assert writer.write(8, (), payload(8)) == 7 + segments.GAP + 1
    assert writer.write(9, (), payload(9)) == 7 + segments.GAP + 2
    writer.close()

    writer = segments.Writer(tmp_path, 3)
    assert writer.last == 7 + 2 * segments.GAP + 2
    writer.close()
    assert ticks(tmp_path) == [1, 2, 8, 9]
    assert ticks(tmp_path, after=7) == [8, 9]


def test_only_one_may_append(tmp_path: Path) -> None:
    """A second appender is refused while the first lives, and not after."""

    async def main() -> None:
        first = WalAppender(tmp_path, ManualClock())
        with pytest.raises(Conflict):
            WalAppender(tmp_path, ManualClock())
        await first.close()
        await WalAppender(tmp_path, ManualClock()).close()

    asyncio.run(main())


def test_a_number_means_one_series_for_ever(tmp_path: Path) -> None:
    """Another series under a known sid is refused, with whatever came along."""

    async def main() -> None:
        appender = WalAppender(tmp_path, ManualClock())
        await appender.append(Batch(series=(contract.series(0),)))
        other = Series(sid=0, metric="other", labels={}, identity=contract.series(0).identity)
        with pytest.raises(Conflict):
            await appender.append(Batch(series=(other,), items=(Tick(1),)))
        huge = Series(sid=1 << 30, metric="m", labels={}, identity=other.identity)
        with pytest.raises(TooLarge):
            await appender.append(Batch(series=(huge,)))
        await appender.close()

    asyncio.run(main())
    assert ticks(tmp_path) == []


def test_what_drop_takes_is_whole_segments(tmp_path: Path) -> None:
    """Segments that end at or before the seq go, the one that holds the next stays."""
    written(tmp_path, 5, segment_bytes=1)
    tail = WalTail(tmp_path)
    assert [chunk.seq for chunk in tail.read(0, 1)] == [1]
    tail.drop(3)

    assert [segment.first for segment in segments.listed(tmp_path)] == [4, 5]
    assert [chunk.seq for chunk in tail.read(1, 10)] == [4, 5]
    tail.drop(100)
    assert [segment.first for segment in segments.listed(tmp_path)] == [5]
    writer = segments.Writer(tmp_path, 0)
    assert writer.last == 5 + segments.GAP
    assert sorted(writer.series_log.series) == [1, 2, 3, 4, 5]
    writer.close()
    tail.close()


def test_a_large_commit_is_read_whole(tmp_path: Path) -> None:
    """A frame larger than what is read at once, between two small ones."""
    size = 250_000

    async def main() -> list[Chunk]:
        appender = WalAppender(tmp_path, ManualClock())
        tail = WalTail(tmp_path)
        await appender.append(Batch(series=(contract.series(0),), points=contract.points([0])))
        await appender.append(Batch(points=contract.points([0] * size)))
        await appender.append(Batch(points=contract.points([0, 0])))
        await appender.close()
        chunks = tail.read(0, 10)
        tail.close()
        return chunks

    chunks = asyncio.run(main())
    assert [len(chunk.points) for chunk in chunks if chunk.points] == [1, size, 2]
    assert chunks[1].points is not None
    assert chunks[1].points.at[-1] == contract.AT + size - 1


def test_a_full_disk_refuses_and_recovers(tmp_path: Path) -> None:
    """What does not fit is refused whole, what is refused is never read, and once there is
    room again the log goes on, for a reader that was there all along; it says so each time."""
    done = subprocess.run(
        [sys.executable, str(CHILD), "full", str(tmp_path)], capture_output=True, text=True
    )
    assert done.stderr == ""
    *answers, seen = done.stdout.splitlines()
    # 20 kB a commit: with 30 kB a file takes one and a new file the next; with 9 kB none.
    assert answers == [
        "kept 0",
        "keeping True",
        "refused 1",
        "keeping False",
        "kept 2",
        "keeping True",
        "refused 3",
        "keeping False",
        "refused 4",
        "keeping False",
        "refused 5",
        "keeping False",
        "kept 6",
        "keeping True",
        "kept 7",
        "keeping True",
    ]
    assert seen == "seen [0, 2, 6, 7]"
    tail = WalTail(tmp_path)
    chunks = tail.read(0, 100)
    assert [chunk.series[0].sid for chunk in chunks] == [0, 2, 6, 7]
    assert [one.sid for one in tail.series()] == [0, 2, 6, 7]
    assert all(segment.path.stat().st_size for segment in segments.listed(tmp_path))
    tail.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_log_whose_thread_has_died_says_so(tmp_path: Path) -> None:
    """Whatever killed it: who waited is answered, and the process can tell that it is of no
    use any more."""

    def bug(_: str) -> None:
        raise ZeroDivisionError

    async def main() -> None:
        log = WalAppender(tmp_path, ManualClock(), failpoint=bug)
        assert log.alive()
        for _ in range(2):
            with pytest.raises(Unavailable, match="closed"):
                await log.append(Batch(items=(Tick(1),)))
        log._thread.join(10)
        assert not log.alive()

    asyncio.run(main())


def test_nothing_acknowledged_is_lost_to_kill_9(tmp_path: Path) -> None:
    """Killed six times while eight clients append: every acknowledged point is there once,
    each client's in order, and every series of a point is known."""
    acknowledged: set[int] = set()
    for turn, lines in enumerate((1, 40, 333, 8, 700, 150)):
        command = [sys.executable, str(CHILD), "append", str(tmp_path), str(turn)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            heard = [child.stdout.readline() for _ in range(lines)]
            child.kill()
            heard += child.stdout.readlines()
        acknowledged |= {int(line) for line in heard if line.endswith(b"\n")}

    tail = WalTail(tmp_path)
    found: list[tuple[int, int]] = []
    after = 0
    while chunks := tail.read(after, 100):
        after = chunks[-1].seq
        found += [(sid, int(value)) for sid, _, value in contract.rows(chunks)]
    known = {one.sid for one in tail.series()}
    tail.close()

    values = [value for _, value in found]
    by_client = defaultdict(list)
    for sid, value in found:
        by_client[sid].append(value)
    assert len(acknowledged) > 1000
    assert acknowledged <= set(values)
    assert len(values) == len(set(values))
    assert all(mine == sorted(mine) for mine in by_client.values())
    assert set(by_client) <= known


def test_news_of_a_log_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    """And it is heard of each commit once the folder is there."""

    async def main() -> None:
        tail = WalTail(tmp_path / "wal")
        assert tail.read(0, 10) == []
        await tail.changed(within=1)
        assert tail.read(0, 10) == []
        appender = WalAppender(tmp_path / "wal", ManualClock())
        for after in range(3):
            await appender.append(Batch(items=(Tick(1),)))
            async with asyncio.timeout(20):
                while not (chunks := tail.read(after, 10)):
                    await tail.changed(within=HOUR)
            assert [chunk.seq for chunk in chunks] == [after + 1]
            assert tail.read(after + 1, 10) == []
        await appender.close()
        tail.close()

    asyncio.run(main())
