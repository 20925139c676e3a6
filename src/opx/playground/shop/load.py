# SPDX-License-Identifier: Apache-2.0

"""The users: ``python -m opx.playground.shop.load --port P --to FILE``.

Asks the gateway for each path in turn at a small steady rate, whether or not earlier
requests have come back, and writes for each what came of it: an answer that comes late is
no good one. SIGUSR1 lets many more come for a while, SIGUSR2 ends that. Its file is the
judge's only source, and opx is never given it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from opx.playground import layout
from opx.playground.shop import wire

RATE = 8
"""Requests a second, over all paths."""
SPIKE = 4
"""So many times as many come in a spike."""
SPIKE_S = 10.0
"""How long a spike lasts."""
TIMEOUT_MS = 1_000
"""A user's patience."""
LATE_MS = 600
"""An answer that takes longer hurts, good as it may be."""


@dataclass(slots=True)
class Users:
    """``spike_until``: by the loop's clock, when the spike is over."""

    port: int
    out: TextIO
    rate: int
    spike_until: float = 0.0
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Until it is stopped. A beat that was missed is skipped, not caught up on."""
        loop = asyncio.get_running_loop()
        paths = tuple(layout.ROUTES[layout.ENTRANCE])
        under_way: set[asyncio.Task[None]] = set()
        turn, due = 0, loop.time()
        while not self.stop.is_set():
            task = asyncio.create_task(self.request(paths[turn % len(paths)]))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
            rate = self.rate * SPIKE if loop.time() < self.spike_until else self.rate
            turn, due = turn + 1, max(due + 1 / rate, loop.time())
            await asyncio.sleep(due - loop.time())
        await asyncio.gather(*under_way)

    async def request(self, path: str) -> None:
        """One user's request; the line is written when it has ended, however it did."""
        at = time.time_ns() // 1_000_000
        began = time.perf_counter()
        status = await wire.ask(self.port, path, TIMEOUT_MS / 1000)
        took = round((time.perf_counter() - began) * 1000, 1)
        ok = status == 200 and took <= LATE_MS
        line = {"at": at, "path": path, "ok": ok, "status": status, "ms": took}
        self.out.write(json.dumps(line) + "\n")
        self.out.flush()

    def many(self) -> None:
        self.spike_until = asyncio.get_running_loop().time() + SPIKE_S

    def few(self) -> None:
        self.spike_until = 0.0


async def run(port: int, to: Path, rate: int) -> None:
    """Until SIGTERM."""
    loop = asyncio.get_running_loop()
    with to.open("a") as out:
        users = Users(port=port, out=out, rate=rate)
        loop.add_signal_handler(signal.SIGTERM, users.stop.set)
        loop.add_signal_handler(signal.SIGUSR1, users.many)
        loop.add_signal_handler(signal.SIGUSR2, users.few)
        await users.run()


def main() -> None:
    parser = argparse.ArgumentParser(prog="opx.playground.shop.load")
    parser.add_argument("--port", type=int, required=True, help="the gateway's")
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--rate", type=int, default=RATE)
    given = parser.parse_args()
    asyncio.run(run(given.port, given.to, given.rate))


if __name__ == "__main__":
    main()
