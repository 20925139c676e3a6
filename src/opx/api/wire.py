# SPDX-License-Identifier: Apache-2.0

"""What all control routes share: who asks, the key they ask under, and times on the wire.

Inside opx an instant is a number of milliseconds; outside it is ``2026-01-01T00:00:00.000Z``.
``answer`` is the one place that turns the first into the second.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import Depends, Header, Security
from fastapi.security import APIKeyCookie, HTTPBearer
from pydantic import BaseModel, ConfigDict
from starlette.requests import Request
from starlette.responses import JSONResponse

from opx.api import access, problems
from opx.api.front import Front
from opx.core.base import time
from opx.core.decide.roles import Permission
from opx.engine.access import Principal
from opx.errors import BadInput, NoETag

BEARER = HTTPBearer(auto_error=False, description="An API token: `opx token create`.")
SESSION = APIKeyCookie(name=access.COOKIE, auto_error=False, description="A session: `opx login`.")


class Body(BaseModel):
    """A request body. An unknown field is an error: it would be a wish we do not grant."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)


class Problem(BaseModel):
    """RFC 9457, with ``code`` for programs."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    code: str


_WHEN = {
    400: "The request is wrong",
    401: "Not logged in",
    403: "Not with these roles",
    404: "There is no such thing",
    409: "Somebody was first, or a gate refused it",
    412: "It was changed since it was read (`If-Match`)",
    413: "The body is too large",
    421: "A name in `Host` that is not ours",
    422: "The request does not fit its schema, or a document is wrong",
    503: "A part of opx does not answer now",
}
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {
        "description": when,
        "content": {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    for status, when in _WHEN.items()
}


def needs(permission: Permission) -> Callable[..., Awaitable[Principal]]:
    """A dependency: whoever asks, if they may. Its ``permission`` can be read back."""

    async def who(
        request: Request,
        _bearer: Annotated[object, Security(BEARER)],
        _session: Annotated[object, Security(SESSION)],
    ) -> Principal:
        return await access.enter(request, permission)

    who.permission = permission  # type: ignore[attr-defined]
    return who


async def _front(request: Request) -> Front:
    front: Front = request.app.state.front
    return front


TheFront = Annotated[Front, Depends(_front)]
Reader = Annotated[Principal, Depends(needs(Permission.READ))]
Key = Annotated[
    str,
    Header(
        alias="Idempotency-Key",
        max_length=200,
        description="The same key and body are one request, however often they are sent.",
    ),
]


Match = Annotated[
    str,
    Header(
        alias="If-Match",
        max_length=200,
        description="The `ETag` it was read with: what was changed since stays as it is.",
    ),
]
ANY = ("", "*")


async def _state(etag: Match = "") -> str | None:
    """What an ``If-Match`` names, None when any will do. ``BadInput`` when it is not one that we
    gave out: a wish that cannot be granted is not passed over."""
    named = etag[1:-1]
    if etag in ANY:
        return None
    if etag != f'"{named}"' or not named or '"' in named:
        raise BadInput('If-Match is one ETag as it was given, such as "3", or *')
    return named


async def _version(named: Annotated[str | None, Depends(_state)]) -> int | None:
    """The version that an ``If-Match`` names, as ``_state``."""
    if named is None:
        return None
    if not named.isascii() or not named.isdigit() or len(named) > 15:
        raise BadInput('If-Match is one ETag as it was given, such as "3", or *')
    return int(named)


async def _unmatched(
    etag: Annotated[
        str,
        Header(
            alias="If-Match",
            max_length=200,
            description="Nothing here has an `ETag`: all but `*` is refused with 400, `no_etag`.",
        ),
    ] = "",
) -> None:
    """``NoETag`` for an ``If-Match`` where nothing can match it: it is not passed over. Not 412,
    which is for requests that would otherwise have succeeded (RFC 9110, 13.2.1)."""
    if etag not in ANY:
        raise NoETag(hint="send it without If-Match; docs/api.md says what takes one")


State = Annotated[str | None, Depends(_state)]
Version = Annotated[int | None, Depends(_version)]
Unmatched = Annotated[None, Depends(_unmatched)]
"""Of every change that takes no ``If-Match``, after whoever asks: 401 and 403 come first."""

FOREIGN = frozenset({"data", "labels", "annotations"})
"""What other systems sent is shown as they sent it."""


def answer(value: object, status: int = 200, etag: object = "") -> JSONResponse:
    """``value`` as JSON, its instants in their wire form. ``etag``: what names this state."""
    return JSONResponse(timed(value), status, {"ETag": f'"{etag}"'} if etag else None)


def timed(value: object) -> Any:
    """``value`` with every number named ``at``, ``since`` or ``..._at`` written as an instant."""
    if isinstance(value, dict):
        return {name: _field(name, item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [timed(item) for item in value]
    return value


def _field(name: str, value: object) -> Any:
    if name in FOREIGN:
        return value
    if type(value) is int and (name in ("at", "since") or name.endswith("_at")):
        return time.to_wire(value)
    return timed(value)


def instant(text: str, read: Callable[[str], time.Ms] = time.from_wire) -> time.Ms:
    """An instant of a request; ``BadInput`` when it is not one."""
    try:
        return read(text)
    except (ValueError, OverflowError) as error:
        raise BadInput(str(error)) from error
