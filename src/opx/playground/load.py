# SPDX-License-Identifier: Apache-2.0

"""The users: ``python -m opx.playground.load --port P --to FILE``.

Asks the gateway for each path in turn at a small steady rate, whether or not earlier
requests have come back, and writes for each what came of it. Its file is the judge's only
source, and opx is never given it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import time
from pathlib import Path
from typing import TextIO

from opx.playground import layout, wire

RATE = 20
"""Requests a second, over all paths."""
TIMEOUT_MS = 1_000
"""A user's patience."""


async def request(port: int, path: str, out: TextIO) -> None:
    """One user's request; the line is written when it has ended, however it did."""
    at = time.time_ns() // 1_000_000
    began = time.perf_counter()
    status = await wire.ask(port, path, TIMEOUT_MS / 1000)
    took = round((time.perf_counter() - began) * 1000, 1)
    line = {"at": at, "path": path, "ok": status == 200, "status": status, "ms": took}
    out.write(json.dumps(line) + "\n")
    out.flush()


async def run(port: int, to: Path, rate: int) -> None:
    """Until SIGTERM. A beat that was missed is skipped, not caught up on."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    paths = tuple(layout.ROUTES[layout.ENTRANCE])
    under_way: set[asyncio.Task[None]] = set()
    with to.open("a") as out:
        turn, due = 0, loop.time()
        while not stop.is_set():
            task = asyncio.create_task(request(port, paths[turn % len(paths)], out))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
            turn, due = turn + 1, max(due + 1 / rate, loop.time())
            await asyncio.sleep(due - loop.time())
        await asyncio.gather(*under_way)


def main() -> None:
    parser = argparse.ArgumentParser(prog="opx.playground.load")
    parser.add_argument("--port", type=int, required=True, help="the gateway's")
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--rate", type=int, default=RATE)
    given = parser.parse_args()
    asyncio.run(run(given.port, given.to, given.rate))


if __name__ == "__main__":
    main()
