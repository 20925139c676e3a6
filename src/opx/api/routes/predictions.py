# SPDX-License-Identifier: Apache-2.0

"""Predictions over HTTP: what is expected to fail, and what such predictions were worth."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import JSONResponse

from opx.api.wire import Reader, TheFront, answer
from opx.engine import queries

router = APIRouter(tags=["predictions"])


@router.get("/predictions")
async def listed(
    front: TheFront,
    by: Reader,
    every: Annotated[bool, Query(alias="all")] = False,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str, Query(max_length=500)] = "",
) -> JSONResponse:
    """What is expected to fail and why, the newest first, then what is over; `next` is the cursor
    of the next page. With `all`, also what is held back: whoever acts on that spoils what it is
    held back for."""
    page = await front.store.read(lambda tx: queries.predictions(tx, every, limit, cursor))
    return answer({"items": page.items, "next": page.next})


@router.get("/predictions/score")
async def score(
    front: TheFront, by: Reader, days: Annotated[int, Query(ge=1, le=365)] = 30
) -> JSONResponse:
    """What the predictions made in the last `days` were worth, as far as their time is over. Each
    figure has an interval of 95 % and the number of cases `n`; null where there are none."""
    now = front.clock.now()
    return answer(await front.store.read(lambda tx: queries.predictions_score(tx, days, now)))
