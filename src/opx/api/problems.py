# SPDX-License-Identifier: Apache-2.0

"""Errors as HTTP answers: RFC 9457 problems, from one table.

Every route, ingest and control, answers its errors here, so that a client finds the same
``code`` for the same mistake everywhere. It must never show what an unexpected error said.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from opx import errors
from opx.errors import OpxError

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 1
"""When a part of opx does not answer: how soon asking again is welcome."""

# The first class that fits decides, so a class stands before its parents.
STATUS: tuple[tuple[type[OpxError], int], ...] = (
    (errors.TooLarge, 413),
    (errors.DocumentError, 422),
    (errors.ExpressionError, 422),
    (errors.BadInput, 400),
    (errors.NotLoggedIn, 401),
    (errors.NotAllowed, 403),
    (errors.NotFound, 404),
    (errors.Conflict, 409),
    (errors.Refused, 409),
    (errors.Stale, 412),
    (errors.Unavailable, 503),
    (errors.Damaged, 500),
    (OpxError, 500),
)


def problem(
    status: int, code: str, detail: str, *, headers: Mapping[str, str] | None = None, **more: Any
) -> Response:
    """A problem. ``more``: members beside RFC 9457's, such as ``hint``."""
    body = {
        "type": f"urn:opx:problem:{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
        **more,
    }
    return Response(json.dumps(body), status, headers, MEDIA_TYPE)


def of(error: OpxError) -> Response:
    """The problem that ``error`` is."""
    status = next(status for kind, status in STATUS if isinstance(error, kind))
    headers: dict[str, str] = {}
    more: dict[str, Any] = {"retryable": error.retryable}
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="opx"'
    if status == 503:
        headers["Retry-After"] = str(RETRY_AFTER_S)
    if error.hint:
        more["hint"] = error.hint
    if isinstance(error, errors.DocumentError):
        more |= {"source": error.source, "line": error.line}
    told = status != 500 or isinstance(error, errors.Damaged)
    detail = str(error) if told else "opx failed; its log says why"
    return problem(status, error.code, detail, headers=headers, **more)


async def on_opx_error(_: Request, error: Exception) -> Response:
    return of(error if isinstance(error, OpxError) else OpxError())


async def on_http_error(_: Request, error: Exception) -> Response:
    """What the framework itself answers: no such path, no such method."""
    if not isinstance(error, HTTPException):
        return of(OpxError())
    code = HTTPStatus(error.status_code).phrase.lower().replace(" ", "_")
    return problem(error.status_code, code, str(error.detail), headers=error.headers)
