# SPDX-License-Identifier: Apache-2.0

"""What the tests of the log run as a process of its own, to kill it or to starve it.

``append FOLDER TURN``: eight clients append for ever; each line of output is a value that
was acknowledged. ``full FOLDER``: append while files may not grow, then while they may.
"""

from __future__ import annotations

import asyncio
import os
import resource
import sys
from pathlib import Path

from opx.adapters.stores.wal import WalAppender, WalTail
from opx.adapters.system import SystemClock
from opx.core.ingest.signals import MetricBatch
from opx.engine.ports import Batch
from opx.errors import Unavailable
from opx.testing.contracts import log as contract

CLIENTS = 8
LIMITS = (1 << 20, 30_000, 30_000, 30_000, 9_000, 9_000, 1 << 20, 1 << 20)
"""How large a file may be at each append of 20 kB."""


def say(text: object) -> None:
    os.write(1, f"{text}\n".encode())


def valued(sid: int, values: list[float]) -> MetricBatch:
    batch = contract.points([sid] * len(values))
    batch.value[:] = values
    return batch


async def append(folder: Path, turn: int) -> None:
    """The values of client c in turn t are t * 1e6 + c * 1e5 + 0, 1, 2, ..."""
    appender = WalAppender(folder, SystemClock())

    async def client(number: int) -> None:
        sid = turn * CLIENTS + number
        for count in range(100_000):
            value = turn * 1_000_000 + number * 100_000 + count
            batch = Batch(
                series=(contract.series(sid),) if count == 0 else (), points=valued(sid, [value])
            )
            await appender.append(batch)
            say(value)

    await asyncio.gather(*(client(number) for number in range(CLIENTS)))


async def full(folder: Path) -> None:
    """Say what was acknowledged, what was refused, and what a reader saw meanwhile."""
    appender = WalAppender(folder, SystemClock())
    tail = WalTail(folder)
    seen: list[float] = []
    after = 0
    for number, most in enumerate(
        (1 << 20, 30_000, 30_000, 30_000, 9_000, 9_000, 1 << 20, 1 << 20)
    ):
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))
        batch = Batch(
            series=(contract.series(number),), points=valued(number, [float(number)] * 1000)
        )
        try:
            await appender.append(batch)
        except Unavailable:
            say(f"refused {number}")
        else:
            say(f"kept {number}")
        say(f"keeping {appender.keeping()}")
        for chunk in tail.read(after, 10):
            after = chunk.seq
            assert chunk.points is not None
            seen += {float(value) for value in chunk.points.value}
    await appender.close()
    say(f"seen {[int(value) for value in seen]}")


if __name__ == "__main__":
    verb, folder, *turn = sys.argv[1:]
    asyncio.run(append(Path(folder), int(turn[0])) if verb == "append" else full(Path(folder)))
