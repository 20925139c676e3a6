# SPDX-License-Identifier: Apache-2.0

"""Incidents over HTTP: the list, one whole, why opx decided so, and what people do about it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from pydantic import Field
from starlette.responses import JSONResponse

from opx.api.wire import Body, Key, Reader, TheFront, Version, answer, needs
from opx.core.decide.roles import Permission
from opx.core.incident.incident import ResolutionKind, Status
from opx.core.ingest.signals import Severity
from opx.core.learn.outcome import OutcomeKind
from opx.engine import queries
from opx.engine.access import Principal
from opx.engine.journal import replay
from opx.engine.people import Ask
from opx.engine.ports import ReadTx

router = APIRouter(tags=["incidents"])

Operator = Annotated[Principal, Depends(needs(Permission.ACKNOWLEDGE))]
Recorder = Annotated[Principal, Depends(needs(Permission.RECORD_OUTCOME))]


async def _asked(by: Operator, version: Version, key: Key = "") -> Ask:
    return Ask(by=by, key=key, version=version)


Asked = Annotated[Ask, Depends(_asked)]


async def _narrowed(
    status: Annotated[list[Status], Query()] = [],  # noqa: B006
    severity: Annotated[list[Severity], Query()] = [],  # noqa: B006
    environment: Annotated[str, Query(max_length=200)] = "",
    service: Annotated[str, Query(max_length=200)] = "",
) -> queries.Narrowed:
    group = {"environment": environment, "service": service}
    return queries.Narrowed(statuses=status, severities=severity, **group)


Narrowed = Annotated[queries.Narrowed, Depends(_narrowed)]


class OutcomeBody(Body):
    """What the incident really was."""

    kind: OutcomeKind
    cause: str = Field("", max_length=2_000)
    fixed_by: str = Field("", max_length=2_000)
    note: str = Field("", max_length=10_000)


class AssignBody(Body):
    to: str = Field(min_length=1, max_length=100)


class CommentBody(Body):
    text: str = Field(min_length=1, max_length=10_000)


class MergeBody(Body):
    """The incident that goes on for both."""

    into: str = Field(min_length=4, max_length=100)


class ResolveBody(Body):
    """What became of it, in a word and in your own."""

    resolution: ResolutionKind
    text: str = Field("", max_length=10_000)


class ReopenBody(Body):
    reason: str = Field("", max_length=1_000)


@router.get("/incidents")
async def listed(
    front: TheFront,
    by: Reader,
    narrowed: Narrowed,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str, Query(max_length=500)] = "",
) -> JSONResponse:
    """Incidents, newest first; `next` is the cursor of the next page."""
    page = await front.store.read(lambda tx: queries.incidents(tx, narrowed, limit, cursor))
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
    """Every decision about it: each guard's answer, its reason, and what would change it; and
    what its runs came to."""

    def read(tx: ReadTx) -> dict[str, Any]:
        return {"items": queries.decisions(tx, id), "runs": queries.came_to(tx, id)}

    return answer(await front.store.read(read))


@router.get("/incidents/{id}/replay")
async def replayed(front: TheFront, by: Reader, id: str) -> JSONResponse:
    """Put it together again from the journal, and make its decisions again from the facts that
    stand there. `ok`, or where that is not what is stored."""

    def read(tx: ReadTx) -> dict[str, Any]:
        found = queries.find_incident(tx, id)
        entries, library = replay.gathered(tx, found, front.bind)
        return replay.replay(found, entries, library)

    return answer(await front.store.read(read))


@router.get("/runs")
async def runs(
    front: TheFront, by: Reader, incident: Annotated[str, Query(max_length=100)]
) -> JSONResponse:
    """The runs of an incident, with the orders each gave."""
    return answer({"items": await front.store.read(lambda tx: queries.runs(tx, incident))})


@router.post("/incidents/{id}/acknowledge")
async def acknowledge(front: TheFront, asked: Asked, id: str) -> JSONResponse:
    """Take it on: from now on opx asks before it acts on it."""
    return _as_it_is(await front.people.incidents.acknowledge(asked, id))


@router.post("/incidents/{id}/assign")
async def assign(front: TheFront, asked: Asked, id: str, body: AssignBody) -> JSONResponse:
    """Give it to somebody to see to."""
    return _as_it_is(await front.people.incidents.assign(asked, id, body.to))


@router.post("/incidents/{id}/comment", status_code=201)
async def comment(front: TheFront, asked: Asked, id: str, body: CommentBody) -> JSONResponse:
    """Say something of it, for its timeline. Secrets in it are masked."""
    return answer(await front.people.incidents.comment(asked, id, body.text), 201)


@router.post("/incidents/{id}/merge")
async def merge(front: TheFront, asked: Asked, id: str, body: MergeBody) -> JSONResponse:
    """It is the same trouble as another, which goes on for both; this one is closed."""
    return _as_it_is(await front.people.incidents.merge(asked, id, body.into))


@router.post("/incidents/{id}/resolve")
async def resolve(front: TheFront, asked: Asked, id: str, body: ResolveBody) -> JSONResponse:
    """It is over, whatever still fires: that opens it no more, what is new opens another."""
    said = body.resolution, body.text
    return _as_it_is(await front.people.incidents.resolve(asked, id, *said))


@router.post("/incidents/{id}/close")
async def close(front: TheFront, asked: Asked, id: str) -> JSONResponse:
    """It is resolved and has been looked at. Nothing leaves this."""
    return _as_it_is(await front.people.incidents.close(asked, id))


@router.post("/incidents/{id}/reopen", status_code=201)
async def reopen(front: TheFront, asked: Asked, id: str, body: ReopenBody) -> JSONResponse:
    """It is not over after all: a new one, `incident`, goes on for it and names it."""
    return _as_it_is(await front.people.incidents.reopen(asked, id, body.reason), 201)


def _as_it_is(done: dict[str, Any], status: int = 200) -> JSONResponse:
    """What was done, with the `ETag` of the incident as it is now."""
    return answer(done, status, done.get("version", ""))


@router.post("/incidents/{id}/outcome", status_code=201)
async def outcome(
    front: TheFront, by: Recorder, id: str, body: OutcomeBody, version: Version, key: Key = ""
) -> JSONResponse:
    """Say what it really was. Added to what was said before, never instead of it."""
    ask = Ask(by=by, key=key, version=version)
    said = body.model_dump(mode="json")
    return answer(await front.people.incidents.outcome(ask, id, said), 201)
