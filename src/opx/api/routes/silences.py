# SPDX-License-Identifier: Apache-2.0

"""Silences over HTTP: what people do not want to hear of for a while."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import Field
from starlette.responses import JSONResponse

from opx.api.wire import Body, Key, Reader, TheFront, Unmatched, Version, answer, needs
from opx.core.base.time import SECOND
from opx.core.correlate.silences import LONGEST, SHORTEST
from opx.core.decide.roles import Permission
from opx.engine import queries
from opx.engine.access import Principal
from opx.engine.people import Ask
from opx.engine.people.silences import Quiet

router = APIRouter(tags=["silences"])

Operator = Annotated[Principal, Depends(needs(Permission.ACKNOWLEDGE))]


class SilenceBody(Body):
    """What it matches, exactly; empty is any, and not all three are empty. And for how long."""

    reason: str = Field(min_length=1, max_length=1_000)
    ttl_s: int = Field(ge=SHORTEST // SECOND, le=LONGEST // SECOND)
    environment: str = Field("", max_length=200)
    service: str = Field("", max_length=200)
    rule: str = Field("", max_length=200)


@router.get("/silences")
async def listed(
    front: TheFront,
    by: Reader,
    every: bool = False,
    limit: Annotated[int, Query(ge=1, le=1_000)] = 1_000,
) -> JSONResponse:
    """The silences that hold, the first to end first; with `every`, those that are over too, the
    last to end first."""
    now = front.clock.now()
    rows = await front.store.read(lambda tx: queries.silences(tx, now, every, limit))
    return answer({"items": rows})


@router.post("/silences", status_code=201)
async def add(
    front: TheFront, by: Operator, unmatched: Unmatched, body: SilenceBody, key: Key = ""
) -> JSONResponse:
    """Do not open an incident for what it matches until it ends. What was found is kept and
    listed as suppressed, and taken up then if it still fires. What is open stays open."""
    quiet = Quiet(
        reason=body.reason,
        span=body.ttl_s * SECOND,
        environment=body.environment,
        service=body.service,
        rule=body.rule,
    )
    made = await front.people.silences.add(Ask(by=by, key=key), quiet)
    return answer(made, 201, made["version"])


@router.post("/silences/{id}/end")
async def end(
    front: TheFront, by: Operator, id: str, version: Version, key: Key = ""
) -> JSONResponse:
    """End it now."""
    ask = Ask(by=by, key=key, version=version)
    ended = await front.people.silences.end(ask, id)
    return answer(ended, 200, ended["version"])
