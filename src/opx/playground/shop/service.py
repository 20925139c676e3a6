# SPDX-License-Identifier: Apache-2.0

"""One service of the playground: ``python -m opx.playground.shop.service NAME FILE``.

``FILE`` is ``playground.json``. It serves its paths by calling the next service, ``/health``
about itself only and ``/metrics`` in Prometheus' text form, and writes JSON lines to standard
output. Each start leaves a line in ``starts/NAME``, so that repairs are counted by what was
repaired. It reads its configuration and its release once, and does not start without them.
SIGUSR1 makes it slow until SIGUSR2, or its end. It must never know that opx exists.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from opx.playground import layout
from opx.playground.layout import Layout
from opx.playground.shop import files, wire
from opx.playground.shop.files import Config, Release
from opx.playground.shop.wire import Reply

WORK_EVERY_S = 0.5
MAX_QUEUE = 1_000
SLOW_S = 0.7
"""What it takes longer while it is slow: less than callers wait, more than users like to."""
REFUSES = 3
"""What it ends with when it does not start."""


@dataclass(slots=True)
class Service:
    """Its counters and, for the store, the jobs that wait in it.

    ``errors``: its own. ``upstream``: what it could not do because the next one could not.
    ``good``, ``seconds``: how many answers were good, and what those took together.
    """

    name: str
    layout: Layout
    config: Config
    release: Release
    requests: int = 0
    errors: int = 0
    upstream: int = 0
    good: int = 0
    seconds: float = 0.0
    queue: int = 0
    slow: bool = False

    async def handle(self, path: str) -> Reply:
        if path == "/health":
            return Reply(200, '{"status": "ok"}')
        if path == "/metrics":
            return Reply(200, self.exposition(), "text/plain; version=0.0.4")
        if path not in layout.ROUTES[self.name]:
            return Reply(404)
        began = time.perf_counter()
        status = await self.serve(path)
        self.requests += 1
        if status == 200:
            self.good += 1
            self.seconds += time.perf_counter() - began
        return Reply(status, json.dumps({"service": self.name, "status": status}))

    async def serve(self, path: str) -> int:
        """The status of one piece of the shop's work: 500 is its own fault, 502 and 504 are
        not."""
        if self.slow:
            await asyncio.sleep(SLOW_S)
        if path in self.release.fails:
            self.errors += 1
            self.say("error", f"{path} failed in release {self.release.name}: no price found")
            return 500
        step = layout.ROUTES[self.name][path]
        if step is None:
            change = 1 if path == "/put" else -1
            self.queue = min(max(self.queue + change, 0), MAX_QUEUE)
            return 200
        service, there = step
        status = await wire.ask(self.layout.ports[service], there, self.config.timeout_ms / 1000)
        if status == 200:
            return 200
        self.upstream += 1
        self.say("warning", f"{path} failed because {service} answered {status}")
        return 504 if status == 504 else 502

    def exposition(self) -> str:
        label = f'{{environment="{layout.ENVIRONMENT}",service="{self.name}"}}'
        return (
            "# TYPE playground_requests_total counter\n"
            f"playground_requests_total{label} {self.requests}\n"
            "# TYPE playground_errors_total counter\n"
            f"playground_errors_total{label} {self.errors}\n"
            "# TYPE playground_upstream_errors_total counter\n"
            f"playground_upstream_errors_total{label} {self.upstream}\n"
            "# TYPE playground_request_seconds summary\n"
            f"playground_request_seconds_sum{label} {self.seconds:.6f}\n"
            f"playground_request_seconds_count{label} {self.good}\n"
            "# TYPE playground_queue gauge\n"
            f"playground_queue{label} {self.queue}\n"
        )

    async def work(self) -> None:
        """What the worker does of its own accord: take a job, and another."""
        while True:
            await self.handle("/work")
            await asyncio.sleep(WORK_EVERY_S)

    def say(self, level: str, message: str) -> None:
        say(self.name, level, message)


def say(service: str, level: str, message: str) -> None:
    line = {
        "timestamp": time.time_ns() // 1_000_000,
        "level": level,
        "message": message,
        "labels": {"service": service, "environment": layout.ENVIRONMENT},
    }
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


async def run(service: Service) -> None:
    """Serve until SIGTERM."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGUSR1, setattr, service, "slow", True)
    loop.add_signal_handler(signal.SIGUSR2, setattr, service, "slow", False)
    server = await wire.serve(service.layout.ports[service.name], service.handle)
    service.say("info", f"started with release {service.release.name}, pid {os.getpid()}")
    working = asyncio.create_task(service.work()) if service.name == "worker" else None
    await stop.wait()
    if working is not None:
        working.cancel()
    server.close()
    service.say("info", "stopped")


def begin(name: str, where: Layout) -> Service:
    """The service, ready to run. ``files.Refused``: it must not."""
    if where.cursed(name).exists():
        raise files.Refused("the disk that it needs is gone")
    return Service(name, where, files.config(where, name), files.release(where, name))


def main() -> None:
    name, file = sys.argv[1:]  # nothing that reads arguments better: a start is to be short
    where = layout.load(Path(file).parent)
    with where.starts(name).open("a") as starts:
        starts.write(f"{time.time_ns() // 1_000_000} {os.getpid()}\n")
    try:
        service = begin(name, where)
    except files.Refused as error:
        say(name, "fatal", f"refuses to start: {error}")
        sys.exit(REFUSES)
    asyncio.run(run(service))


if __name__ == "__main__":
    main()
