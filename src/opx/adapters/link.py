# SPDX-License-Identifier: Apache-2.0

"""The wire between ``front`` and ``brain``: a Unix socket in the data folder.

``front`` asks here for what is not on disk yet. One JSON request and one JSON answer a
line; the folder's 0700 is the access control. When ``brain`` is down the client says
``Unavailable``, and nobody waits longer than the time-out.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from opx.core.base.time import SECOND, Ms
from opx.engine.ports import Bucket, MetricQuery
from opx.errors import BadInput, OpxError, Unavailable

LONGEST_LINE = 16 * 1024 * 1024
TIMEOUT: Ms = 30 * SECOND


class Request(msgspec.Struct, omit_defaults=True):
    """``query`` None: only ask whether anybody is there."""

    query: MetricQuery | None = None


class Reply(msgspec.Struct, omit_defaults=True):
    """``lag_ms``: how far behind the log brain is."""

    lag_ms: int = 0
    buckets: list[Bucket] = []
    error: str = ""


class BrainServer:
    """``brain``'s end. ``query`` answers a metric query; ``lag`` tells how far behind it is."""

    def __init__(
        self,
        path: Path,
        query: Callable[[MetricQuery], Awaitable[list[Bucket]]],
        lag: Callable[[], Ms],
    ) -> None:
        self._path = path
        self._query = query
        self._lag = lag
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        self._path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(
            self._serve, str(self._path), limit=LONGEST_LINE
        )
        self._path.chmod(0o600)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, ValueError):
            async for line in reader:
                writer.write(msgspec.json.encode(await self._answer(line)) + b"\n")
                await writer.drain()
        writer.close()

    async def _answer(self, line: bytes) -> Reply:
        try:
            request = msgspec.json.decode(line, type=Request)
            buckets = [] if request.query is None else await self._query(request.query)
        except (msgspec.MsgspecError, OpxError) as error:
            return Reply(error=str(error))
        return Reply(lag_ms=self._lag(), buckets=buckets)


class BrainClient:
    """``front``'s end."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def query(self, query: MetricQuery) -> list[Bucket]:
        """The buckets of a query. ``Unavailable`` when brain does not answer."""
        return (await self._ask(Request(query=query), TIMEOUT)).buckets

    async def lag(self) -> Ms | None:
        """How far behind the log brain is, or None when it does not answer within a second."""
        try:
            return (await self._ask(Request(), SECOND)).lag_ms
        except Unavailable:
            return None

    async def _ask(self, request: Request, within: Ms) -> Reply:
        try:
            async with asyncio.timeout(within / SECOND):
                reader, writer = await asyncio.open_unix_connection(
                    str(self._path), limit=LONGEST_LINE
                )
                try:
                    writer.write(msgspec.json.encode(request) + b"\n")
                    line = await reader.readline()
                finally:
                    writer.close()
            reply = msgspec.json.decode(line, type=Reply)
        except (OSError, TimeoutError, ValueError) as error:
            raise Unavailable("brain does not answer", hint="opx doctor") from error
        if reply.error:
            raise BadInput(reply.error)
        return reply
