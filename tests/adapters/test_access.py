# SPDX-License-Identifier: Apache-2.0

"""Who is asking over HTTP, and what an error looks like there."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request

from opx import errors
from opx.api import access as door
from opx.api import problems
from opx.core.decide.roles import Permission, Role
from opx.engine import access
from opx.engine.access import Access
from opx.engine.ports import Token
from opx.errors import NotAllowed, NotLoggedIn, OpxError
from opx.testing.memory import ManualClock, MemoryStore

NOW = 1_767_225_600_000


def request(method: str = "GET", **headers: str) -> Request:
    async def known() -> Access:
        clock, store = ManualClock(NOW), MemoryStore()
        token = Token(
            id=access.id_of("secret"), name="ann", roles=(Role.OPERATOR.value,), created_at=NOW
        )
        await store.write(lambda tx: tx.save(token))
        tokens = Access(store, clock)
        await tokens.refresh()
        return tokens

    app = Starlette()
    app.state.access = asyncio.run(known())
    pairs = {"host": "127.0.0.1:8080"} | {k.replace("_", "-"): v for k, v in headers.items()}
    return Request(
        {
            "type": "http",
            "method": method,
            "path": "/",
            "headers": [(name.encode(), value.encode()) for name, value in pairs.items()],
            "app": app,
        }
    )


SESSION = {"cookie": "opx_session=secret"}


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer secret"},
        {"authorization": "bearer  secret "},
        SESSION,
    ],
)
def test_a_token_or_a_session_says_who_it_is(headers: dict[str, str]) -> None:
    """The header and the cookie lead to the same principal."""
    who = door.authorise(request(**headers), Permission.READ)

    assert (who.name, who.roles) == ("ann", {Role.OPERATOR})


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer other"},
        {"authorization": "Bearer"},
        {"authorization": "Basic secret"},
        {"authorization": ""},
        {"authorization": "Bearer other"} | SESSION,
        {"cookie": "opx_session="},
    ],
)
def test_nobody_known_is_not_logged_in(headers: dict[str, str]) -> None:
    """No secret, a wrong one, or a header that is wrong although the cookie is right."""
    with pytest.raises(NotLoggedIn):
        door.authorise(request(**headers), Permission.READ)


def test_somebody_known_without_the_permission_is_not_allowed() -> None:
    """The roles decide, and the error says what is missing."""
    with pytest.raises(NotAllowed, match="ann may not manage tokens") as caught:
        door.authorise(request(authorization="Bearer secret"), Permission.MANAGE_TOKENS)

    assert not isinstance(caught.value, NotLoggedIn)


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({"sec_fetch_site": "same-origin"}, True),
        ({"origin": "http://127.0.0.1:8080"}, True),
        ({"sec_fetch_site": "same-origin", "origin": "http://127.0.0.1:8080"}, True),
        ({}, False),
        ({"sec_fetch_site": "cross-site"}, False),
        ({"sec_fetch_site": "same-site"}, False),
        ({"sec_fetch_site": "none"}, False),
        ({"origin": "null"}, False),
        ({"origin": "http://evil.example"}, False),
        ({"origin": "http://127.0.0.1:9"}, False),
        ({"origin": "http://["}, False),
        ({"sec_fetch_site": "same-origin", "origin": "http://evil.example"}, False),
        ({"sec_fetch_site": "cross-site", "origin": "http://127.0.0.1:8080"}, False),
    ],
)
def test_a_session_changes_things_from_our_own_pages_only(
    headers: dict[str, str], allowed: bool
) -> None:
    """The browser must say that it is the same origin, and nothing may say otherwise."""
    asking = request("POST", **SESSION, **headers)
    if allowed:
        assert door.authorise(asking, Permission.HALT).name == "ann"
    else:
        with pytest.raises(NotAllowed, match="own pages"):
            door.authorise(asking, Permission.HALT)


def test_a_session_may_look_from_anywhere_and_a_token_needs_no_origin() -> None:
    """Reading with the cookie and changing with a header are not what others can forge."""
    looking = request(**SESSION, sec_fetch_site="cross-site")
    changing = request("DELETE", authorization="Bearer secret", origin="http://evil.example")

    assert door.authorise(looking, Permission.READ).name == "ann"
    assert door.authorise(changing, Permission.HALT).name == "ann"


@pytest.mark.parametrize(
    ("error", "status", "more"),
    [
        (errors.BadInput("b"), 400, {"code": "bad_input", "detail": "b"}),
        (
            errors.DocumentError("d", source="f.yaml", line=3, hint="h"),
            422,
            {"code": "bad_document", "source": "f.yaml", "line": 3, "hint": "h"},
        ),
        (errors.ExpressionError("e"), 422, {"code": "bad_expression"}),
        (errors.TooLarge(), 413, {"code": "too_large"}),
        (errors.NotLoggedIn(), 401, {"code": "not_logged_in"}),
        (errors.NotAllowed(), 403, {"code": "not_allowed", "retryable": False}),
        (errors.NotFound("n"), 404, {"code": "not_found"}),
        (errors.Conflict(), 409, {"code": "conflict", "retryable": True}),
        (errors.Refused("r"), 409, {"code": "refused"}),
        (errors.Unavailable("u"), 503, {"code": "unavailable", "retryable": True}),
        (errors.Damaged("at byte 7"), 500, {"code": "damaged"}),
        (OpxError("secret thing"), 500, {"code": "internal"}),
    ],
)
def test_every_error_is_a_problem(error: OpxError, status: int, more: dict[str, Any]) -> None:
    """Status, code and what helps; what opx did wrong itself is not shown, but for a place."""
    answer = problems.of(error)
    body = json.loads(bytes(answer.body))

    assert (answer.status_code, answer.media_type) == (status, "application/problem+json")
    assert body | more == body
    assert {"type", "title", "status", "detail", "code"} <= body.keys()
    assert ("retry-after" in answer.headers) == (status == 503)
    assert (body["code"] == "internal") == ("log" in body["detail"])
    assert "secret thing" not in json.dumps(body)
