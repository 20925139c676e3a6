# SPDX-License-Identifier: Apache-2.0

"""A crash at any moment of flushing, merging and letting go of what was merged."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.adapters.stores.disk import Disk, Left, watched

from opx.adapters.stores import lake
from opx.adapters.stores.lake import Lake
from opx.adapters.stores.telemetry import delta, merging
from opx.core.base.reads import Stat
from opx.core.base.time import DAY, HOUR, MINUTE
from opx.testing.contracts.telemetry import ask, points, series

COMMITS = 4
TOLD = [series(0, "x", a="b"), series(1, "y", a="b")]


def tell(telemetry: Lake, seq: int) -> None:
    """Commit n is a point of value n for each of two series, one of them of the day before."""
    rows = points((0, seq * MINUTE, float(seq)), (1, seq - DAY, float(seq)))
    telemetry.add(seq, TOLD, rows)


async def is_right(telemetry: Lake, through: int) -> None:
    """Each point of the first ``through`` commits is there, once: by the point, and by what
    they amount to in an hour or a minute."""
    together = through * (through + 1) / 2
    assert await ask(telemetry, Stat.SUM, -DAY, DAY, DAY) == [together, together]
    assert await ask(telemetry, Stat.COUNT, 0, 7 * HOUR, 7 * HOUR) == [through]
    assert await ask(telemetry, Stat.SUM, 0, 10 * MINUTE, MINUTE) == [
        float(n) if n <= through else 0.0 for n in range(10)
    ]
    (rate,) = await ask(telemetry, Stat.RATE, 0, 7 * HOUR, 7 * HOUR)
    assert rate == (through - 1) / (7 * 3600)


async def come_back(folder: Path, kept: int) -> None:
    """Start again on what is left: what was said to be kept is there; the log tells the rest;
    all is right, and stays so when the interrupted work is done and one more day has passed."""
    telemetry = Lake(folder)
    assert telemetry.committed() >= kept
    for seq in range(kept + 1, COMMITS + 1):
        tell(telemetry, seq)
    await is_right(telemetry, COMMITS)
    await telemetry.flush()
    while await telemetry.tidy():
        pass
    await is_right(telemetry, COMMITS)
    await telemetry.close()
    telemetry = Lake(folder)
    assert telemetry.committed() == COMMITS
    await is_right(telemetry, COMMITS)
    await telemetry.close()


@pytest.fixture(autouse=True)
def early(monkeypatch: pytest.MonkeyPatch) -> None:
    """Merge three flushes, into files of two points; let go of what is not needed at once."""
    monkeypatch.setattr(merging, "MERGE_AT", 3)
    monkeypatch.setattr(merging, "PIECE", 2)
    monkeypatch.setattr(merging, "FAN_IN", 2)
    monkeypatch.setattr(lake, "CLEAN_EVERY", 2)
    monkeypatch.setattr(delta, "KEEP_HOURS", 0)
    monkeypatch.setitem(delta._CONFIGURATION, "delta.logRetentionDuration", "interval 0 seconds")


def content(folder: Path) -> frozenset[tuple[Path, bytes | None]]:
    """All that is in it, by which it starts again the same as any other of the same content."""
    return frozenset(
        (path.relative_to(folder), path.read_bytes() if path.is_file() else None)
        for path in folder.rglob("*")
    )


def test_nothing_is_lost_or_doubled_by_a_crash_at_any_sync(tmp_path: Path) -> None:
    """Just before each time that something is brought to disk, and at the end, by a kill and by
    power cuts: what was kept by then is there after a restart, once, merged or not, and upkeep
    goes on. Crashes that leave the same and have kept the same are one."""
    left: dict[tuple[frozenset[tuple[Path, bytes | None]], int], Path] = {}
    crashes = 0

    async def work() -> None:
        telemetry = Lake(tmp_path / "live")

        def crash(disk: Disk) -> None:
            nonlocal crashes
            for kind in Left:
                crashes += 1
                place = tmp_path / f"crash-{crashes}"
                disk.leave(kind, place)
                left.setdefault((content(place), telemetry.committed()), place)

        with watched(tmp_path / "live", crash) as disk:
            for seq in range(1, COMMITS + 1):
                tell(telemetry, seq)
                await telemetry.flush()
                if seq >= 3:
                    while await telemetry.tidy():
                        pass
            crash(disk)
        await is_right(telemetry, COMMITS)
        await telemetry.close()

    asyncio.run(work())
    places = left.values()
    merged = [place for place in places if list(place.glob("points/day=*/merged-*"))]
    cleaned = [place for place in places if list(place.glob("points/*/*.checkpoint.parquet"))]
    assert crashes > 150
    assert len(merged) > 20
    assert len(cleaned) > 5
    for (_, kept), place in left.items():
        asyncio.run(come_back(place, kept))
