# SPDX-License-Identifier: Apache-2.0

"""Documents over HTTP: what opx was taught, teaching it more, and the services in it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from starlette.requests import Request
from starlette.responses import JSONResponse

from opx.api.wire import Key, Reader, TheFront, answer, needs
from opx.core.decide.roles import Permission
from opx.engine import queries
from opx.engine.access import Principal
from opx.engine.people import Ask
from opx.errors import BadInput

router = APIRouter(tags=["documents"])

Author = Annotated[Principal, Depends(needs(Permission.APPLY_DOCUMENTS))]
Source = Annotated[str, Query(max_length=500, description="The file's name, for errors.")]

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
    """Every document in force, with who applied it."""
    return answer({"items": await front.store.read(queries.documents)})


@router.post("/documents", openapi_extra=YAML)
async def applied(
    request: Request, front: TheFront, by: Author, source: Source = "request", key: Key = ""
) -> JSONResponse:
    """Apply one or more YAML documents; all of them, or none when one is wrong."""
    text = await _text(request)
    return answer(await front.people.apply_documents(Ask(by=by, key=key), text, source))


@router.post("/documents/lint", openapi_extra=YAML)
async def lint(
    request: Request, front: TheFront, by: Reader, source: Source = "request"
) -> JSONResponse:
    """Check documents against those in force, applying nothing."""
    text = await _text(request)
    known = await front.store.read(queries.stored_documents)
    found = front.check(text, source, known)
    ids = [{"id": f"{d.kind}/{d.name}", "hash": d.hash} for d in (one.document for one in found)]
    return answer({"documents": ids})


@router.get("/services")
async def services(front: TheFront, by: Reader) -> JSONResponse:
    """Every service opx knows, with the incidents that are open on it."""
    knowledge = await front.knowledge()
    return answer({"items": await front.store.read(lambda tx: queries.services(tx, knowledge))})
