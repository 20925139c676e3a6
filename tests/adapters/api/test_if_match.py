# SPDX-License-Identifier: Apache-2.0

"""What an ``If-Match`` comes to on every change: it holds, or it is refused, or it is a halt."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx

from opx.core.decide.case import Grant, Mode
from opx.core.decide.roles import Role

HALT = ("post", "/api/v1/automation/halt")
HONOURED = {
    *(
        ("post", f"/api/v1/incidents/{{id}}/{verb}")
        for verb in (
            "acknowledge", "assign", "comment", "merge", "resolve", "close", "reopen", "outcome",
        )
    ),
    ("post", "/api/v1/silences/{id}/end"),
    ("post", "/api/v1/documents"),
    ("delete", "/api/v1/documents/{kind}/{name}"),
    ("delete", "/api/v1/documents/Service/{environment}/{name}"),
}  # fmt: skip


def others(client: httpx.Client) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Every route of the API that is not only read, besides those above."""
    for path, methods in client.get("/api/v1/openapi.json").json()["paths"].items():
        for method, route in methods.items():
            known = method == "get" or (method, path) in HONOURED | {HALT}
            if path.startswith("/api/v1/") and not known:
                yield method, path, route


def described(route: dict[str, Any]) -> str:
    """What the description says of ``If-Match``; empty when it does not know it."""
    told = [one for one in route.get("parameters", ()) if one["name"] == "If-Match"]
    return told[0]["description"] if told else ""


def test_where_nothing_has_an_etag_none_can_match(client: httpx.Client, world: Any) -> None:
    """400 before anything of the body is looked at, and the description says so; whoever may
    not do it at all learns that first, and ``*`` is nobody's version."""
    seen = list(others(client))

    assert len(seen) > 10
    for method, path, route in seen:
        url = path.replace("{", "").replace("}", "")
        admin, match = world.auth(), {"If-Match": '"1"'}
        refused = client.request(method, url, headers={**admin, **match})
        assert (refused.status_code, refused.json()["code"]) == (400, "no_etag"), path
        assert "hint" in refused.json()
        assert "no_etag" in described(route), path
        assert client.request(method, url, headers=match).status_code == 401
        anyhow = client.request(method, url, headers={**admin, "If-Match": "*"})
        assert anyhow.json().get("code") != "no_etag", path


def test_the_routes_that_take_one_say_so(client: httpx.Client) -> None:
    """Each of them is there, and its description names the ``ETag``; a halt's does not."""
    paths = client.get("/api/v1/openapi.json").json()["paths"]

    for method, path in HONOURED:
        assert "it was read with" in described(paths[path][method]), path
    assert described(paths[HALT[1]][HALT[0]]) == ""


def test_a_change_that_was_refused_was_not_made(
    client: httpx.Client, world: Any, made: Any
) -> None:
    """A grant that would be given without one is not given with one that cannot hold."""
    author = world.auth(Role.ADMIN)
    known = f"{made.SERVICE}---\n{made.RUNBOOK}"
    client.post("/api/v1/documents", headers=author, content=known)
    wish = {
        "runbook": "restart",
        "environment": "shop",
        "service": "orders",
        "autonomy": "suggest",
    }

    def grant(**headers: str) -> int:
        sent = {**world.auth(), **headers}
        return client.post("/api/v1/grants", headers=sent, json=wish).status_code

    assert grant(**{"If-Match": '"1"'}) == 400
    assert world.call(world.store.read(lambda tx: tx.find(Grant))) == []
    assert grant() == 201


def test_nothing_holds_up_a_halt(client: httpx.Client, world: Any) -> None:
    """Whatever its ``If-Match`` says, opx is halted."""
    headers = {**world.auth(Role.OPERATOR), "If-Match": 'W/"never"'}
    body = {"scope": "all", "reason": "now"}

    answer = client.post("/api/v1/automation/halt", headers=headers, json=body)

    assert answer.status_code == 200
    mode = world.call(world.store.read(lambda tx: tx.get(Mode, "all")))
    assert mode.automation == "halted"
