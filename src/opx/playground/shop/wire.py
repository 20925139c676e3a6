# SPDX-License-Identifier: Apache-2.0

"""The least of HTTP that the playground's own processes need: one request, one reply.

Used by the services and the load generator, on loopback only. Standard library alone, so
that a service starts in a tenth of a second, and protocols instead of streams, which cost
half as much. It must never be used for anything that faces a user of opx.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

LOOPBACK = "127.0.0.1"
PATIENCE_S = 5.0
"""How long a connection may take to say what it wants."""
LONGEST_HEAD = 65_536

REASONS = {
    200: "OK",
    404: "Not Found",
    500: "Internal Server Error",
    502: "Bad Gateway",
    504: "Gateway Timeout",
}


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    body: str = ""
    kind: str = "application/json"


Handler = Callable[[str], Awaitable[Reply]]
"""Path in, reply out."""


class _Connection(asyncio.Protocol):
    """One request to a server; what talks nonsense is cut off, for there is nobody to tell."""

    def __init__(self, handler: Handler, at_work: set[asyncio.Task[None]]) -> None:
        self._handler, self._at_work = handler, at_work
        self._head = b""
        self._transport: asyncio.Transport | None = None
        self._patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._patience = asyncio.get_running_loop().call_later(PATIENCE_S, transport.abort)

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        if self._patience is None:  # it has been asked already
            return
        self._head += data
        if b"\r\n\r\n" in self._head:
            self._patience.cancel()
            self._patience = None
            task = asyncio.create_task(self._answer(self._transport))
            self._at_work.add(task)
            task.add_done_callback(self._at_work.discard)
        elif len(self._head) > LONGEST_HEAD:
            self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        if self._patience is not None:
            self._patience.cancel()

    async def _answer(self, transport: asyncio.Transport) -> None:
        reply = await self._handler(_path(self._head))
        if not transport.is_closing():
            transport.write(_encode(reply))
            transport.close()


async def serve(port: int, handler: Handler) -> asyncio.Server:
    """Listen on loopback until the server is closed."""
    at_work: set[asyncio.Task[None]] = set()
    loop = asyncio.get_running_loop()
    return await loop.create_server(lambda: _Connection(handler, at_work), LOOPBACK, port)


class _Asking(asyncio.Protocol):
    """One request by a client; ``status`` comes with the first line."""

    def __init__(self, path: str, status: asyncio.Future[int]) -> None:
        self._path, self._status = path, status
        self._head = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(f"GET {self._path} HTTP/1.1\r\nHost: {LOOPBACK}\r\n\r\n".encode())

    def data_received(self, data: bytes) -> None:
        self._head += data
        if b"\r\n" in self._head and not self._status.done():
            self._status.set_result(_status(self._head))

    def connection_lost(self, error: Exception | None) -> None:
        if not self._status.done():
            self._status.set_result(502)


async def ask(port: int, path: str, within_s: float) -> int:
    """GET ``path``: the status, 502 when nobody listens, 504 when no answer came in time."""
    loop = asyncio.get_running_loop()
    status: asyncio.Future[int] = loop.create_future()
    transport: asyncio.Transport | None = None
    try:
        async with asyncio.timeout(within_s):
            transport, _ = await loop.create_connection(
                lambda: _Asking(path, status), LOOPBACK, port
            )
            return await status
    except TimeoutError:
        return 504
    except OSError:
        return 502
    finally:
        if transport is not None:
            transport.close()


def _path(head: bytes) -> str:
    words = head.split(b" ", 2)
    return words[1].decode("latin-1").partition("?")[0] if len(words) == 3 else ""


def _status(line: bytes) -> int:
    words = line.split(b" ", 2)
    return int(words[1]) if len(words) > 1 and words[1].isdigit() else 502


def _encode(reply: Reply) -> bytes:
    body = reply.body.encode()
    head = (
        f"HTTP/1.1 {reply.status} {REASONS.get(reply.status, 'Unknown')}\r\n"
        f"Content-Type: {reply.kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
