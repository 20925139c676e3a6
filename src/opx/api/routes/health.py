# SPDX-License-Identifier: Apache-2.0

"""How opx itself is, for probes, load balancers and scrapers. No login: nothing here says more
than names, counts and times.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.responses import JSONResponse, PlainTextResponse

from opx.api.front import Front
from opx.api.wire import TheFront, answer
from opx.engine.beats.health import MOST_LAG
from opx.errors import Damaged, Unavailable

router = APIRouter(tags=["health"])


@router.get("/health")
async def health(front: TheFront) -> JSONResponse:
    """How opx is. Needs no login.

    `ok`; `degraded`: telemetry is kept, and something else does not work (`processes`,
    `failing` loops of brain, a `lag_ms` of more than 30,000, stored documents that are
    skipped); `down`, with 503: telemetry cannot be kept, send it elsewhere or later.
    """
    seen = {**await processes(front), "skipped_documents": await _skipped(front)}
    if not front.keeping() or seen["skipped_documents"] is None:
        return answer({"status": "down", **seen}, 503)
    well = (
        set(seen["processes"].values()) == {"alive"}
        and not seen["failing"]
        and (seen["lag_ms"] or 0) <= MOST_LAG
        and not seen["skipped_documents"]
    )
    return answer({"status": "ok" if well else "degraded", **seen})


async def _skipped(front: Front) -> int | None:
    """How many documents cannot be read any more; None when the store cannot be."""
    try:
        return len((await front.knowledge()).problems)
    except (Unavailable, Damaged):
        return None


async def processes(front: Front) -> dict[str, Any]:
    """Which processes are there, how late brain is, and which of its loops fail since when."""
    brain = await front.brain.state()
    alive = {"front": True, "brain": brain is not None, "hands": front.hands_alive()}
    loops = brain.loops if brain else {}
    return {
        "processes": {name: "alive" if there else "dead" for name, there in alive.items()},
        "lag_ms": brain.lag if brain else None,
        "failing": {
            name: {"since": loop.since}
            for name, loop in sorted(loops.items())
            if loop.since is not None
        },
    }


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(front: TheFront) -> PlainTextResponse:
    """opx's own metrics, as Prometheus text. Needs no login."""
    return PlainTextResponse(
        await front.exposition(), media_type="text/plain; version=0.0.4; charset=utf-8"
    )
