# SPDX-License-Identifier: Apache-2.0

"""The witness: ``python -m opx.bench.crash.numbered`` sends numbered items and keeps books.

Alerts, events and points, each number once, so that afterwards it can be said of each
whether it is there, and how often. What was not acknowledged is sent again where a sender
would (alerts, events) until it is; a point never is, for nothing tells it from another.
Reads a ``Plan`` from standard input, works until SIGTERM, writes ``Books`` to standard
output. It must never call acknowledged what was not answered with 2xx.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Callable

import msgspec
import uvloop

from opx.bench.sender import PAUSE_S, Connection, request
from opx.core.base.time import Ms

SERVICE = "numbered"
METRIC = "numbered"
EVERY_S = 0.08
ALERTS, EVENTS, POINTS = 4, 2, 20
"""Items in a request."""


class Plan(msgspec.Struct, kw_only=True):
    """``base``: when point 0 was measured; point n is n ms later, so that each is alone in
    its bucket."""

    port: int
    token: str
    base: Ms


class Books(msgspec.Struct, kw_only=True):
    """Numbers by kind: ``acked``, and ``open``, which may be there or not. ``tries``:
    requests that were not answered with 2xx."""

    acked: dict[str, list[int]]
    open: dict[str, list[int]]
    tries: int = 0


def alerts(numbers: range, base: Ms) -> object:
    return [
        {"labels": {"alertname": "Numbered", "number": str(n), "service": SERVICE}} for n in numbers
    ]


def events(numbers: range, base: Ms) -> object:
    return [
        {
            "specversion": "1.0",
            "id": str(n),
            "source": "bench",
            "type": "bench.numbered",
            "subject": str(n),
            "service": SERVICE,
            "severity": "sev4",
        }
        for n in numbers
    ]


def points(numbers: range, base: Ms) -> object:
    return [
        {"metric": METRIC, "value": n, "timestamp": base + n, "labels": {"service": SERVICE}}
        for n in numbers
    ]


class _Kind:
    """One kind of item, on a connection of its own."""

    def __init__(
        self, path: str, size: int, make: Callable[[range, Ms], object], again: bool
    ) -> None:
        self.path, self.size, self.make, self.again = path, size, make, again
        self.acked: list[int] = []
        self.open: list[int] = []
        self.tries = 0

    async def send(self, plan: Plan, stop: asyncio.Event) -> None:
        """Batch after batch, until told to stop."""
        connection, first = Connection(plan.port), 0
        while not stop.is_set():
            numbers = range(first, first + self.size)
            body = json.dumps(self.make(numbers, plan.base)).encode()
            posted = request(plan.port, self.path, plan.token, body)
            good = await self._post(connection, posted, stop)
            (self.acked if good else self.open).extend(numbers)
            first += self.size
            await asyncio.sleep(EVERY_S)
        connection.close()

    async def _post(self, connection: Connection, posted: bytes, stop: asyncio.Event) -> bool:
        while True:
            if 200 <= await connection.ask(posted) < 300:
                return True
            self.tries += 1
            if not self.again or stop.is_set():
                return False
            await asyncio.sleep(PAUSE_S)


async def work(plan: Plan) -> Books:
    """Until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    kinds = {
        "alert": _Kind("/api/v2/alerts", ALERTS, alerts, True),
        "event": _Kind("/events", EVENTS, events, True),
        "point": _Kind("/metrics", POINTS, points, False),
    }
    await asyncio.gather(*(kind.send(plan, stop) for kind in kinds.values()))
    return Books(
        acked={name: kind.acked for name, kind in kinds.items()},
        open={name: kind.open for name, kind in kinds.items()},
        tries=sum(kind.tries for kind in kinds.values()),
    )


def main() -> None:
    plan = msgspec.json.decode(sys.stdin.buffer.read(), type=Plan)
    books = uvloop.run(work(plan))
    sys.stdout.buffer.write(msgspec.json.encode(books))


if __name__ == "__main__":
    main()
