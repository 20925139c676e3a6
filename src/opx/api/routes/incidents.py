# SPDX-License-Identifier: Apache-2.0

"""Incidents over HTTP: the list, one whole, why opx decided so, and what people say of it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import Field
from starlette.responses import JSONResponse

from opx.api.wire import Body, Key, Reader, TheFront, Version, answer, needs
from opx.core.decide.roles import Permission
from opx.core.incident.incident import Status
from opx.core.learn.outcome import OutcomeKind
from opx.engine import queries
from opx.engine.access import Principal
from opx.engine.people import Ask

router = APIRouter(tags=["incidents"])

Acknowledger = Annotated[Principal, Depends(needs(Permission.ACKNOWLEDGE))]
Recorder = Annotated[Principal, Depends(needs(Permission.RECORD_OUTCOME))]


class OutcomeBody(Body):
    """What the incident really was."""

    kind: OutcomeKind
    cause: str = Field("", max_length=2_000)
    fixed_by: str = Field("", max_length=2_000)
    note: str = Field("", max_length=10_000)


@router.get("/incidents")
async def listed(
    front: TheFront,
    by: Reader,
    status: Annotated[list[Status], Query()] = [],  # noqa: B006
    service: Annotated[str, Query(max_length=200)] = "",
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str, Query(max_length=500)] = "",
) -> JSONResponse:
    """Incidents, newest first; `next` is the cursor of the next page."""
    page = await front.store.read(lambda tx: queries.incidents(tx, status, service, limit, cursor))
    return answer({"items": page.items, "next": page.next})


@router.get("/incidents/{id}")
async def one(
    front: TheFront, by: Reader, id: str, before: Annotated[int, Query(ge=0, lt=1 << 62)] = 0
) -> JSONResponse:
    """One incident with its insight, runs, approvals, outcomes and timeline. A prefix of the
    id will do while it is the only one that begins so. `ETag` is the incident's version.
    The timeline is its newest part; `older` is the `before` of what precedes it."""
    found = await front.store.read(lambda tx: queries.incident(tx, id, before))
    return answer(found, etag=found["version"])


@router.get("/incidents/{id}/why")
async def why(front: TheFront, by: Reader, id: str) -> JSONResponse:
    """Every decision about it: each guard's answer, its reason, and what would change it."""
    return answer({"items": await front.store.read(lambda tx: queries.decisions(tx, id))})


@router.get("/runs")
async def runs(
    front: TheFront, by: Reader, incident: Annotated[str, Query(max_length=100)]
) -> JSONResponse:
    """The runs of an incident, with the orders each gave."""
    return answer({"items": await front.store.read(lambda tx: queries.runs(tx, incident))})


@router.post("/incidents/{id}/acknowledge")
async def acknowledge(
    front: TheFront, by: Acknowledger, id: str, version: Version, key: Key = ""
) -> JSONResponse:
    """Take it on: from now on opx asks before it acts on it."""
    return answer(await front.people.acknowledge(Ask(by=by, key=key, version=version), id))


@router.post("/incidents/{id}/outcome", status_code=201)
async def outcome(
    front: TheFront, by: Recorder, id: str, body: OutcomeBody, version: Version, key: Key = ""
) -> JSONResponse:
    """Say what it really was. Added to what was said before, never instead of it."""
    ask = Ask(by=by, key=key, version=version)
    return answer(await front.people.outcome(ask, id, body.model_dump(mode="json")), 201)
