# SPDX-License-Identifier: Apache-2.0

"""A policy that lets opx do more takes who may grant; a stricter one takes an author."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from opx.core.decide.roles import Role

POLICY = """\
apiVersion: opx/v1
kind: Policy
metadata: {{name: default}}
spec: {{{spec}}}
"""
"""``Policy()`` is in force at first: sev3, 60 s, 3 in a row, 15 min, 30 runs, 0.8."""


def apply(client: httpx.Client, world: Any, spec: str, role: Role = Role.AUTHOR) -> httpx.Response:
    return client.post(
        "/api/v1/documents", headers=world.auth(role), content=POLICY.format(spec=spec)
    )


def applied(client: httpx.Client, world: Any) -> list[str]:
    rows = client.get("/api/v1/documents", headers=world.auth()).json()["items"]
    return [row["applied_by"] for row in rows]


def test_an_author_may_not_loosen_the_policy(client: httpx.Client, world: Any) -> None:
    """Refused by name of every field that is looser, kept nowhere, and journalled."""
    answer = apply(client, world, "ceiling: sev1, cooldown: 2m, minPFix: 0.5")

    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (403, "not_allowed")
    assert problem["detail"] == "author may not loosen the policy: ceiling, minPFix"
    assert applied(client, world) == []
    rows = client.get("/api/v1/journal", headers=world.auth()).json()["items"]
    assert [(row["kind"], row["actor"]) for row in rows] == [("access.refused", "author")]
    assert rows[0]["body"]["permission"] == "loosen the policy: ceiling, minPFix"


def test_an_author_may_tighten_it(client: httpx.Client, world: Any) -> None:
    """Stricter limits, and the same ones again, are an author's to set."""
    strict = "ceiling: sev4, cooldown: 2m, breakerAfter: 2, calibratedAfter: 50, minPFix: 0.9"

    assert apply(client, world, strict).status_code == 200
    assert apply(client, world, strict).status_code == 200
    assert applied(client, world) == ["author"]


def test_back_to_the_default_is_looser_than_a_strict_one(client: httpx.Client, world: Any) -> None:
    """It is the policy in force that counts, and what a document leaves out is its default."""
    apply(client, world, "cooldown: 2m")

    assert apply(client, world, "ceiling: sev4").json()["detail"].endswith("policy: cooldown")


@pytest.mark.parametrize("spec", ["ceiling: sev1", "approvalTtl: 1h"])
def test_who_may_grant_may_loosen(client: httpx.Client, world: Any, spec: str) -> None:
    """An administrator's looser policy is applied."""
    assert apply(client, world, spec, Role.ADMIN).status_code == 200
    assert applied(client, world) == ["admin"]
