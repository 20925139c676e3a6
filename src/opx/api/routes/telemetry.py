# SPDX-License-Identifier: Apache-2.0

"""Telemetry over HTTP: a metric by buckets, and what was not taken in."""

from __future__ import annotations

import math
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field
from starlette.responses import JSONResponse

from opx.api.wire import Body, Reader, TheFront, answer, instant
from opx.core.base import time
from opx.core.base.reads import Stat
from opx.core.base.time import Window
from opx.engine import queries
from opx.engine.ports import MetricQuery
from opx.errors import BadInput

router = APIRouter(tags=["telemetry"])

MOST_BUCKETS = 11_000


class QueryBody(Body):
    """One series, `stat` in buckets of `step` (`10s`, `5m`) over `[start, end)`."""

    metric: str = Field(min_length=1, max_length=200)
    labels: dict[str, str] = Field({}, max_length=64)
    start: str = Field(max_length=40)
    end: str = Field(max_length=40)
    step: str = Field("1m", max_length=20)
    stat: Stat = Stat.AVG


@router.post("/query")
async def query(front: TheFront, by: Reader, body: QueryBody) -> JSONResponse:
    """The buckets of one series. `value` is null where there is no point, and where the sum is
    more than a number can hold."""
    start, end = instant(body.start), instant(body.end, time.window_end)
    step = instant(body.step, time.duration)
    if start >= end or step < 1:
        raise BadInput("start must be before end, and step longer than nothing")
    if (end - start) / step > MOST_BUCKETS:
        raise BadInput(f"that is more than {MOST_BUCKETS} buckets", hint="a longer step")
    buckets = await front.brain.query(
        MetricQuery(
            metric=body.metric,
            labels=body.labels,
            window=Window(start, end),
            step=step,
            stat=body.stat,
        )
    )
    return answer({"buckets": [{"at": one.at, "value": _number(one.value)} for one in buckets]})


def _number(value: float | None) -> float | None:
    """JSON has no infinity."""
    return None if value is None or not math.isfinite(value) else value


@router.get("/quarantine")
async def quarantine(
    front: TheFront,
    by: Reader,
    before: Annotated[str, Query(max_length=100)] = "",
    limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
) -> JSONResponse:
    """What was sent and not taken, newest first, each with the reason; `next` is the `before`
    of the next page."""
    rows = await front.store.read(lambda tx: queries.quarantine(tx, limit, before))
    return answer({"items": rows, "next": rows[-1]["id"] if len(rows) == limit else None})
