# SPDX-License-Identifier: Apache-2.0

"""Tokens, sessions and login links over HTTP."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from opx.core.decide.roles import Role

WANTED = {"name": "grafana", "roles": ["viewer"], "services": ["orders"], "ttl_s": 3_600}


def make(client: httpx.Client, world: Any, **other: Any) -> httpx.Response:
    return client.post("/api/v1/tokens", headers=world.auth(), json={**WANTED, **other})


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def test_a_secret_is_shown_once_and_works_at_once(client: httpx.Client, world: Any) -> None:
    """The made token opens what its role allows, and no list ever shows it again."""
    made = make(client, world).json()

    assert made["token"].startswith("opx_")
    assert len(made["token"]) == 47
    assert made["expires_at"] == "2026-01-01T01:00:00.000Z"
    assert client.get("/api/v1/incidents", headers=bearer(made["token"])).status_code == 200
    assert client.get("/api/v1/tokens", headers=bearer(made["token"])).status_code == 403
    everything = client.get("/api/v1/tokens", headers=world.auth()).text
    journal = client.get("/api/v1/journal?after=0", headers=world.auth()).text
    for text in (everything, journal):
        assert made["token"] not in text
        assert made["id"] in text
    assert len(made["id"]) == 12


def test_a_token_ends(client: httpx.Client, world: Any) -> None:
    """After its time a token opens nothing, and the list says that it expired."""
    made = make(client, world).json()
    world.call(world.clock.advance(3_600_000))
    world.call(world.front.access.refresh())

    assert client.get("/api/v1/incidents", headers=bearer(made["token"])).status_code == 401
    rows = client.get("/api/v1/tokens", headers=world.auth()).json()["items"]
    assert {row["name"]: row["state"] for row in rows}["grafana"] == "expired"


def test_a_revoked_token_is_dead_at_once(client: httpx.Client, world: Any) -> None:
    """Revoking by a prefix works on the next request, and a second time changes nothing."""
    made = make(client, world).json()
    path = f"/api/v1/tokens/{made['id'][:6]}"

    first = client.delete(path, headers=world.auth()).json()
    assert client.get("/api/v1/incidents", headers=bearer(made["token"])).status_code == 401
    world.call(world.clock.advance(1_000))
    again = client.delete(path, headers=world.auth()).json()

    assert first["state"] == "revoked"
    assert again["revoked_at"] == first["revoked_at"]
    assert client.delete("/api/v1/tokens/ffff", headers=world.auth()).status_code == 404


def test_a_name_belongs_to_one(client: httpx.Client, world: Any) -> None:
    """The journal must tell people apart: no second token of a name, and none of opx's own."""
    made = make(client, world).json()

    assert make(client, world).status_code == 409
    assert make(client, world, name="brain").status_code == 409
    client.delete(f"/api/v1/tokens/{made['id']}", headers=world.auth())
    assert make(client, world).status_code == 201


@pytest.mark.parametrize(
    "wrong",
    [
        {"roles": ["root"]},
        {"roles": []},
        {"ttl_s": 10},
        {"ttl_s": 367 * 86_400},
        {"name": "a b"},
        {"admin": True},
    ],
)
def test_a_token_that_makes_no_sense_is_refused(
    client: httpx.Client, world: Any, wrong: dict[str, Any]
) -> None:
    """Unknown roles, no end, odd names and unknown fields make no token."""
    assert make(client, world, **wrong).status_code == 422


def test_a_key_cannot_bring_a_secret_back(client: httpx.Client, world: Any) -> None:
    """The secret is not kept, so the same key is a conflict, and no second token is made."""
    headers = {**world.auth(), "Idempotency-Key": "k"}
    first = client.post("/api/v1/tokens", headers=headers, json=WANTED)
    again = client.post("/api/v1/tokens", headers=headers, json=WANTED)

    assert (first.status_code, again.status_code) == (201, 409)
    rows = client.get("/api/v1/tokens", headers=world.auth()).json()["items"]
    assert [row["name"] for row in rows].count("grafana") == 1


def test_a_login_link_opens_one_session(client: httpx.Client, world: Any) -> None:
    """The code gives a cookie scripts and other sites cannot use, once; it opens the page."""
    path = client.post("/api/v1/tokens/login", headers=world.auth()).json()["path"]

    answer = client.get(path)

    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "max-age=43200" in cookie
    assert client.get("/").status_code == 200
    assert client.get("/api/v1/tokens").status_code == 200
    client.cookies.clear()
    again = client.get(path)
    assert (again.status_code, again.json()["code"]) == (401, "not_logged_in")


def test_a_login_link_is_no_token_and_dies(client: httpx.Client, world: Any) -> None:
    """A code is no bearer token, and after ten minutes it opens nothing."""
    path = client.post("/api/v1/tokens/login", headers=world.auth()).json()["path"]
    code = path.partition("code=")[2]

    assert client.get("/api/v1/incidents", headers=bearer(code)).status_code == 401
    world.call(world.clock.advance(600_000))
    assert client.get(path).status_code == 401


def log_in(client: httpx.Client, headers: dict[str, str]) -> str:
    """Open a session and return its secret; no cookie is kept."""
    path = client.post("/api/v1/tokens/login", headers=headers).json()["path"]
    session = client.get(path).cookies["opx_session"]
    client.cookies.clear()
    return session


def cookie(session: str) -> dict[str, str]:
    return {"Cookie": f"opx_session={session}"}


def test_a_revoked_token_takes_its_sessions_along(client: httpx.Client, world: Any) -> None:
    """Its session is out on the next request, and the list shows it beneath, ended."""
    made = make(client, world, name="ann", roles=["admin"]).json()
    session = log_in(client, bearer(made["token"]))
    assert client.get("/api/v1/status", headers=cookie(session)).status_code == 200

    client.delete(f"/api/v1/tokens/{made['id']}", headers=world.auth())

    assert client.get("/api/v1/status", headers=cookie(session)).status_code == 401
    rows = client.get("/api/v1/tokens", headers=world.auth()).json()["items"]
    place = next(n for n, row in enumerate(rows) if row["id"] == made["id"])
    token, opened = rows[place], rows[place + 1]
    assert (token["parent"], token["state"]) == ("", "revoked")
    assert (opened["parent"], opened["state"]) == (made["id"], "ended")


def test_a_session_can_be_revoked_by_itself(client: httpx.Client, world: Any) -> None:
    """By its own id; the token it was opened with goes on."""
    session = log_in(client, world.auth())
    rows = client.get("/api/v1/tokens", headers=world.auth()).json()["items"]
    id = next(row["id"] for row in rows if row["parent"])

    done = client.delete(f"/api/v1/tokens/{id[:8]}", headers=world.auth()).json()

    assert (done["id"], done["state"]) == (id, "revoked")
    assert client.get("/api/v1/status", headers=cookie(session)).status_code == 401
    assert client.get("/api/v1/status", headers=world.auth()).status_code == 200


def test_logging_out_ends_the_session_and_no_other(client: httpx.Client, world: Any) -> None:
    """From our own page a session ends itself; with the token every one of its sessions ends."""
    first, second, third = (log_in(client, world.auth()) for _ in range(3))
    ours = {"Origin": str(client.base_url).rstrip("/")}

    def alive() -> list[bool]:
        codes = [
            client.get("/api/v1/status", headers=cookie(one)) for one in (first, second, third)
        ]
        return [answer.status_code == 200 for answer in codes]

    assert client.post("/logout", headers=cookie(first)).status_code == 403
    assert alive() == [True, True, True]
    left = client.post("/logout", headers={**cookie(first), **ours})
    assert (left.status_code, left.headers["location"]) == (303, "/")
    assert "max-age=0" in left.headers["set-cookie"].lower()
    assert alive() == [False, True, True]
    assert client.post("/logout", headers=world.auth()).status_code == 303
    assert alive() == [False, False, False]
    assert client.get("/api/v1/status", headers=world.auth()).status_code == 200
    assert client.post("/logout").status_code == 401


def test_links_and_codes_leave_their_mark(client: httpx.Client, world: Any) -> None:
    """A link that is made, a session that is opened or ended, and a code that is wrong, used
    again or over: each is a line in the journal, and none of them has the code."""
    path = client.post("/api/v1/tokens/login", headers=world.auth()).json()["path"]
    for link in (path, path, "/login?code=opx_wrong"):
        client.get(link)
    client.cookies.clear()
    late = client.post("/api/v1/tokens/login", headers=world.auth()).json()["path"]
    world.call(world.clock.advance(600_000))
    world.call(world.front.access.refresh())
    client.get(late)
    client.post("/logout", headers=world.auth())

    answer = client.get("/api/v1/journal?after=0", headers=world.auth())
    seen = [
        (row["kind"], row["actor"], row["body"].get("detail", "")) for row in answer.json()["items"]
    ]
    assert seen == [
        ("link.made", "admin", ""),
        ("session.opened", "admin", ""),
        ("access.refused", "nobody", "this login link was used"),
        ("access.refused", "nobody", "this login link never was"),
        ("link.made", "admin", ""),
        ("access.refused", "nobody", "this login link is over"),
        ("session.ended", "admin", ""),
    ]
    assert path.partition("code=")[2] not in answer.text


def test_behind_a_proxy_the_cookie_is_for_tls_alone(client: httpx.Client, world: Any) -> None:
    """Where browsers come over TLS the session is never sent without it."""
    world.front.behind_proxy = True
    path = client.post("/api/v1/tokens/login", headers=world.auth()).json()["path"]

    assert "secure" in client.get(path).headers["set-cookie"].lower().split("; ")


def test_another_sites_page_cannot_use_a_session(client: httpx.Client, world: Any) -> None:
    """With the cookie, a change must come from our own origin; with a token it need not."""
    client.get(client.post("/api/v1/tokens/login", headers=world.auth()).json()["path"])
    halt = {"scope": "all", "reason": "r"}
    path = "/api/v1/automation/halt"
    evil = {"Origin": "http://localhost:3000"}

    assert client.post(path, json=halt, headers=evil).status_code == 403
    assert client.post(path, json=halt).status_code == 403
    ours = {"Origin": str(client.base_url).rstrip("/")}
    assert client.post(path, json=halt, headers=ours).status_code == 200
    assert client.post(path, json=halt, headers={**world.auth(), **evil}).status_code == 200


def test_a_session_has_its_makers_roles(client: httpx.Client, world: Any) -> None:
    """A login link carries the roles of whoever asked for it, under their name."""
    client.get(client.post("/api/v1/tokens/login", headers=world.auth(Role.ADMIN)).json()["path"])

    rows = client.get("/api/v1/tokens").json()["items"]
    sessions = [row for row in rows if row["name"] == "admin" and row["expires_at"]]
    assert [row["roles"] for row in sessions] == [["admin"]]
    assert sessions[0]["expires_at"] == "2026-01-01T12:00:00.000Z"
