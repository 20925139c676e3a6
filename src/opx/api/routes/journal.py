# SPDX-License-Identifier: Apache-2.0

"""The journal over HTTP: pages, a live stream, notices, what was suppressed, and the proof of
its chain.

The stream leaves out what is about access (tokens, refusals): that takes ``AUDIT``.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse

from opx.api import access
from opx.api.front import Front
from opx.api.wire import Reader, TheFront, answer, needs, timed
from opx.core.base import canonical
from opx.core.base.time import SECOND, Ms
from opx.core.decide.roles import Permission
from opx.engine import journal, queries
from opx.engine.access import SUBJECT, Principal
from opx.engine.journal import audit
from opx.errors import BadInput, NotAllowed, Unavailable

router = APIRouter(tags=["journal"])

Auditor = Annotated[Principal, Depends(needs(Permission.AUDIT))]

MOST_STREAMS = 64
MOST_OF_ONE = 8
"""Streams of one token or session, so that nobody takes the places of all."""
AT_ONCE = 200
HEARTBEAT: Ms = 15 * SECOND


@router.get("/journal")
async def page(
    front: TheFront,
    by: Auditor,
    subject: Annotated[str, Query(max_length=400)] = "",
    after: Annotated[int | None, Query(ge=0, le=1 << 62)] = None,
    before: Annotated[int, Query(ge=0, le=1 << 62)] = 0,
    limit: Annotated[int, Query(ge=1, le=1_000)] = 200,
) -> JSONResponse:
    """The journal, newest first; `next` is the `before` of the next page. With `after`: what
    follows that entry, oldest first, and `next` is the `after` of the next page."""
    rows = await front.store.read(
        lambda tx: (
            queries.entries_before(tx, before, limit, subject)
            if after is None
            else queries.entries(tx, after, limit, subject)
        )
    )
    return answer({"items": rows, "next": rows[-1]["seq"] if len(rows) == limit else None})


@router.get("/notices")
async def notices(
    front: TheFront, by: Reader, limit: Annotated[int, Query(ge=1, le=1_000)] = 100
) -> JSONResponse:
    """What people were told, newest first, and what did not get through."""
    return answer({"items": await front.store.read(lambda tx: queries.notices(tx, limit))})


@router.get("/suppressed")
async def suppressed(
    front: TheFront,
    by: Reader,
    service: Annotated[str, Query(max_length=200)] = "",
    before: Annotated[int, Query(ge=0, le=1 << 62)] = 0,
    limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
) -> JSONResponse:
    """What was seen and changed nothing, newest first, each with the reason; `next` is the
    `before` of the next page."""
    rows = await front.store.read(lambda tx: journal.suppressed(tx, before, limit, service))
    return answer({"items": rows, "next": rows[-1]["seq"] if len(rows) == limit else None})


@router.get("/audit/verify")
async def verify(
    front: TheFront,
    by: Auditor,
    after: Annotated[int, Query(ge=0, le=1 << 62)] = 0,
    head: Annotated[str, Query(pattern="^([0-9a-f]{64})?$")] = audit.ORIGIN,
) -> JSONResponse:
    """Check some thousand entries of the journal's hash chain, and its anchors outside the
    database. `more`: go on with the report's `sealed` as `after` and its `head`; that until
    there is no more has checked the whole journal."""
    anchors, place = front.anchors(), audit.Place(after, head)
    report = await front.store.read(lambda tx: queries.verified(tx, anchors, place))
    return answer(canonical.plain(report))


@router.get(
    "/stream",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)
async def stream(
    request: Request,
    front: TheFront,
    by: Reader,
    last: Annotated[
        str, Header(alias="Last-Event-ID", max_length=20, pattern=r"^[0-9]{0,18}$")
    ] = "",
) -> StreamingResponse:
    """The journal as it grows, as server-sent events. `id` is the entry's seq: a client that
    sends the last one it saw misses nothing. Without it, the stream begins now."""
    newest = await front.store.read(queries.newest)
    after = int(last) if last else newest
    if after > newest:  # of a journal that was restored since: waiting would hide what comes
        raise BadInput("no entry has this Last-Event-ID", hint="begin anew without it")
    if front.streams[by.token] >= MOST_OF_ONE:
        raise Unavailable(f"{MOST_OF_ONE} streams of this token are open already")
    if front.streams.total() >= MOST_STREAMS:
        raise Unavailable(f"{MOST_STREAMS} streams are open already")
    events = _events(request, front, by.token, after)
    return StreamingResponse(events, media_type="text/event-stream")


async def _events(request: Request, front: Front, token: str, seq: int) -> AsyncIterator[bytes]:
    """Entries after ``seq`` until the client goes, may not read any more, or opx stops. Read
    a page at a time and only as fast as the client takes them, so a slow one costs nothing.
    The place is told at once and at every beat, so that whoever saw no entry knows it too."""
    front.streams[token] += 1
    try:
        yield f"retry: 1000\nid: {seq}\n\n".encode()
        while not front.live.closing:
            access.authorise(request, Permission.READ)
            rows = await front.store.read(partial(queries.entries, after=seq, limit=AT_ONCE))
            for row in rows:
                seq = row["seq"]
                if row["subject"] != SUBJECT:
                    data = json.dumps(timed(row), separators=(",", ":"))
                    yield f"id: {seq}\nevent: {row['kind']}\ndata: {data}\n\n".encode()
            if len(rows) < AT_ONCE:
                await front.live.news(seq, HEARTBEAT)
                yield f"id: {seq}\n\n".encode()
    except (NotAllowed, Unavailable):
        return
    finally:
        front.streams -= Counter({token: 1})  # whoever has none left is forgotten
