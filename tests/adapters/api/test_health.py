# SPDX-License-Identifier: Apache-2.0

"""``GET /health``: what a load balancer does with it, and what a person reads in it."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from opx.engine.beats.health import BrainState, LoopState

SINCE = 1_767_225_600_000


def test_all_is_well(client: httpx.Client) -> None:
    """200 and ok, with brain's lag."""
    answer = client.get("/health")

    assert answer.status_code == 200
    assert answer.json() == {
        "status": "ok",
        "processes": {"front": "alive", "brain": "alive", "hands": "alive"},
        "lag_ms": 40,
        "failing": {},
        "skipped_documents": 0,
    }


@pytest.mark.parametrize("wrong", ["brain", "hands", "lag", "loop"])
def test_telemetry_is_taken_while_something_else_is_wrong(
    client: httpx.Client, world: Any, wrong: str
) -> None:
    """200, so that ingest stays up, and degraded; the error of a loop is not for everybody."""
    world.brain.up = wrong != "brain"
    world.hands = wrong != "hands"
    if wrong == "lag":
        world.brain.said = BrainState(lag=30_001)
    if wrong == "loop":
        loops = {
            "sense": LoopState(failures=3, since=SINCE, error="/secret/place is full"),
            "seal": LoopState(failures=1),
        }
        world.brain.said = BrainState(lag=40, loops=loops)

    answer = client.get("/health")

    assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
    assert "secret" not in answer.text
    failing = {"sense": {"since": "2026-01-01T00:00:00.000Z"}} if wrong == "loop" else {}
    assert answer.json()["failing"] == failing


def test_telemetry_that_cannot_be_kept_is_503(client: httpx.Client, world: Any) -> None:
    """A log that takes nothing: send it elsewhere."""
    world.keeping = False

    answer = client.get("/health")

    assert (answer.status_code, answer.json()["status"]) == (503, "down")
