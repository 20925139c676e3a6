# SPDX-License-Identifier: Apache-2.0

"""Who may call which route: the whole table, and that nothing is left out of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute

from opx.api import create
from opx.api.routes import health, pages
from opx.core.decide import roles
from opx.core.decide.roles import Permission, Role

OPEN_TO_ALL = {
    ("GET", "/health"),
    ("GET", "/metrics"),
    ("GET", "/login"),
    ("GET", "/"),
    ("GET", "/api/v1/automation"),
}
SAFE = {"GET", "HEAD", "OPTIONS"}


def needed(dependant: Any) -> Iterator[Permission]:
    """What a route's dependencies ask for, and theirs."""
    for one in dependant.dependencies:
        if hasattr(one.call, "permission"):
            yield one.call.permission
        yield from needed(one)


def guarded(world: Any) -> Iterator[tuple[str, str, Permission | None]]:
    """Every route: method, a path with its parameters filled in, and what it needs."""
    seen = set()
    areas = [(area.router, create.PREFIX) for area in create.AREAS]
    areas += [(health.router, ""), (pages.router, "")]
    for router, prefix in areas:
        for route in router.routes:
            assert isinstance(route, APIRoute)
            seen.add(prefix + route.path)
            needs = list(needed(route.dependant))
            path = prefix + route.path.replace("{id}", "feed").replace("{run}", "feed")
            for method in route.methods:
                yield method, path, needs[0] if needs else None
    assert seen == set(world.application.openapi()["paths"])


def test_no_anonymous_write_exists(client: httpx.Client, world: Any) -> None:
    """Without a token every route but the five open ones answers 401, and no open one writes."""
    seen = list(guarded(world))

    assert len(seen) > 30
    for method, path, needed in seen:
        answer = client.request(method, path, params={"incident": "feed", "code": "no"})
        if needed is None:
            assert (method, path) in OPEN_TO_ALL
            assert method in SAFE
        else:
            assert answer.status_code == 401, (method, path)
            assert answer.headers["www-authenticate"].startswith("Bearer")
            assert answer.json()["code"] == "not_logged_in"


@pytest.mark.parametrize("role", Role)
def test_each_role_may_do_what_the_table_says(client: httpx.Client, world: Any, role: Role) -> None:
    """For every guarded route, a role gets 403 exactly when the table does not allow it."""
    world.front.live.close()  # so that the stream ends at once
    for method, path, needed in guarded(world):
        if needed is None:
            continue
        answer = client.request(method, path, headers=world.auth(role), params={"incident": "feed"})
        refused = answer.status_code == 403
        assert refused != roles.may([role], needed), (method, path, answer.status_code)
        assert answer.status_code != 401


def test_a_refusal_is_journalled_with_who_and_what(client: httpx.Client, world: Any) -> None:
    """What somebody was refused stands in the journal."""
    client.post("/api/v1/automation/halt", headers=world.auth(Role.VIEWER), json={})

    rows = client.get("/api/v1/journal?after=0", headers=world.auth()).json()["items"]
    assert [(row["kind"], row["actor"]) for row in rows] == [("access.refused", "viewer")]
    assert rows[0]["body"]["permission"] == "halt"
    assert rows[0]["body"]["path"] == "/api/v1/automation/halt"


def test_an_anonymous_change_is_journalled(client: httpx.Client, world: Any) -> None:
    """A change that nobody asked for stands in the journal, though no route saw it."""
    client.post("/api/v1/automation/halt", json={"scope": "all", "reason": "r"})

    rows = client.get("/api/v1/journal?after=0", headers=world.auth()).json()["items"]
    assert [(row["kind"], row["actor"]) for row in rows] == [("access.refused", "nobody")]
    assert rows[0]["body"]["path"] == "/api/v1/automation/halt"


def test_hammering_at_the_door_does_not_fill_the_journal(client: httpx.Client, world: Any) -> None:
    """Of 40 refusals in a minute 30 are journalled; the next minute's first counts the rest."""
    for _ in range(40):
        client.get("/api/v1/tokens")
    world.call(world.clock.advance(60_000))
    client.get("/api/v1/tokens")

    rows = client.get("/api/v1/journal?after=0", headers=world.auth()).json()["items"]
    assert len(rows) == 31
    assert rows[-1]["body"]["unrecorded"] == 10
