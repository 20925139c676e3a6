# SPDX-License-Identifier: Apache-2.0

"""The ingest routes: where telemetry comes in over HTTP.

Plain Starlette, because this is the hot path. A route reads a bounded body, hands it to
the intake and answers when it is on disk. 2xx: all of it is kept. 422: some items were
refused, each named, and the others are kept. 429 is the sender's own limit, 503 ours. It
must never acknowledge before the intake returns.

    POST /metrics               points, columns of points, samples: adapters/wires/forms.py
    POST /logs                  log lines, JSON or NDJSON: adapters/wires/logs.py
    POST /events                CloudEvents: adapters/wires/events.py
    POST /api/v2/alerts         as to an Alertmanager: adapters/wires/alerts.py
    POST /hooks/alertmanager    as from an Alertmanager: adapters/wires/alertmanager.py
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from opx.api import access, problems
from opx.api.bodies import Room
from opx.core.base.time import SECOND
from opx.core.decide.roles import Permission
from opx.engine.intake import Intake, Receipt
from opx.errors import OpxError

JSON = "application/json"
NDJSON = "application/x-ndjson"
MEDIA_TYPES: dict[str, frozenset[str]] = {
    "metrics": frozenset({JSON}),
    "events": frozenset(
        {JSON, "application/cloudevents+json", "application/cloudevents-batch+json"}
    ),
    "alerts": frozenset({JSON}),
    "alertmanager": frozenset({JSON}),
    "logs": frozenset({JSON, NDJSON}),
}
PATHS: dict[str, str] = {
    "/metrics": "metrics",
    "/logs": "logs",
    "/events": "events",
    "/api/v2/alerts": "alerts",
    "/hooks/alertmanager": "alertmanager",
}
"""The wire of each path."""
Receiver = Callable[[Request], Awaitable[Response]]


def routes(intake: Intake) -> list[Route]:
    """``POST`` to each of ``PATHS``. Tokens need ``INGEST``.

    The application they are put into has ``state.access`` and ``state.refusals``.
    """
    room = Room(intake.limits)
    return [
        Route(path, _receiver(intake, wire, room), methods=["POST"]) for path, wire in PATHS.items()
    ]


class Direct:
    """ASGI middleware that calls the ingest routes without the machinery around the others,
    which costs as much as all the rest of a small request."""

    def __init__(self, app: ASGIApp, routes: Sequence[Route]) -> None:
        self._app = app
        self._receivers: dict[str, Receiver] = {route.path: route.endpoint for route in routes}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        known = scope["type"] == "http" and scope["method"] == "POST"
        receiver = self._receivers.get(scope["path"]) if known else None
        if receiver is None:
            await self._app(scope, receive, send)
            return
        response = await receiver(Request(scope, receive))
        await response(scope, receive, send)


def _receiver(intake: Intake, wire: str, room: Room) -> Receiver:
    async def receive(request: Request) -> Response:
        try:
            return await _receive(request, intake, wire, room)
        except OpxError as error:
            return problems.of(error)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody is left to read it

    return receive


async def _receive(request: Request, intake: Intake, wire: str, room: Room) -> Response:
    sender = await access.enter(request, Permission.INGEST)
    wait = intake.admit(sender.name)
    if wait:
        after = {"Retry-After": str(math.ceil(wait / SECOND))}
        return problems.problem(429, "too_fast", "this token sends too fast", headers=after)
    unwanted = _unwanted(request, MEDIA_TYPES[wire])
    if unwanted:
        return problems.problem(415, "unsupported_type", unwanted)
    with room.body(sender.name) as body:
        receipt = await intake.take(wire, await body.read(request), sender.name, sender.services)
    if receipt.rejected:
        return _refused(receipt)
    if wire == "alerts":
        return Response(status_code=200)  # what an Alertmanager answers
    return JSONResponse({"accepted": receipt.accepted}, 202)


def _refused(receipt: Receipt) -> Response:
    return problems.problem(
        422,
        "items_refused",
        f"{receipt.rejected} of {receipt.accepted + receipt.rejected} items were not taken",
        accepted=receipt.accepted,
        rejected=receipt.rejected,
        errors=[
            {"index": refusal.index, "reason": refusal.reason.value, "detail": refusal.detail}
            for refusal in receipt.refusals
        ],
    )


def _unwanted(request: Request, wanted: frozenset[str]) -> str:
    """Why this kind of body is not read; "" when it is."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in wanted:
        return f"send it as {' or '.join(sorted(wanted))}"
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    return "" if encoding in ("identity", "gzip") else "send it plain or with gzip"
