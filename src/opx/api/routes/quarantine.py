# SPDX-License-Identifier: Apache-2.0

"""What did not go in as it should, over HTTP: one quarantined item, sending it again, and what
came and is nobody's."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from starlette.requests import Request
from starlette.responses import JSONResponse

from opx.api.wire import Reader, TheFront, Unmatched, answer, needs
from opx.core.base import canonical
from opx.core.decide.roles import Permission
from opx.core.ingest.signals import Rejected
from opx.engine import queries
from opx.engine.access import Principal
from opx.engine.quarantine import Quarantine
from opx.errors import Unavailable

router = APIRouter(tags=["quarantine"])

Sender = Annotated[Principal, Depends(needs(Permission.INGEST))]


async def _quarantine(request: Request) -> Quarantine:
    quarantine: Quarantine | None = request.app.state.quarantine
    if quarantine is None:
        raise Unavailable("this process takes no telemetry")
    return quarantine


TheQuarantine = Annotated[Quarantine, Depends(_quarantine)]


@router.get("/quarantine/{id}")
async def item(front: TheFront, by: Reader, id: str) -> JSONResponse:
    """One item that was not taken: what is kept of it, why it was refused, and what came of
    sending it again."""
    found = await front.store.read(lambda tx: queries.find_one(tx, Rejected, id))
    return answer(canonical.plain(found))


@router.post("/quarantine/{id}/replay")
async def replay(
    by: Sender, unmatched: Unmatched, quarantine: TheQuarantine, id: str
) -> JSONResponse:
    """Send one item through its wire again, as it is read now. `result` is `accepted`, or the
    reason why it was refused once more; then it stays and can be sent again. An item that was
    taken is never taken twice, however often this is asked."""
    return answer(canonical.plain(await quarantine.replay(by, id)))


@router.get("/unmapped")
async def unmapped(
    by: Reader,
    quarantine: TheQuarantine,
    limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
) -> JSONResponse:
    """What came since `since_at` and no label names a service for, the newest first: how often,
    and the labels of the last one, by which a rule could map it. It is never joined with
    anything else. What differs in the values of its labels alone is one row; `forgotten` rows
    had to make room."""
    book = quarantine.intake.unmapped()
    rows = [canonical.plain(row) for row in book.rows()[:limit]]
    return answer({"items": rows, "since_at": book.since, "forgotten": book.forgotten})
