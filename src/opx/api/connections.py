# SPDX-License-Identifier: Apache-2.0

"""What one connection may cost: uvicorn's protocol with a clock for everything it waits for,
and an end to everything it keeps.

Beneath every request. A client that is slow to say what it wants, to send it, or to take the
answer is cut off, and so is one that never comes to the end of what it wants; when as many are
connected as are served at once, the next ones are told to come back. It must never look at
what a request says.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import resource

from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from opx.api import problems

MOST = 1_000
"""Connections served at once. As many again are told 503; what comes beyond is cut."""
HEAD_S = 10.0
"""From the first byte of a request, or from connecting, to the end of its head."""
MOST_HEAD = 64 << 10
"""Bytes of a request's head, or of what follows its body; the parser keeps them whole. What
came with the end of something else is not counted: as much again at most."""
BODY_S = 60.0
"""From there to the end of its body: 4 MiB at 70 kB/s."""
TAKING_S = 30.0
"""How long a client may take nothing of what waits for it."""


class Connection(HttpToolsProtocol):
    """``sweep`` must be called about once a second. A connection is waited for until ``_due``,
    and to take what was written until ``_taken_by``; infinity is for ever."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._head = 0  # bytes that came since the last which the parser handed on
        self._due = self.loop.time() + HEAD_S
        self._taken_by = math.inf
        if len(self.connections) > 2 * MOST:
            transport.abort()
        elif len(self.connections) > MOST:
            self.app = _busy

    def data_received(self, data: bytes) -> None:
        while data and not self.transport.is_closing():
            # Never fed more than is left: the parser copies all it has whenever more comes.
            part, data = data[: MOST_HEAD - self._head], data[MOST_HEAD - self._head :]
            self._head += len(part)
            super().data_received(part)
            if self._head >= MOST_HEAD:
                self._refuse_head()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._due = self.loop.time() + HEAD_S

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self._head = 0
        self._due = self.loop.time() + BODY_S

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        self._head = 0

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._head = 0
        self._due = self._next() if self.cycle.response_complete else math.inf

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self.cycle.more_body:
            self._due = self._next()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._taken_by = self.loop.time() + TAKING_S

    def resume_writing(self) -> None:
        super().resume_writing()
        self._taken_by = math.inf

    def sweep(self) -> None:
        """Cut the connection if its time is over."""
        now = self.loop.time()
        if self.transport.is_closing():  # what is left is waited for, though not for ever
            self._taken_by = min(self._taken_by, now + TAKING_S)
        if min(self._due, self._taken_by) <= now:
            self.transport.abort()

    def _refuse_head(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self.transport.write(_too_long())
            self.transport.close()
        else:  # another answer is on its way
            self.transport.abort()

    def _next(self) -> float:
        """Bytes that begin no request stop uvicorn's own clock for idle connections."""
        return self.loop.time() + self.timeout_keep_alive + HEAD_S


def _too_long() -> bytes:
    """A 431 as it goes over the wire: of half a head no request is made."""
    what, headers = f"a request's head has at most {MOST_HEAD} bytes", {"Connection": "close"}
    answer = problems.problem(431, "head_too_long", what, headers=headers)
    lines = [b"%s: %s\r\n" % header for header in answer.raw_headers]
    status = b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    return b"".join((status, *lines, b"\r\n", answer.body))


def raise_file_limit() -> None:
    """As many open files as this process may have: each connection is one."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def _busy(scope: Scope, receive: Receive, send: Send) -> None:
    headers = {"Retry-After": str(problems.RETRY_AFTER_S), "Connection": "close"}
    what = f"{MOST} connections are open already"
    await problems.problem(503, "busy", what, headers=headers)(scope, receive, send)
