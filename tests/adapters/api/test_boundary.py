# SPDX-License-Identifier: Apache-2.0

"""What holds for every request and answer: names, headers, problems, bounds, pages."""

from __future__ import annotations

import base64
import hashlib
import logging
import socket
from typing import Any

import httpx
import pytest

from opx.core.base.reads import Stat
from opx.core.base.time import Window
from opx.core.decide.roles import Role
from opx.errors import Damaged

QUERY = {
    "metric": "http_requests",
    "labels": {"service": "orders"},
    "start": "2026-01-01T00:00:00Z",
    "end": "2026-01-01T00:09:59.999Z",
    "step": "1m",
    "stat": "sum",
}


@pytest.mark.parametrize("host", ["127.0.0.1:1", "localhost", "LOCALHOST:8470", "[::1]:8470"])
def test_loopback_names_are_ours(client: httpx.Client, host: str) -> None:
    """Every loopback name answers, with a port or without."""
    assert client.get("/health", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil:80", ""]
)
def test_a_name_that_is_not_ours_gets_nothing(client: httpx.Client, world: Any, host: str) -> None:
    """A page elsewhere whose name points here cannot read opx, token or not."""
    answer = client.get("/api/v1/status", headers={**world.auth(), "Host": host})

    assert (answer.status_code, answer.json()["code"]) == (421, "unknown_host")


def test_a_proxys_name_can_be_allowed(client: httpx.Client, world: Any) -> None:
    """A name in ``allowed_hosts`` is ours too."""
    world.front.allowed_hosts = ("opx.example.org",)

    assert client.get("/health", headers={"Host": "opx.example.org"}).status_code == 200
    assert client.get("/health", headers={"Host": "other.example.org"}).status_code == 421


@pytest.mark.parametrize("path", ["/health", "/", "/nowhere", "/api/v1/status"])
def test_every_answer_has_the_security_headers(client: httpx.Client, path: str) -> None:
    """Whatever is answered, a browser is told to trust nothing in it."""
    headers = client.get(path).headers

    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["cache-control"] == "no-store"
    policy = headers["content-security-policy"]
    for part in ("default-src 'none'", "frame-ancestors 'none'", "form-action 'self'"):
        assert part in policy
    assert "unsafe" not in policy
    assert headers["x-opx-automation"] == "running"
    assert "server" not in headers


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("GET", "/api/v1/incidents/feed", 404, "not_found"),
        ("PUT", "/api/v1/incidents", 405, "method_not_allowed"),
        ("GET", "/api/v1/incidents?limit=0", 422, "invalid"),
        ("GET", "/api/v1/incidents?cursor=x", 400, "bad_input"),
    ],
)
def test_every_error_is_a_problem(
    client: httpx.Client, world: Any, method: str, path: str, status: int, code: str
) -> None:
    """RFC 9457, with a code for programs, for our errors and the framework's."""
    answer = client.request(method, path, headers=world.auth())

    assert (answer.status_code, answer.headers["content-type"]) == (
        status,
        "application/problem+json",
    )
    problem = answer.json()
    assert (problem["status"], problem["code"]) == (status, code)
    assert problem["type"] == f"urn:opx:problem:{code}"
    assert problem["title"]
    assert problem["detail"]


def test_the_pages_own_style_is_allowed_and_no_other(client: httpx.Client) -> None:
    """The policy names the one style sheet by its hash; there is no script and no attribute."""
    answer = client.get("/")

    style = answer.text.partition("<style>")[2].partition("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in answer.headers["content-security-policy"]
    assert "<script" not in answer.text
    assert "style=" not in answer.text


def test_an_unexpected_error_says_nothing_of_the_inside(
    client: httpx.Client, world: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A 500 without the message; the log has the traceback, and never the token."""

    def broken() -> list[Any]:
        raise RuntimeError("the secret recipe")

    world.front.anchors = broken
    with caplog.at_level(logging.ERROR, "opx.api"):
        answer = client.get("/api/v1/audit/verify", headers=world.auth())

    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert "recipe" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "the secret recipe" in caplog.text
    assert world.secrets[Role.ADMIN] not in caplog.text


def test_damage_says_where_it_is(client: httpx.Client, world: Any) -> None:
    """It is not taken for a mistake of opx: whoever asks learns which line it is."""

    def damaged() -> list[Any]:
        raise Damaged("Entry 7 is not what was written")

    world.front.anchors = damaged
    answer = client.get("/api/v1/audit/verify", headers=world.auth())

    assert (answer.status_code, answer.json()["code"]) == (500, "damaged")
    assert "Entry 7 is not" in answer.json()["detail"]


@pytest.mark.parametrize("chunked", [False, True])
def test_bodies_are_bounded(client: httpx.Client, world: Any, chunked: bool) -> None:
    """More than a megabyte is refused, whether its length was told or not."""
    pieces = (b"#" * 65_536 for _ in range(17))
    body = pieces if chunked else b"#" * 65_536 * 17
    answer = client.post("/api/v1/documents", headers=world.auth(), content=body)

    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


def test_a_length_of_many_digits_is_too_long(served: str, world: Any) -> None:
    """Whatever number it is: 413, from whoever asks, and no error of opx's own."""
    port = int(served.rpartition(":")[2])
    for digits in ("0" * 5_000, "9" * 18):
        with socket.create_connection(("127.0.0.1", port), timeout=20) as raw:
            raw.sendall(
                b"POST /api/v1/documents HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                b"Content-Length: " + digits.encode() + b"\r\n\r\n"
            )
            assert raw.recv(12) == b"HTTP/1.1 413"


@pytest.mark.parametrize(
    ("scope", "bad"),
    [("all", b"{"), ("all", b"[1]"), ("all", b'{"scope": "all", "reason": ""}'), ("all", b"")],
)
def test_a_body_that_is_no_request_is_refused(
    client: httpx.Client, world: Any, scope: str, bad: bytes
) -> None:
    """Broken JSON, the wrong shape, an empty reason: 422, and nothing was halted."""
    headers = {**world.auth(), "Content-Type": "application/json"}
    answer = client.post("/api/v1/automation/halt", headers=headers, content=bad)

    assert answer.status_code == 422
    assert client.get("/api/v1/automation").json()["automation"] == "running"


def test_who_is_asked_before_what(client: httpx.Client, world: Any) -> None:
    """Without the right to it, a wrong body is still a 403: the schema is not told."""
    answer = client.post(
        "/api/v1/automation/halt", headers=world.auth(Role.VIEWER), json={"nonsense": 1}
    )

    assert answer.status_code == 403


def test_a_metric_query_reaches_brain(client: httpx.Client, world: Any) -> None:
    """Times and step are read; an inclusive end is the next instant; gaps are null."""
    answer = client.post("/api/v1/query", headers=world.auth(Role.VIEWER), json=QUERY)

    assert answer.json() == {
        "buckets": [
            {"at": "2026-01-01T00:00:00.000Z", "value": 1.5},
            {"at": "2026-01-01T00:01:00.000Z", "value": None},
        ]
    }
    asked = world.brain.asked
    assert asked.window == Window(1_767_225_600_000, 1_767_226_200_000)
    assert (asked.step, asked.stat, asked.labels) == (60_000, Stat.SUM, {"service": "orders"})
    world.brain.up = False
    away = client.post("/api/v1/query", headers=world.auth(), json=QUERY)
    assert (away.status_code, away.headers["retry-after"]) == (503, "1")


@pytest.mark.parametrize(
    "wrong",
    [
        {"start": "2026-01-01T00:00:00"},
        {"start": "yesterday"},
        {"end": "2025-01-01T00:00:00Z"},
        {"step": "0s"},
        {"step": "1ms"},
        {"step": "often"},
    ],
)
def test_a_query_that_makes_no_sense_is_refused(
    client: httpx.Client, world: Any, wrong: dict[str, str]
) -> None:
    """No zone, no order, no step, or too many buckets: the caller's mistake."""
    answer = client.post("/api/v1/query", headers=world.auth(), json={**QUERY, **wrong})

    assert (answer.status_code, answer.json()["code"]) == (400, "bad_input")
    assert world.brain.asked is None


def test_health_and_metrics_need_no_login(client: httpx.Client) -> None:
    """A probe gets its 200, a scraper its text."""
    assert client.get("/health").json()["status"] == "ok"
    metrics = client.get("/metrics")
    assert metrics.text == "opx_up 1.0\n"
    assert metrics.headers["content-type"].startswith("text/plain")


def test_the_page_escapes_what_others_wrote(client: httpx.Client, world: Any, made: Any) -> None:
    """A title from another system is text on the page, never markup."""
    world.put(made.incident("incident-1", title="<script>alert(1)</script>"))

    page = client.get("/", headers=world.auth(Role.VIEWER)).text

    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "SEV2" in page


def test_the_page_without_a_login_says_how_to_get_one(client: httpx.Client) -> None:
    """401, and nothing of what opx knows."""
    answer = client.get("/")

    assert answer.status_code == 401
    assert "opx login" in answer.text


def test_the_description_is_complete(client: httpx.Client) -> None:
    """OpenAPI names both ways to log in on every guarded operation, and the problems."""
    described = client.get("/api/v1/openapi.json").json()

    assert set(described["components"]["securitySchemes"]) == {"HTTPBearer", "APIKeyCookie"}
    open_ones = {"/health", "/metrics", "/login", "/", "/api/v1/automation"}
    for path, operations in described["paths"].items():
        for operation in operations.values():
            assert ("security" in operation) == (path not in open_ones)
            assert operation["summary"]
            assert operation["description"]
            assert "application/problem+json" in operation["responses"]["503"]["content"]
    assert "code" in described["components"]["schemas"]["Problem"]["properties"]
