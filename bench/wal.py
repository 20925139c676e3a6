# SPDX-License-Identifier: Apache-2.0

"""What the write-ahead log and the lake take: points a second, acknowledged once on disk.

``python bench/wal.py [SECONDS]``. Sixteen clients in one process append while a second
process tails, keeps and flushes every two seconds, as ``front`` and ``brain`` do; no HTTP,
no parsing, no detection. ``behind``: commits not read yet when the clients stop.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from opx.adapters.stores.lake import Lake
from opx.adapters.stores.wal import WalAppender, WalTail
from opx.adapters.system import SystemClock
from opx.core.ingest.signals import Identity, MetricBatch, Series
from opx.engine.ports import Batch
from opx.errors import Unavailable

CLIENTS = 16
SERIES = 1_000


async def front(folder: Path, size: int, seconds: float) -> None:
    appender = WalAppender(folder / "wal", SystemClock())
    who = Identity("bench", "bench")
    defined = tuple(
        Series(sid=sid, metric="m", labels={"n": str(sid)}, identity=who) for sid in range(SERIES)
    )
    await appender.append(Batch(series=defined))
    while not (folder / "read").exists():
        await asyncio.sleep(0.01)
    took: list[float] = []
    until = time.perf_counter() + seconds

    async def client(number: int) -> None:
        sid = (np.arange(size, dtype=np.int32) + number * 61) % SERIES
        while (began := time.perf_counter()) < until:
            at = np.full(size, time.time_ns() // 1_000_000, dtype=np.int64)
            points = MetricBatch(sid=sid, at=at, value=at * 0.5)
            last.append(await appender.append(Batch(points=points)))
            took.append(time.perf_counter() - began)

    last: list[int] = []
    await asyncio.gather(*(client(number) for number in range(CLIENTS)))
    read = int((folder / "read").read_text() or 0)
    await appender.close()
    took.sort()
    print(
        f"{size:5d} points: {len(took) * size / seconds:11,.0f} points/s"
        f" {len(took) / seconds:8,.0f} requests/s"
        f"  p50 {took[len(took) // 2] * 1000:5.1f} ms"
        f"  p99 {took[len(took) * 99 // 100] * 1000:5.1f} ms"
        f"  {max(last) / seconds:6,.0f} commits/s  behind {max(last) - read}"
    )


async def brain(folder: Path) -> None:
    tail, lake = WalTail(folder / "wal"), Lake(folder / "telemetry")
    after, flushed = 0, time.monotonic()
    flushing: asyncio.Task[int] | None = None
    while not (folder / "stop").exists():
        chunks = tail.read(after, 256)
        for chunk in chunks:
            try:
                lake.add(chunk.seq, chunk.series, chunk.points)
            except Unavailable:  # memory is full: the log waits, which is what it is for
                await asyncio.sleep(0.02)
                break
            after = chunk.seq
        (folder / "read").write_text(str(after))
        if time.monotonic() - flushed > 2 and (flushing is None or flushing.done()):
            flushed, flushing = time.monotonic(), asyncio.create_task(lake.flush())
        await asyncio.sleep(0 if chunks else 0.02)
    if flushing is not None:
        await flushing
    await lake.close()


def main(seconds: float) -> None:
    for size in (1, 100, 1000):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            with subprocess.Popen([sys.executable, __file__, "brain", name]):
                asyncio.run(front(folder, size, seconds))
                (folder / "stop").touch()


if __name__ == "__main__":
    if sys.argv[1:2] == ["brain"]:
        asyncio.run(brain(Path(sys.argv[2])))
    else:
        main(float((sys.argv[1:] or ["5"])[0]))
