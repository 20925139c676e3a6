# SPDX-License-Identifier: Apache-2.0

"""What opx may do by itself: halt and resume, approvals, grants, breakers."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query
from pydantic import Field
from starlette.responses import JSONResponse

from opx.api.wire import Body, Key, Reader, TheFront, Unmatched, answer, needs
from opx.core.act import steps
from opx.core.base.time import SECOND
from opx.core.correlate.episode import Group
from opx.core.decide import proposals
from opx.core.decide.case import Autonomy, Grant
from opx.core.decide.roles import Permission
from opx.engine import queries
from opx.engine.access import Principal
from opx.engine.people import Ask
from opx.errors import BadInput, NotFound

router = APIRouter(tags=["automation"])

Halter = Annotated[Principal, Depends(needs(Permission.HALT))]
Resumer = Annotated[Principal, Depends(needs(Permission.RESUME))]
Approver = Annotated[Principal, Depends(needs(Permission.APPROVE))]
Granter = Annotated[Principal, Depends(needs(Permission.GRANT_AUTONOMY))]
Closer = Annotated[Principal, Depends(needs(Permission.CLOSE_BREAKER))]

RunbookName = Annotated[str, Path(max_length=200)]
Where = Annotated[str, Query(max_length=200)]

NAME = r"[a-z0-9]([a-z0-9.-]{0,98}[a-z0-9])?"


class ScopeBody(Body):
    """`all`, `environment/E`, `service/E/S` or `runbook/R`, and why."""

    scope: str = Field(min_length=1, max_length=320)
    reason: str = Field(min_length=1, max_length=1_000)


class ReasonBody(Body):
    reason: str = Field("", max_length=1_000)


class GrantBody(Body):
    """What a runbook may do on a service in an environment without asking."""

    runbook: str = Field(pattern=f"^{NAME}$")
    environment: str = Field(pattern=f"^{NAME}$")
    service: str = Field(pattern=f"^{NAME}$")
    autonomy: str
    probation: bool = False
    ttl_s: int | None = Field(None, ge=60, le=366 * 86_400)


class BreakerBody(Body):
    id: str = Field(min_length=1, max_length=320)


@router.get("/automation")
async def mode(front: TheFront) -> JSONResponse:
    """Whether automation is running or halted, as a whole and by scope. Needs no login."""
    return answer(await front.store.read(queries.automation))


@router.post("/automation/halt")
async def halt(front: TheFront, by: Halter, body: ScopeBody, key: Key = "") -> JSONResponse:
    """Stop opx from acting. No step starts after this was answered. Whatever an `If-Match` says:
    nothing holds up a halt."""
    halted = await front.people.halt(Ask(by=by, key=key), body.scope, body.reason)
    await front.live.refresh()
    return answer(halted)


@router.post("/automation/resume")
async def resume(
    front: TheFront, by: Resumer, unmatched: Unmatched, body: ScopeBody, key: Key = ""
) -> JSONResponse:
    """Let opx act again where every guard allows it."""
    resumed = await front.people.resume(Ask(by=by, key=key), body.scope, body.reason)
    await front.live.refresh()
    return answer(resumed)


@router.get("/approvals")
async def approvals(front: TheFront, by: Reader) -> JSONResponse:
    """What waits for a person's answer, the most urgent first."""
    now = front.clock.now()
    return answer({"items": await front.store.read(lambda tx: queries.approvals(tx, now))})


@router.post("/approvals/{run}/approve")
async def approve(
    front: TheFront, by: Approver, unmatched: Unmatched, run: str, body: ReasonBody, key: Key = ""
) -> JSONResponse:
    """Let this run go ahead: its runbook, inputs and target as they are now."""
    return answer(await front.people.answer(Ask(by=by, key=key), run, True, body.reason))


@router.post("/approvals/{run}/reject")
async def reject(
    front: TheFront, by: Approver, unmatched: Unmatched, run: str, body: ReasonBody, key: Key = ""
) -> JSONResponse:
    """End this run before it acts."""
    return answer(await front.people.answer(Ask(by=by, key=key), run, False, body.reason))


@router.get("/grants")
async def grants(front: TheFront, by: Reader) -> JSONResponse:
    """What each runbook may do where, the track record it stands on, and whether runbook and
    target are still what they were when it was granted."""
    knowledge = await front.knowledge()
    return answer({"items": await front.store.read(lambda tx: queries.grants(tx, knowledge))})


@router.post("/grants", status_code=201)
async def grant(
    front: TheFront, by: Granter, unmatched: Unmatched, body: GrantBody, key: Key = ""
) -> JSONResponse:
    """Give or take autonomy, for the runbook and the target as they are now: when either is
    changed, opx asks. Probation lets a runbook act before anything is calibrated."""
    known = {level.name.lower(): level for level in Autonomy}
    if body.autonomy not in known:
        raise BadInput(f"autonomy {body.autonomy!r} is not one of {', '.join(known)}")
    now = front.clock.now()
    wanted = Grant(
        id=f"{body.runbook}|{body.environment}|{body.service}",
        autonomy=known[body.autonomy],
        by=by.name,
        at=now,
        probation=body.probation,
        expires_at=None if body.ttl_s is None else now + body.ttl_s * SECOND,
    )
    return answer(await front.people.grant(Ask(by=by, key=key), wanted), 201)


@router.get("/runbooks/{name}")
async def dry_run(
    front: TheFront, by: Reader, name: RunbookName, environment: Where = "", service: Where = ""
) -> JSONResponse:
    """What a run of this runbook on a service would do, step by step, with its inputs filled
    in. Nothing is asked and nothing is touched: whether it may run is for the guards to say."""
    known = await front.knowledge()
    runbook, declared = known.runbook(name), known.service(environment, service)
    if runbook is None:
        raise NotFound(f"there is no runbook {name!r}")
    if declared is None and (environment or service):
        raise NotFound(f"there is no service {service!r} in the environment {environment!r}")
    proposal = proposals.filled(runbook, Group(environment, service), declared)
    lines = steps.render(runbook, proposal, front.would)
    return answer({"runbook": name, "hash": runbook.hash, "plan": proposal.plan, "lines": lines})


@router.get("/breakers")
async def breakers(front: TheFront, by: Reader) -> JSONResponse:
    """Runbooks that did not help too often in a row, by service."""
    return answer({"items": await front.store.read(queries.breakers)})


@router.post("/breakers/close")
async def close(
    front: TheFront, by: Closer, unmatched: Unmatched, body: BreakerBody, key: Key = ""
) -> JSONResponse:
    """Let the runbook try again: only a person does this."""
    return answer(await front.people.close_breaker(Ask(by=by, key=key), body.id))
