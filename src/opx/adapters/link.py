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
from typing import Any

import msgspec

from opx.core.base.metrics import MetricAnswer, MetricQuery
from opx.core.base.time import SECOND, Ms
from opx.engine.beats.health import BrainState
from opx.errors import BadInput, ExpressionError, OpxError, TooLarge, Unavailable

LONGEST_LINE = 16 * 1024 * 1024
TIMEOUT: Ms = 30 * SECOND
ERRORS = {kind.code: kind for kind in (BadInput, ExpressionError, TooLarge, Unavailable)}
"""What brain may say instead of an answer, by its code."""


class Request(msgspec.Struct, omit_defaults=True):
    """``query`` None: only ask how brain is."""

    query: MetricQuery | None = None


class Reply(msgspec.Struct, omit_defaults=True):
    """``code``: of the error that kept brain from answering; empty when nothing did."""

    state: BrainState = BrainState()
    metrics: MetricAnswer | None = None
    code: str = ""
    error: str = ""
    hint: str = ""


class BrainServer:
    """``brain``'s end. ``query`` answers a metric query; ``state`` says how brain is."""

    def __init__(
        self,
        path: Path,
        query: Callable[[MetricQuery], Awaitable[MetricAnswer]],
        state: Callable[[], BrainState],
    ) -> None:
        self._path = path
        self._query = query
        self._state = state
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[Any] | None] = set()

    async def open(self) -> None:
        self._path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(
            self._serve, str(self._path), limit=LONGEST_LINE
        )
        self._path.chmod(0o600)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        left = [task for task in self._serving if task is not None]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        self._serving.add(task)
        try:
            with contextlib.suppress(ConnectionError, ValueError):
                async for line in reader:
                    writer.write(msgspec.json.encode(await self._answer(line)) + b"\n")
                    await writer.drain()
        finally:
            self._serving.discard(task)
            writer.close()

    async def _answer(self, line: bytes) -> Reply:
        try:
            request = msgspec.json.decode(line, type=Request)
            found = None if request.query is None else await self._query(request.query)
        except msgspec.MsgspecError as error:
            return Reply(code=BadInput.code, error=str(error))
        except OpxError as error:
            return Reply(code=error.code, error=str(error), hint=error.hint)
        return Reply(state=self._state(), metrics=found)


class BrainClient:
    """``front``'s end, and the doctor's."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._asking = asyncio.Lock()
        self._known: BrainState | None = None
        self._until = 0.0

    async def query(self, query: MetricQuery) -> MetricAnswer:
        """What telemetry holds of it. ``BadInput``, ``ExpressionError`` or ``TooLarge`` when
        brain says so, ``Unavailable`` when it does not answer or cannot."""
        found = (await self._ask(Request(query=query), TIMEOUT)).metrics
        if found is None:
            raise Unavailable("brain does not answer", hint="opx doctor")
        return found

    async def state(self) -> BrainState | None:
        """How brain is, or None when it does not answer within a second. Asked at most once a
        second, however many want to know."""
        async with self._asking:
            loop = asyncio.get_running_loop()
            if loop.time() >= self._until:
                try:
                    self._known = (await self._ask(Request(), SECOND)).state
                except Unavailable:
                    self._known = None
                self._until = loop.time() + 1.0
            return self._known

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
        if reply.code:
            raise ERRORS.get(reply.code, Unavailable)(reply.error, hint=reply.hint)
        return reply
