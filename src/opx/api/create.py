# SPDX-License-Identifier: Apache-2.0

"""The ASGI application of ``front``, put together. No route is anonymous that writes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import AsyncIterator, Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.routing import Route

from opx import __version__
from opx.api import described, errors, ingest
from opx.api.errors import MOST_BODY, PREFIX
from opx.api.front import Front
from opx.api.routes import (
    automation,
    documents,
    health,
    incidents,
    journal,
    pages,
    predictions,
    quarantine,
    silences,
    telemetry,
    tokens,
)
from opx.api.wire import PROBLEMS, Problem
from opx.engine.quarantine import Quarantine

LOG = logging.getLogger("opx.api")
AREAS = (
    incidents, predictions, silences, automation, documents, telemetry, quarantine, journal, tokens,
)  # fmt: skip


def create(
    front: Front, ingest_routes: Sequence[Route] = (), kept_back: Quarantine | None = None
) -> FastAPI:
    """The application. ``ingest_routes`` are plain Starlette routes and stand first.
    ``kept_back``: what sends refused items through them again."""

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await asyncio.gather(front.live.refresh(), front.knowledge())
        following = asyncio.create_task(front.live.follow())
        following.add_done_callback(_stopped)
        yield
        front.live.close()
        following.cancel()
        await asyncio.wait([following])

    app = FastAPI(
        title="opx",
        version=__version__,
        description="An operations control plane: telemetry in, verified recovery out.",
        openapi_url=f"{PREFIX}/openapi.json",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        responses=PROBLEMS,
        exception_handlers=errors.HANDLERS,
    )
    app.state.front = front
    app.state.access = front.access
    app.state.refusals = front.refusals
    app.state.quarantine = kept_back
    app.router.routes.extend(ingest_routes)
    for area in AREAS:
        app.include_router(area.router, prefix=PREFIX, max_body_size=MOST_BODY)
    for open_area in (health, pages):
        app.include_router(open_area.router)
    app.add_middleware(ingest.Direct, routes=ingest_routes)
    app.add_middleware(errors.Boundary, front=front)
    app.openapi = lambda: _openapi(app, ingest_routes)  # type: ignore[method-assign]
    return app


def _openapi(app: FastAPI, ingest_routes: Sequence[Route]) -> dict[str, Any]:
    """FastAPI's description, with the shape of our problems and the ingest routes in it."""
    if app.openapi_schema is None:
        schema = get_openapi(
            title=app.title,
            version=app.version,
            description=app.description,
            routes=app.routes,
        )
        schema["components"]["schemas"]["Problem"] = Problem.model_json_schema()
        described.add(schema, [route.path for route in ingest_routes])
        app.openapi_schema = schema
    return app.openapi_schema


def _stopped(following: asyncio.Task[None]) -> None:
    """Nothing keeps tokens and mode fresh any more: stop, so that the watcher starts anew."""
    if not following.cancelled() and following.exception() is not None:
        LOG.error("front cannot follow the store", exc_info=following.exception())
        signal.raise_signal(signal.SIGTERM)
