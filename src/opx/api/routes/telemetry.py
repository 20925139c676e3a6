# SPDX-License-Identifier: Apache-2.0

"""Telemetry over HTTP: metrics by buckets, and what was not taken in."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse

from opx.api.wire import Body, Reader, TheFront, Unmatched, answer, instant
from opx.core.base import time
from opx.core.base.metrics import Bucket, MetricQuery, Resolution
from opx.core.base.reads import Stat
from opx.core.base.time import Window
from opx.engine import queries
from opx.errors import BadInput

router = APIRouter(tags=["telemetry"])

MOST_BUCKETS = 11_000
"""Of one series: more than any screen has dots."""
EACH = "series"
Name = Annotated[str, Field(min_length=1, max_length=200)]


class QueryBody(Body):
    """`stat` of the series of `metric`, in buckets of `step` (`10s`, `5m`) over `[start, end)`.

    Series are chosen by `labels`, which they all have (others they may have too), and by
    `matching`, patterns (RE2) that a label matches as a whole; a label that a series lacks is
    empty. `environment`, `service` and `resource` are labels of every series. All that are
    chosen are one, unless `by` says otherwise.
    """

    metric: Name
    labels: dict[str, str] = Field({}, max_length=64)
    matching: dict[str, Annotated[str, Field(max_length=200)]] = Field({}, max_length=16)
    by: list[Name] | Literal["series"] | None = Field(
        None,
        max_length=16,
        description="One result for all series with equal values of these labels; `series`: one"
        " for each. The answer then has `results`.",
    )
    start: str = Field(max_length=40)
    end: str = Field(max_length=40)
    step: str = Field("1m", max_length=20)
    stat: Stat = Field(
        Stat.AVG,
        description="`rate`: how much counters grew in a second, added up. Percentiles always"
        " come from the points themselves.",
    )


class BucketShown(BaseModel):
    """`value` is null where there is no point (`count` and `sum` are 0), and where it is more
    than a number can hold."""

    at: str
    value: float | None


class Buckets(BaseModel):
    """Without `by`: every bucket of all series together."""

    buckets: list[BucketShown]


class Result(BaseModel):
    """One group of series: the labels they have in common, and every bucket."""

    labels: dict[str, str]
    buckets: list[BucketShown]


class Results(BaseModel):
    """With `by`. `resolution`: whether it was made from the points (`raw`), or from what they
    amount to in a minute or an hour, as it is for a window of more than six hours."""

    resolution: Resolution
    results: list[Result]


@router.post("/query", responses={200: {"model": Buckets | Results}})
async def query(front: TheFront, by: Reader, unmatched: Unmatched, body: QueryBody) -> JSONResponse:
    """A statistic of metrics, in buckets of time. Without `by` the answer is `buckets`, with it
    `results`, one for each group that there is."""
    found = await front.brain.query(_asked(body))
    shown = [{"labels": one.labels, "buckets": _shown(one.buckets)} for one in found.results]
    if body.by is None:
        return answer({"buckets": shown[0]["buckets"]})
    return answer({"resolution": found.resolution, "results": shown})


def _asked(body: QueryBody) -> MetricQuery:
    """``BadInput`` or ``TooLarge`` when nobody can answer it."""
    start, end = instant(body.start), instant(body.end, time.window_end)
    step = instant(body.step, time.duration)
    if start >= end or step < 1:
        raise BadInput("start must be before end, and step longer than nothing")
    if (end - start) / step > MOST_BUCKETS:
        raise BadInput(f"that is more than {MOST_BUCKETS} buckets", hint="a longer step")
    return MetricQuery(
        metric=body.metric,
        labels=body.labels,
        matching=body.matching,
        by=None if body.by == EACH else tuple(body.by or ()),
        window=Window(start, end),
        step=step,
        stat=body.stat,
    )


def _shown(buckets: list[Bucket]) -> list[dict[str, Any]]:
    """JSON has no infinity."""
    return [
        {
            "at": one.at,
            "value": None if one.value is None or not math.isfinite(one.value) else one.value,
        }
        for one in buckets
    ]


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
