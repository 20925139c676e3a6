# SPDX-License-Identifier: Apache-2.0

"""The least of HTTP that the playground's own processes need: one request, one reply.

Used by the services and the load generator, on loopback only. Standard library alone, so
that a service starts in a tenth of a second. It must never be used for anything that
faces a user of opx.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

LOOPBACK = "127.0.0.1"
PATIENCE_S = 5.0
"""How long a connection may take to say what it wants."""

REASONS = {200: "OK", 404: "Not Found", 502: "Bad Gateway", 504: "Gateway Timeout"}


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    body: str = ""
    kind: str = "application/json"


Handler = Callable[[str], Awaitable[Reply]]
"""Path in, reply out."""


async def serve(port: int, handler: Handler) -> asyncio.Server:
    """Listen on loopback until the server is closed."""

    async def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                head = await reader.readuntil(b"\r\n\r\n")
            reply = await handler(_path(head))
            writer.write(_encode(reply))
            await writer.drain()
        except (TimeoutError, EOFError, asyncio.LimitOverrunError, ConnectionError):
            pass  # the other side went away or talks nonsense: there is nobody to tell
        finally:
            writer.close()

    return await asyncio.start_server(on_connection, LOOPBACK, port)


async def ask(port: int, path: str, within_s: float) -> int:
    """GET ``path``: the status, 502 when nobody listens, 504 when no answer came in time."""
    try:
        async with asyncio.timeout(within_s):
            reader, writer = await asyncio.open_connection(LOOPBACK, port)
            try:
                writer.write(f"GET {path} HTTP/1.1\r\nHost: {LOOPBACK}\r\n\r\n".encode())
                head = await reader.readuntil(b"\r\n")
            finally:
                writer.close()
    except TimeoutError:
        return 504
    except (OSError, EOFError, asyncio.LimitOverrunError):
        return 502
    return _status(head)


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
