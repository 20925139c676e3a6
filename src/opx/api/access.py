# SPDX-License-Identifier: Apache-2.0

"""Who is asking over HTTP, and may they.

Before every route that needs a login. A token in ``Authorization: Bearer`` or the session
cookie, looked up by ``opx.engine.access``; what may be done with it is one table in
``opx.core.decide.roles``. A browser attaches the cookie to requests that other sites
start, so with it whatever changes something must come from our own pages. It must never
take authority from a request body.
"""

from __future__ import annotations

from starlette.requests import Request

from opx.core.decide import roles
from opx.core.decide.roles import Permission
from opx.engine.access import NOBODY, Access, Principal, Refusals
from opx.errors import NotAllowed, NotLoggedIn

COOKIE = "opx_session"
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


async def enter(request: Request, permission: Permission) -> Principal:
    """``authorise``, with a refusal journalled in ``request.app.state.refusals``."""
    try:
        return authorise(request, permission)
    except NotAllowed as error:
        refusals: Refusals = request.app.state.refusals
        principal = principal_of(request)
        who = principal.name if principal else NOBODY
        await refusals.add(who, permission.value, request.url.path, str(error))
        raise


def authorise(request: Request, permission: Permission) -> Principal:
    """Whoever sends ``request``. ``NotLoggedIn`` when that is nobody, ``NotAllowed`` when
    they lack ``permission`` or another site's page sends it with their cookie."""
    principal = principal_of(request)
    if principal is None:
        raise NotLoggedIn
    if _bearer(request) is None and request.method not in SAFE:
        _same_origin(request)
    if not roles.may(principal.roles, permission):
        raise NotAllowed(f"{principal.name} may not {permission.value.replace('_', ' ')}")
    return principal


def principal_of(request: Request) -> Principal | None:
    """Whose token or session it is, asked of ``request.app.state.access``."""
    access: Access = request.app.state.access
    bearer = _bearer(request)
    secret = request.cookies.get(COOKIE, "") if bearer is None else bearer
    return access.principal(secret) if secret else None


def _bearer(request: Request) -> str | None:
    """The token of the header; None when there is no header, which alone lets a cookie count."""
    header = request.headers.get("authorization")
    if header is None:
        return None
    scheme, _, secret = header.partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else ""


def _same_origin(request: Request) -> None:
    """``NotAllowed`` unless a browser says that one of our own pages sent this."""
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    ours = [site == "same-origin"] if site is not None else []
    if origin is not None:
        ours.append(origin.partition("://")[2] == request.headers.get("host"))
    if not ours or not all(ours):
        raise NotAllowed("a session's changes must come from opx's own pages")
