# SPDX-License-Identifier: Apache-2.0

"""One service of the playground: ``python -m opx.playground.service NAME --config FILE``.

Serves its paths by calling the next service, ``/health`` about itself only, ``/metrics``
in Prometheus' text form, and writes a JSON line to standard output for each request. Each
start leaves a line in ``starts/NAME``, so that repairs are counted by what was repaired.
It must never know that opx exists.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from opx.playground import layout, wire
from opx.playground.layout import Layout
from opx.playground.wire import Reply

CALL_WITHIN_S = 0.8
"""For the next service; a user waits 1 s in all."""
WORK_EVERY_S = 0.5
MAX_QUEUE = 1_000


@dataclass(slots=True)
class Service:
    """Its counters and, for the store, the jobs that wait in it."""

    name: str
    layout: Layout
    requests: int = 0
    errors: int = 0
    seconds: float = 0.0
    queue: int = 0

    async def handle(self, path: str) -> Reply:
        if path == "/health":
            return Reply(200, '{"status": "ok"}')
        if path == "/metrics":
            return Reply(200, self.exposition(), "text/plain; version=0.0.4")
        if path not in layout.ROUTES[self.name]:
            return Reply(404)
        began = time.perf_counter()
        status = await self.serve(path)
        took = time.perf_counter() - began
        self.requests += 1
        self.errors += status != 200
        self.seconds += took
        say(self.name, "request", path=path, status=status, ms=round(took * 1000, 1))
        return Reply(status, json.dumps({"service": self.name, "status": status}))

    async def serve(self, path: str) -> int:
        """The status of one piece of the shop's work."""
        step = layout.ROUTES[self.name][path]
        if step is None:
            change = 1 if path == "/put" else -1
            self.queue = min(max(self.queue + change, 0), MAX_QUEUE)
            return 200
        service, there = step
        return await wire.ask(self.layout.ports[service], there, CALL_WITHIN_S)

    def exposition(self) -> str:
        label = f'{{service="{self.name}"}}'
        return (
            "# TYPE playground_requests_total counter\n"
            f"playground_requests_total{label} {self.requests}\n"
            "# TYPE playground_errors_total counter\n"
            f"playground_errors_total{label} {self.errors}\n"
            "# TYPE playground_request_seconds summary\n"
            f"playground_request_seconds_sum{label} {self.seconds:.6f}\n"
            f"playground_request_seconds_count{label} {self.requests}\n"
            "# TYPE playground_queue gauge\n"
            f"playground_queue{label} {self.queue}\n"
        )

    async def work(self) -> None:
        """What the worker does of its own accord: take a job, and another."""
        while True:
            await self.serve("/work")
            await asyncio.sleep(WORK_EVERY_S)


def say(service: str, event: str, **fields: object) -> None:
    line = {"at": time.time_ns() // 1_000_000, "service": service, "event": event, **fields}
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


async def run(name: str, where: Layout) -> None:
    """Serve until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    service = Service(name, where)
    server = await wire.serve(where.ports[name], service.handle)
    say(name, "started", pid=os.getpid())
    working = asyncio.create_task(service.work()) if name == "worker" else None
    await stop.wait()
    if working is not None:
        working.cancel()
    server.close()
    say(name, "stopped")


def main() -> None:
    parser = argparse.ArgumentParser(prog="opx.playground.service")
    parser.add_argument("name", choices=layout.SERVICES)
    parser.add_argument("--config", type=Path, required=True, help="playground.json")
    given = parser.parse_args()
    where = layout.load(given.config.parent)
    with where.starts(given.name).open("a") as starts:
        starts.write(f"{time.time_ns() // 1_000_000} {os.getpid()}\n")
    asyncio.run(run(given.name, where))


if __name__ == "__main__":
    main()
