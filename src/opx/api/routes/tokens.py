# SPDX-License-Identifier: Apache-2.0

"""API tokens and login links over HTTP. A secret is in exactly one answer: its maker's."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import Field
from starlette.responses import JSONResponse

from opx.api.wire import Body, Key, TheFront, Unmatched, answer, needs
from opx.core.base.time import SECOND
from opx.core.decide.roles import Permission, Role
from opx.engine import access
from opx.engine.access import Principal, Wanted
from opx.engine.people import Ask

router = APIRouter(tags=["tokens"])

Keeper = Annotated[Principal, Depends(needs(Permission.MANAGE_TOKENS))]
ServiceName = Annotated[str, Field(min_length=1, max_length=200)]


class TokenBody(Body):
    """`services`: what an ingest token may send for; none is any."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,98}$")
    roles: list[Role] = Field(min_length=1, max_length=len(Role))
    services: list[ServiceName] = Field([], max_length=1_000)
    ttl_s: int = Field(90 * 86_400, ge=60, le=366 * 86_400)


@router.get("/tokens")
async def listed(front: TheFront, by: Keeper) -> JSONResponse:
    """Every token, each followed by the sessions opened with it (`parent`), without secrets."""
    now = front.clock.now()
    return answer({"items": await front.store.read(lambda tx: access.views(tx, now))})


@router.post("/tokens", status_code=201)
async def made(
    front: TheFront, by: Keeper, unmatched: Unmatched, body: TokenBody, key: Key = ""
) -> JSONResponse:
    """Make a token. Its secret, `token`, is shown this once."""
    wanted = Wanted(
        name=body.name,
        roles=tuple(role.value for role in body.roles),
        services=tuple(body.services),
        ttl=body.ttl_s * SECOND,
    )
    return answer(await front.people.make_token(Ask(by=by, key=key), wanted), 201)


@router.post("/tokens/login", status_code=201)
async def login(front: TheFront, by: Keeper, unmatched: Unmatched) -> JSONResponse:
    """A link that opens one browser session with the asker's roles, within ten minutes. The
    session ends with the token that asked, or before: `POST /logout`."""
    code = await front.people.login_link(Ask(by=by))
    ends = front.clock.now() + access.LOGIN_LINK_TTL
    return answer({"path": f"/login?code={code}", "expires_at": ends}, 201)


@router.delete("/tokens/{id}")
async def revoked(
    front: TheFront, by: Keeper, unmatched: Unmatched, id: str, key: Key = ""
) -> JSONResponse:
    """Revoke the token or session whose id begins so. It opens nothing from now on, nor does
    what was opened with it."""
    return answer(await front.people.revoke_token(Ask(by=by, key=key), id))
