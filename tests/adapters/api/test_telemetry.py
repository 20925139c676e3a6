# SPDX-License-Identifier: Apache-2.0

"""Metrics over HTTP: what is asked reaches brain over the socket, and what it says comes back."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from opx.adapters.link import BrainClient, BrainServer
from opx.core.base.metrics import MetricAnswer, MetricQuery
from opx.core.base.reads import Stat
from opx.core.base.time import Window
from opx.core.ingest.signals import Identity, MetricBatch, Series
from opx.engine.beats.health import BrainState
from opx.errors import BadInput, ExpressionError, NotFound, OpxError, TooLarge, Unavailable
from opx.testing.memory import MemoryTelemetry

AT = 1_767_225_600_000
QUERY = {
    "metric": "requests",
    "start": "2026-01-01T00:00:00Z",
    "end": "2026-01-01T00:02:00Z",
    "stat": "sum",
}


def telemetry() -> MemoryTelemetry:
    """Three series, two of a service: 1 and 2 in the first minute, 4 in the second."""
    made = MemoryTelemetry()
    series = [
        Series(sid=sid, metric="requests", labels=labels, identity=Identity("shop", service))
        for sid, service, labels in (
            (0, "orders", {"path": "/a"}),
            (1, "orders", {"path": "/b"}),
            (2, "payments", {}),
        )
    ]
    points = MetricBatch(
        sid=np.array([0, 1, 2], np.int32),
        at=np.array([AT, AT, AT + 60_000], np.int64),
        value=np.array([1.0, 2.0, 4.0]),
    )
    made.add(1, series, points)
    return made


class Linked:
    """A telemetry behind the socket, for ``front``."""

    def __init__(self, path: Path, error: OpxError | None = None) -> None:
        self._path, self._error, self._telemetry = path, error, telemetry()

    async def _answer(self, query: MetricQuery) -> MetricAnswer:
        if self._error is not None:
            raise self._error
        return await self._telemetry.query(query)

    async def query(self, query: MetricQuery) -> MetricAnswer:
        server = BrainServer(self._path, self._answer, BrainState)
        await server.open()
        try:
            return await BrainClient(self._path).query(query)
        finally:
            await server.close()

    async def state(self) -> BrainState | None:
        return BrainState()


@pytest.fixture
def linked(world: Any, tmp_path: Path) -> Linked:
    world.front.brain = Linked(tmp_path / "s")
    found: Linked = world.front.brain
    return found


def values(found: Any) -> dict[tuple[str, ...], list[float | None]]:
    return {
        tuple(one["labels"].values()): [bucket["value"] for bucket in one["buckets"]]
        for one in found["results"]
    }


def test_without_groups_all_that_is_chosen_is_one(
    client: httpx.Client, world: Any, linked: Linked
) -> None:
    """The answer is the buckets, and nothing else; a label chooses, and so does a pattern."""

    def ask(**more: Any) -> Any:
        answer = client.post("/api/v1/query", headers=world.auth(), json={**QUERY, **more})
        return answer.json()

    assert ask() == {
        "buckets": [
            {"at": "2026-01-01T00:00:00.000Z", "value": 3.0},
            {"at": "2026-01-01T00:01:00.000Z", "value": 4.0},
        ]
    }
    some = ask(labels={"service": "orders"}, matching={"path": "/b|/c"})
    assert [one["value"] for one in some["buckets"]] == [2.0, 0.0]


def test_groups_are_results(client: httpx.Client, world: Any, linked: Linked) -> None:
    """One for all with equal values of the labels, each with those; ``series`` is one for each;
    what was made from the points says so."""

    def ask(by: Any) -> Any:
        answer = client.post("/api/v1/query", headers=world.auth(), json={**QUERY, "by": by})
        return answer.json()

    found = ask(["service"])
    assert found["resolution"] == "raw"
    assert values(found) == {("orders",): [3.0, 0.0], ("payments",): [0.0, 4.0]}
    assert values(ask([])) == {(): [3.0, 4.0]}
    each = ask("series")["results"]
    assert [one["labels"].get("path") for one in each] == ["/a", "/b", None]


@pytest.mark.parametrize(
    ("wrong", "status", "code"),
    [
        ({"matching": {"path": "("}}, 422, "bad_expression"),
        ({"by": "service"}, 422, "invalid"),
        ({"stat": "p97"}, 422, "invalid"),
        ({"by": "series", "step": "11ms"}, 413, "too_large"),
    ],
)
def test_what_cannot_be_answered_says_why(
    client: httpx.Client, world: Any, linked: Linked, wrong: dict[str, Any], status: int, code: str
) -> None:
    """What brain says is wrong is a problem with its own code. 10,910 buckets of a group are
    few enough, of ten of them they are not."""
    if code == "too_large":
        more = [
            Series(sid=n, metric="requests", labels={"n": str(n)}, identity=Identity("shop", "x"))
            for n in range(3, 10)
        ]
        linked._telemetry.add(2, more, None)
    answer = client.post("/api/v1/query", headers=world.auth(), json={**QUERY, **wrong})
    assert (answer.status_code, answer.json()["code"]) == (status, code)


@pytest.mark.parametrize(
    ("said", "heard"),
    [
        (BadInput("no"), BadInput),
        (ExpressionError("no"), ExpressionError),
        (TooLarge("no", hint="less"), TooLarge),
        (Unavailable("the disk"), Unavailable),
        (NotFound("no"), Unavailable),
    ],
)
def test_brains_errors_keep_their_kind(
    said: OpxError, heard: type[OpxError], tmp_path: Path
) -> None:
    """So that front knows whether trying again can help; one that it does not know cannot be
    blamed on who asked."""
    query = MetricQuery(metric="m", window=Window(0, 1), step=1, stat=Stat.SUM)
    with pytest.raises(heard) as caught:
        asyncio.run(Linked(tmp_path / "s", said).query(query))
    assert (str(caught.value), caught.value.hint) == (str(said), said.hint)


def test_the_api_describes_both_answers(client: httpx.Client, world: Any) -> None:
    """OpenAPI knows the fields of a query, every statistic, and what comes back."""
    told = client.get("/api/v1/openapi.json", headers=world.auth()).json()
    schemas = told["components"]["schemas"]
    assert set(schemas["QueryBody"]["properties"]) == {
        "metric", "labels", "matching", "by", "start", "end", "step", "stat",
    }  # fmt: skip
    assert {"p50", "p95", "p99", "rate"} < set(schemas["Stat"]["enum"])
    good = told["paths"]["/api/v1/query"]["post"]["responses"]["200"]
    shown = {one["$ref"] for one in good["content"]["application/json"]["schema"]["anyOf"]}
    assert shown == {"#/components/schemas/Buckets", "#/components/schemas/Results"}
