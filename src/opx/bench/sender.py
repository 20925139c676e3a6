# SPDX-License-Identifier: Apache-2.0

"""The sender: ``python -m opx.bench.sender`` posts telemetry as fast as it is answered.

A process of its own, as a client is. It shares the machine with what it measures, so it is
as cheap as can be: bytes that are filled in, keep-alive connections, a parser that knows
the few answers there are. Reads a ``Plan`` as JSON from standard input, writes a ``Sent``
to standard output. It counts an item only when its request was answered with 2xx.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from array import array
from collections import Counter
from collections.abc import Iterator
from typing import cast

import msgspec
import uvloop

from opx.bench.figures import share

SERVICES = 20
PAUSE_S = 0.02
"""Before the next try, when nobody listens."""
_ALERT = (
    b'{"labels":{"alertname":"HighLatency","severity":"warning","service":"shop-%02d",'
    b'"instance":"i-%09d"},"annotations":{"summary":"p99 latency is above 500 ms"}}'
)
_POINT = (
    b'{"metric":"request_seconds","value":%d.5,"labels":{"service":"shop-%02d","path":"/%02d"}}'
)


class Plan(msgspec.Struct, kw_only=True):
    """``wire``: ``alerts`` or ``metrics``. ``batch``: items in a request. ``rate``: items a
    second over all connections, 0 is as many as are answered. ``tokens``: taken in turn,
    because each has a quota of its own."""

    port: int
    tokens: list[str]
    wire: str = "alerts"
    batch: int = 1
    connections: int = 8
    seconds: float = 10.0
    rate: int = 0


class Sent(msgspec.Struct, kw_only=True):
    """``accepted``: items. ``refused``: requests by status, 0 is a lost connection. ``began``
    and ``ended`` (the last acknowledgement): epoch ms. ``p50_ms`` and ``p99_ms``: of requests,
    from when they were due: at a rate nobody is spared because the one before took long."""

    accepted: int
    refused: dict[int, int]
    began: int
    ended: int
    p50_ms: float
    p99_ms: float

    @property
    def rate(self) -> float:
        """Items a second."""
        return self.accepted / max(0.001, (self.ended - self.began) / 1000)


class Connection(asyncio.Protocol):
    """One keep-alive connection, one request at a time; made anew when it was lost."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[int] | None = None
        self._data = b""

    async def ask(self, request: bytes) -> int:
        """The answer's status; 0 when the connection cannot be made or is lost before it."""
        loop = asyncio.get_running_loop()
        try:
            if self._transport is None:
                await loop.create_connection(lambda: self, "127.0.0.1", self._port)
        except OSError:
            await asyncio.sleep(PAUSE_S)
            return 0
        self._answer = loop.create_future()
        if self._transport is not None:
            self._transport.write(request)
            return await self._answer
        return 0

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is not one by name
        self._data = b""

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, found, body = self._data.partition(b"\r\n\r\n")
        if found and len(body) >= _length(head):
            self._data = b""
            self._tell(int(head[9:12]))

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._tell(0)

    def _tell(self, status: int) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(status)


def request(port: int, path: str, token: str, body: bytes) -> bytes:
    """A whole POST of JSON."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def bodies(wire: str, batch: int) -> Iterator[bytes]:
    """Bodies without end: alerts that are all different, points of a thousand series."""
    first = 0
    while True:
        numbers = range(first, first + batch)
        if wire == "alerts":
            items = [_ALERT % (n % SERVICES, n) for n in numbers]
        else:
            items = [_POINT % (n % 100, n % SERVICES, n // SERVICES % 50) for n in numbers]
        yield b"[%b]" % b",".join(items)
        first += batch


class _Sending:
    """What the connections have in common while they send. ``over``: SIGTERM has come."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.path = "/api/v2/alerts" if plan.wire == "alerts" else "/metrics"
        self.bodies = bodies(plan.wire, plan.batch)
        self.took = array("d")
        self.accepted = 0
        self.refused: Counter[int] = Counter()
        self.ended = _now()
        self.over = False

    async def send(self, number: int) -> None:
        """One connection's share, until time is up."""
        plan, token = self.plan, self.plan.tokens[number % len(self.plan.tokens)]
        pause = plan.batch * plan.connections / plan.rate if plan.rate else 0.0
        begin = time.perf_counter() + pause * number / plan.connections
        after, sent = 0.0, 0  # counted and not added up: a sum of pauses has their errors in it
        connection = Connection(plan.port)
        while after < plan.seconds and not self.over:
            due = begin + after
            if due > time.perf_counter():
                await asyncio.sleep(due - time.perf_counter())
            body = request(plan.port, self.path, token, next(self.bodies))
            # What is late is sent late, and has waited since it was due.
            self._count(await connection.ask(body), due)
            sent += 1
            after = sent * pause if pause else time.perf_counter() - begin
        connection.close()

    def stop(self) -> None:
        self.over = True

    def _count(self, status: int, due: float) -> None:
        if 200 <= status < 300:
            self.took.append(time.perf_counter() - due)
            self.accepted += self.plan.batch
            self.ended = _now()
        else:
            self.refused[status] += 1


async def send(plan: Plan) -> Sent:
    """Carry out the plan."""
    sending, began = _Sending(plan), _now()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, sending.stop)
    await asyncio.gather(*(sending.send(number) for number in range(plan.connections)))
    took = sorted(sending.took)
    return Sent(
        accepted=sending.accepted,
        refused=dict(sending.refused),
        began=began,
        ended=sending.ended,
        p50_ms=round(share(took, 0.5) * 1000, 2),
        p99_ms=round(share(took, 0.99) * 1000, 2),
    )


def _length(head: bytes) -> int:
    _, _, rest = head.lower().partition(b"\r\ncontent-length:")
    return int(rest.split(b"\r\n", 1)[0] or 0)


def _now() -> int:
    return time.time_ns() // 1_000_000


def main() -> None:
    plan = msgspec.json.decode(sys.stdin.buffer.read(), type=Plan)
    sent = uvloop.run(send(plan))
    sys.stdout.buffer.write(msgspec.json.encode(sent))


if __name__ == "__main__":
    main()
