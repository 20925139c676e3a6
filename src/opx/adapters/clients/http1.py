# SPDX-License-Identifier: Apache-2.0

"""One small HTTP/1.1 request on a connection of its own, for probes and for supervisord.

A probe is asked many times a second for ever, so it must cost little: the connection is
asyncio's, the parser is httptools', and the answer is bounded. It follows no redirect,
keeps no cookie, knows no proxy and sets no timeout: its caller does. What needs more than
that (webhooks) uses httpx.
"""

from __future__ import annotations

import asyncio
import functools
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

import httptools

from opx.adapters.clients import dial

MOST = 64 * 1024
"""Bytes of an answer that are read; the rest is left unread."""
PRINTABLE = re.compile(r"[!-~]+")


@dataclass(frozen=True, slots=True)
class Reply:
    """``body`` is at most ``most`` bytes long, and may have been longer."""

    status: int
    body: bytes


class ClosedEarly(ConnectionError):
    """It closed the connection before it had answered."""


class NotHttp(ConnectionError):
    """It answered something that is not HTTP."""


class _Answer:
    """What httptools tells while it parses: the first final answer, and nothing after it."""

    def __init__(self) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.status = 0
        self.ended = False
        self.body = bytearray()

    def on_headers_complete(self) -> None:
        if self.status < 200:  # 1xx only announces
            self.status = self.parser.get_status_code()

    def on_body(self, data: bytes) -> None:
        if not self.ended:
            self.body += data

    def on_message_complete(self) -> None:
        self.ended = self.status >= 200


async def request(
    method: str,
    url: str,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    most: int = MOST,
    socket: str = "",
) -> Reply:
    """Ask ``http[s]://host[:port]/path``; ``socket``: through that Unix socket.

    ``ValueError``: the URL is not one. ``Refused``: it leads where opx does not ask.
    ``OSError``: no connection, ``ClosedEarly``, ``NotHttp``. A body that ends too early or
    never is cut, not an error.
    """
    streams = await _connect(checked(url), socket)
    return await exchange(streams, method, url, body, headers, most)


async def exchange(
    streams: dial.Streams,
    method: str,
    url: str,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    most: int = MOST,
) -> Reply:
    """``request`` on a connection that was made for it, which is closed."""
    parts = checked(url)
    length = {"Content-Length": str(len(body))} if body else {}
    head = _head(method, parts, {**length, **(headers or {})})
    reader, writer = streams
    try:
        writer.write(head + body)
        return await _read(reader, most)
    finally:
        writer.close()


async def _connect(
    parts: SplitResult, socket: str
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if socket:
        return await asyncio.open_unix_connection(socket)
    secure = parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    return await dial.connect(parts.hostname or "", port, tls() if secure else None)


@functools.cache
def tls() -> ssl.SSLContext:
    """Made once: reading the system's certificates takes a while."""
    return ssl.create_default_context()


def checked(url: str) -> SplitResult:
    """The parts of a URL that can be asked. ``ValueError``: it cannot."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        raise ValueError("an http or https URL without a login is expected")
    if not PRINTABLE.fullmatch(_target(parts)) or not PRINTABLE.fullmatch(parts.netloc):
        raise ValueError("the URL has characters that must be escaped")
    return parts


def _target(parts: SplitResult) -> str:
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _head(method: str, parts: SplitResult, headers: Mapping[str, str]) -> bytes:
    lines = [f"{method} {_target(parts)} HTTP/1.1", f"Host: {parts.netloc}", "User-Agent: opx"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines += ["Accept: */*", "Connection: close", "", ""]
    return "\r\n".join(lines).encode("ascii")


async def _read(reader: asyncio.StreamReader, most: int) -> Reply:
    answer = _Answer()
    total = 0
    while not answer.ended and total < most:
        data = await reader.read(most - total)
        if not data:
            break
        total += len(data)
        try:
            answer.parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            raise NotHttp("answered something that is not HTTP") from error
    if answer.status < 200:
        raise ClosedEarly("closed the connection before it had answered")
    return Reply(answer.status, bytes(answer.body))
