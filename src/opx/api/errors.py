# SPDX-License-Identifier: Apache-2.0

"""The HTTP boundary: what every request meets first and every answer passes last.

Names that are not ours are refused (a page elsewhere may have made its own name point at
this machine), answers carry the security headers and the mode of automation, and an
unexpected error becomes a 500 that says nothing of the inside.
"""

from __future__ import annotations

import logging
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from opx.api import access, bodies, problems
from opx.api.front import Front
from opx.engine.access import NOBODY
from opx.errors import NotLoggedIn, OpxError, TooLarge

LOG = logging.getLogger("opx.api")
PREFIX = "/api/v1"
MOST_BODY = 1 << 20
"""Bytes of a control request. Ingest routes have their own limit."""
LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]"})
POLICY = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # With no-referrer a browser would not say that a form was ours: its Origin would be null.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_HEADERS = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]


class Boundary:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp, front: Front) -> None:
        self._app = app
        self._front = front

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False

        async def sending(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                given = message["headers"]
                own = {name for name, _ in given}
                mode = (b"x-opx-automation", self._front.live.automation.encode())
                message["headers"] = [*given, mode, *(h for h in _HEADERS if h[0] not in own)]
            await send(message)

        refusal = self._refused(scope["path"], Headers(scope=scope)) or await self._stranger(scope)
        if refusal is not None:
            await refusal(scope, receive, sending)
            return
        try:
            await self._app(scope, receive, sending)
        except ClientDisconnect:
            return  # nobody is left to read an answer
        except Exception:
            LOG.exception("%s %s failed", scope["method"], scope["path"])
            if begun:
                raise
            await problems.of(OpxError())(scope, receive, sending)

    def _refused(self, path: str, headers: Headers) -> Response | None:
        """A 421 for a ``Host`` that is not ours, a 413 for what says that it is too long."""
        if path.startswith(PREFIX) and bodies.too_long(headers, MOST_BODY):
            return problems.of(TooLarge())
        host = headers.get("host", "").lower()
        name = host if host.endswith("]") else host.rpartition(":")[0] or host
        allowed = self._front.allowed_hosts
        if name in LOOPBACK or name in allowed or "*" in allowed:
            return None
        return problems.problem(
            421,
            "unknown_host",
            "opx does not answer to this name",
            hint="add it to allowed_hosts in opx.toml",
        )

    async def _stranger(self, scope: Scope) -> Response | None:
        """A 401 for a change that nobody asks for, before anything of its body is read."""
        if scope["method"] in access.SAFE or not scope["path"].startswith(PREFIX):
            return None
        try:
            known = access.principal_of(Request(scope)) is not None
        except OpxError as error:
            return problems.of(error)
        if known:
            return None
        await self._front.refusals.add(NOBODY, scope["method"], scope["path"])
        return problems.of(NotLoggedIn())


async def on_http_error(request: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException) and error.status_code == 413:
        return problems.of(TooLarge())
    return await problems.on_http_error(request, error)


async def on_invalid(_: Request, error: Exception) -> Response:
    """What the request's own schema says is wrong with it, field by field."""
    wrong = error.errors() if isinstance(error, RequestValidationError) else []
    fields = [
        {"field": ".".join(str(part) for part in one["loc"]), "message": one["msg"]}
        for one in wrong
    ]
    detail = "; ".join(f"{one['field']}: {one['message']}" for one in fields)
    return problems.problem(422, "invalid", detail or "the request is not valid", errors=fields)


HANDLERS: dict[Any, Any] = {
    OpxError: problems.on_opx_error,
    HTTPException: on_http_error,
    RequestValidationError: on_invalid,
}
"""For ``exception_handlers=`` of the application. What is not here meets ``Boundary``."""
