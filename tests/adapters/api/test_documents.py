# SPDX-License-Identifier: Apache-2.0

"""Applying documents over HTTP: whole or not at all, and only what has changed."""

from __future__ import annotations

from typing import Any

import httpx

from opx.core.decide.roles import Role


def apply(client: httpx.Client, world: Any, text: str, **headers: str) -> httpx.Response:
    return client.post(
        "/api/v1/documents",
        headers={**world.auth(Role.AUTHOR), **headers},
        content=text.encode(),
        params={"source": "shop.yaml"},
    )


def listed(client: httpx.Client, world: Any) -> dict[str, Any]:
    rows = client.get("/api/v1/documents", headers=world.auth()).json()["items"]
    return {row["id"]: row for row in rows}


def test_documents_are_applied_each_with_its_own_text(
    client: httpx.Client, world: Any, made: Any
) -> None:
    """Two documents of one text become two rows, each with its YAML and who applied it."""
    answer = apply(client, world, f"{made.SERVICE}---\n{made.RUNBOOK}")

    applied = answer.json()["applied"]
    assert [(one["id"], one["changed"]) for one in applied] == [
        ("Service/orders", True),
        ("Runbook/restart", True),
    ]
    rows = listed(client, world)
    assert set(rows) == {"Service/orders", "Runbook/restart"}
    assert "kind: Service" in rows["Service/orders"]["text"]
    assert "kind: Runbook" not in rows["Service/orders"]["text"]
    assert rows["Runbook/restart"]["applied_by"] == "author"
    assert rows["Runbook/restart"]["applied_at"] == "2026-01-01T00:00:00.000Z"


def test_what_is_unchanged_stays_as_it_was(client: httpx.Client, world: Any, made: Any) -> None:
    """Applying the same content in other layout changes nothing and journals nothing."""
    apply(client, world, made.SERVICE)
    world.call(world.clock.advance(60_000))
    again = apply(
        client, world, "# a remark\n" + made.SERVICE.replace("name: orders", "name:  orders")
    )

    assert [one["changed"] for one in again.json()["applied"]] == [False]
    assert listed(client, world)["Service/orders"]["applied_at"] == "2026-01-01T00:00:00.000Z"
    journal = client.get("/api/v1/journal", headers=world.auth()).json()["items"]
    assert [row["kind"] for row in journal] == ["document.applied"]


def test_one_wrong_document_refuses_all(client: httpx.Client, world: Any, made: Any) -> None:
    """The error names file, line and the fix; the good document beside it is not applied."""
    wrong = made.RUNBOOK.replace("purpose:", "porpose:")
    answer = apply(client, world, f"{made.SERVICE}---\n{wrong}")

    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, "bad_document")
    line = made.SERVICE.count("\n") + 1 + wrong.split("porpose")[0].count("\n") + 1
    assert (problem["source"], problem["line"]) == ("shop.yaml", line)
    assert problem["hint"] == "did you mean 'purpose'?"
    assert listed(client, world) == {}


def test_references_are_resolved_in_what_is_known(
    client: httpx.Client, world: Any, made: Any
) -> None:
    """A service may depend on one that was applied before, not on one nobody knows."""
    payments = made.SERVICE.replace("orders", "payments") + "  dependsOn: [orders]\n"

    assert apply(client, world, payments).status_code == 422
    apply(client, world, made.SERVICE)
    assert apply(client, world, payments).status_code == 200
    services = client.get("/api/v1/services", headers=world.auth()).json()["items"]
    assert [(one["name"], one["depends_on"]) for one in services] == [
        ("orders", []),
        ("payments", ["orders"]),
    ]


def test_a_runbook_is_recorded_as_one_persons_doing(
    client: httpx.Client, world: Any, made: Any
) -> None:
    """Applying what can be executed is marked as single-person; a service is not."""
    apply(client, world, f"{made.SERVICE}---\n{made.RUNBOOK}")

    rows = client.get("/api/v1/journal", headers=world.auth()).json()["items"]
    assert {row["subject"]: row["body"]["single_person"] for row in rows} == {
        "Service/orders": False,
        "Runbook/restart": True,
    }


def test_linting_applies_nothing(client: httpx.Client, world: Any, made: Any) -> None:
    """A check says what it read, needs no more than reading, and leaves everything alone."""
    path = "/api/v1/documents/lint"
    well = client.post(path, headers=world.auth(Role.VIEWER), content=made.SERVICE)
    bad = client.post(path, headers=world.auth(Role.VIEWER), content="kind: [")

    assert [one["id"] for one in well.json()["documents"]] == ["Service/orders"]
    assert bad.status_code == 422
    assert listed(client, world) == {}


def test_what_is_not_text_is_refused(client: httpx.Client, world: Any) -> None:
    """Bytes that are no UTF-8 are the caller's mistake."""
    answer = client.post("/api/v1/documents", headers=world.auth(), content=b"\xff\xfe")

    assert (answer.status_code, answer.json()["code"]) == (400, "bad_input")
