# SPDX-License-Identifier: Apache-2.0

"""Documents over HTTP: what opx was taught, teaching it more, and the services in it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query
from starlette.requests import Request
from starlette.responses import JSONResponse

from opx.api.front import Front
from opx.api.wire import Key, Reader, State, TheFront, Unmatched, answer, needs
from opx.core.base import canonical
from opx.core.decide.roles import Permission
from opx.core.ingest.services import id_of
from opx.engine import documents, queries
from opx.engine.access import Principal
from opx.engine.people import Ask
from opx.errors import BadInput
from opx.packs import schemas

router = APIRouter(tags=["documents"])

Author = Annotated[Principal, Depends(needs(Permission.APPLY_DOCUMENTS))]
Source = Annotated[str, Query(max_length=500, description="The file's name, for errors.")]

Name = Annotated[str, Path(max_length=200)]


async def _asked(by: Author, state: State, key: Key = "") -> Ask:
    return Ask(by=by, key=key, version=state)


Asked = Annotated[Ask, Depends(_asked)]

YAML: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/yaml": {"schema": {"type": "string"}}},
    }
}


async def _text(request: Request) -> str:
    try:
        return (await request.body()).decode()
    except UnicodeDecodeError as error:
        raise BadInput("the body is not UTF-8 text") from error


@router.get("/documents")
async def listed(front: TheFront, by: Reader) -> JSONResponse:
    """Every document that is kept, with who applied it; ``problems``: those that cannot be
    read and are skipped, and what that means. `ETag` names them all as they are."""
    problems = queries.problems(await front.knowledge())
    known = await front.store.read(queries.stored_documents)
    rows = [canonical.plain(one) for one in known]
    return answer({"items": rows, "problems": problems}, etag=documents.state(known))


@router.post("/documents", openapi_extra=YAML)
async def applied(
    request: Request, front: TheFront, asked: Asked, source: Source = "request"
) -> JSONResponse:
    """Apply one or more YAML documents; all of them, or none when one is wrong. What is sent
    after this was answered is mapped by them. `If-Match` takes the `ETag` of
    `GET /documents`, or of a plan, to apply what was planned."""
    text = await _text(request)
    done = await front.people.apply_documents(asked, text, source)
    await front.knowledge()
    return answer(done)


@router.post("/documents/plan", openapi_extra=YAML)
async def plan(
    request: Request,
    front: TheFront,
    by: Reader,
    unmatched: Unmatched,
    source: Source = "request",
) -> JSONResponse:
    """Check documents against those in force and say what applying them would change. `ETag`
    names those in force."""
    text = await _text(request)
    known = await front.store.read(queries.stored_documents)
    checked = await front.checked(text, source, known)
    policy = (await front.knowledge()).policy
    planned = documents.plan(checked, known, policy)
    return answer({"documents": planned}, etag=documents.state(known))


@router.delete("/documents/{kind}/{name}")
async def deleted(front: TheFront, asked: Asked, kind: Name, name: Name) -> JSONResponse:
    """Keep a document no longer. Without its policy, or its mapping, opx goes by the defaults.
    `If-Match` takes the `ETag` of `GET /documents`."""
    return await _deleted(front, asked, f"{kind}/{name}")


@router.delete("/documents/Service/{environment}/{name}")
async def deleted_service(
    front: TheFront, asked: Asked, environment: Name, name: Name
) -> JSONResponse:
    """Know a service no longer. Refused while another one depends on it. `If-Match` takes the
    `ETag` of `GET /documents`."""
    return await _deleted(front, asked, id_of(environment, name))


async def _deleted(front: Front, ask: Ask, id: str) -> JSONResponse:
    done = await front.people.delete_document(ask, id)
    await front.knowledge()
    return answer(done)


@router.get("/schemas")
async def published(by: Reader) -> JSONResponse:
    """The JSON Schema of each kind of document."""
    return JSONResponse({"items": {kind: schemas.schema(kind) for kind in schemas.SPECS}})


@router.get("/services")
async def services(front: TheFront, by: Reader) -> JSONResponse:
    """Every service opx knows, with the incidents that are open on it."""
    knowledge = await front.knowledge()
    return answer({"items": await front.store.read(lambda tx: queries.services(tx, knowledge))})


@router.get("/services/{name}/why")
async def why(
    front: TheFront,
    by: Reader,
    name: Name,
    environment: Annotated[str, Query(max_length=200)] = "",
) -> JSONResponse:
    """Why opx did what it did about a service, or nothing: what `/incidents/{id}/why` says of
    its newest incident that is open or of the last day, else what was `seen` of it and why no
    incident came of that, and the `events` of the last day."""
    knowledge, now = await front.knowledge(), front.clock.now()
    return answer(
        await front.store.read(lambda tx: queries.why_of(tx, knowledge, environment, name, now))
    )
