# SPDX-License-Identifier: Apache-2.0

"""Silences over HTTP: begun, listed, ended, and what is none."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from opx.core.decide.roles import Role

PATH = "/api/v1/silences"
MINUTE = 60_000


def silence(client: httpx.Client, world: Any, **other: Any) -> httpx.Response:
    body = {"reason": "moving house", "ttl_s": 3_600, "service": "orders", **other}
    return client.post(PATH, headers=world.auth(Role.OPERATOR), json=body)


def test_a_silence_has_an_author_a_reason_and_an_end(client: httpx.Client, world: Any) -> None:
    """From now, for as long as was said, masked, journaled, and listed while it holds."""
    made = silence(client, world, reason="the password=hunter2 is new", rule="alert")

    assert made.status_code == 201, made.text
    row = made.json()
    assert (row["by"], row["reason"]) == ("operator", "the password=[masked] is new")
    assert (row["environment"], row["service"], row["rule"]) == ("", "orders", "alert")
    assert row["starts_at"] == "2026-01-01T00:00:00.000Z"
    assert row["ends_at"] == "2026-01-01T01:00:00.000Z"
    [listed] = client.get(PATH, headers=world.auth(Role.VIEWER)).json()["items"]
    assert listed == {**row, "holds": True}
    [entry] = client.get("/api/v1/journal", headers=world.auth()).json()["items"]
    assert (entry["kind"], entry["subject"], entry["actor"]) == (
        "silence.began",
        row["id"],
        "operator",
    )


def test_it_ends_by_itself_or_by_a_person(client: httpx.Client, world: Any) -> None:
    """Then it is listed no more, but among all; ending it twice is refused by name; only as it
    was read."""
    one = silence(client, world).json()
    two = silence(client, world, service="stock", ttl_s=60).json()
    world.call(world.clock.advance(MINUTE))
    path = f"{PATH}/{one['id'][:8]}/end"
    stale = client.post(path, headers={**world.auth(), "If-Match": '"2"'})
    ended = client.post(path, headers={**world.auth(), "If-Match": '"1"'})
    again = client.post(path, headers=world.auth())
    expired = client.post(f"{PATH}/{two['id']}/end", headers=world.auth())

    assert (stale.status_code, ended.status_code) == (412, 200)
    assert (ended.json()["ended_by"], ended.json()["ends_at"]) == (
        "admin",
        "2026-01-01T00:01:00.000Z",
    )
    assert [(a.status_code, a.json()["code"]) for a in (again, expired)] == [
        (409, "illegal_change")
    ] * 2
    assert "possible: add" in again.json()["detail"]
    assert client.get(PATH, headers=world.auth()).json()["items"] == []
    every = client.get(PATH, headers=world.auth(), params={"every": True}).json()["items"]
    assert {row["id"]: row["holds"] for row in every} == {one["id"]: False, two["id"]: False}


def test_one_key_is_one_silence(client: httpx.Client, world: Any) -> None:
    """However often it is sent; another silence under it is refused."""
    headers = {**world.auth(), "Idempotency-Key": "k"}
    body = {"reason": "r", "ttl_s": 60, "service": "orders"}

    answers = [client.post(PATH, headers=headers, json=body) for _ in range(2)]
    other = client.post(PATH, headers=headers, json={**body, "ttl_s": 61})

    assert answers[0].json()["id"] == answers[1].json()["id"]
    assert len(client.get(PATH, headers=world.auth()).json()["items"]) == 1
    assert (other.status_code, other.json()["code"]) == (409, "conflict")


@pytest.mark.parametrize(
    ("wrong", "status"),
    [
        ({"service": ""}, 400),
        ({"ttl_s": 30 * 86_400 + 1}, 422),
        ({"ttl_s": 59}, 422),
        ({"ttl_s": None}, 422),
        ({"reason": ""}, 422),
        ({"by": "somebody else"}, 422),
    ],
    ids=str,
)
def test_what_is_no_silence_is_refused(
    client: httpx.Client, world: Any, wrong: dict[str, Any], status: int
) -> None:
    """Of everything, without an end or a reason, for too long, or in another's name."""
    assert silence(client, world, **wrong).status_code == status
    assert client.get(PATH, headers=world.auth()).json()["items"] == []
