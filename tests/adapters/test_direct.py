# SPDX-License-Identifier: Apache-2.0

"""The short cut to the ingest routes takes what is theirs and nothing else."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from opx.api.ingest import Direct


async def taken(request: Request) -> Response:
    return PlainTextResponse(f"taken {(await request.body()).decode()}")


async def other(request: Request) -> Response:
    return PlainTextResponse("other")


def ask(method: str, path: str, body: str = "") -> str:
    app = Starlette(routes=[Route("/{path:path}", other, methods=["GET", "POST"])])
    app.add_middleware(Direct, routes=[Route("/metrics", taken, methods=["POST"])])

    async def answer() -> str:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://opx") as client:
            return (await client.request(method, path, content=body)).text

    return asyncio.run(answer())


def test_a_post_to_an_ingest_path_is_answered_by_its_route() -> None:
    """The route gets the whole request, whatever else would match it."""
    assert ask("POST", "/metrics?x=1", "body") == "taken body"


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/metrics"), ("POST", "/metrics/"), ("POST", "/api/v1/grants")]
)
def test_everything_else_goes_its_usual_way(method: str, path: str) -> None:
    """Another method or another path is the application's."""
    assert ask(method, path) == "other"
