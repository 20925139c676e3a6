# SPDX-License-Identifier: Apache-2.0

"""The whole API, driven from its own description, and the doors that are not in it."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.e2e.support import Opx, running, until

from opx.adapters.system import SystemClock
from opx.api import ingest
from opx.core.base import time as opx_time
from opx.core.base.time import DAY
from opx.core.decide.roles import Role
from opx.playground import processes

DESCRIPTION = "/api/v1/openapi.json"
SAFE = {"get", "head", "options"}
ENDLESS = "/api/v1/stream"
NOT_ASKED = (
    # A document, an instant and a cursor are text to a schema, and not any text is one.
    "positive_data_acceptance",
    # Where a path has two operations, the framework names those of the first alone.
    "allow_header_conformance",
)
BROKEN = """
apiVersion: opx/v1
kind: Service
metadata: {{name: broken}}
spec:
  environment: test
  health: {{http: "http://127.0.0.1:{port}/", interval: 1s, timeout: 1s, failures: 1}}
  target: "http://127.0.0.1:{port}#broken"
"""


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opx]:
    """An opx of its own, because here anything may be done to it. It waits for an approval."""
    with running(tmp_path_factory.mktemp("fuzzed")) as opx:
        opx.apply(BROKEN.format(port=processes.free_ports(1)[0]))
        until(lambda: opx.get("/approvals")["items"], "an approval to be asked for")
        yield opx
        assert opx.complete()
        assert "Traceback" not in opx.said()


@pytest.fixture(scope="module")
def described(up: Opx) -> dict[str, Any]:
    found: dict[str, Any] = up.http.get(DESCRIPTION).raise_for_status().json()
    return found


THOROUGH = ("--phases", "coverage,fuzzing", "--max-examples", "10")
"""Every boundary of every field by turns, too: some two thousand requests."""
BRIEF = ("--phases", "fuzzing", "--max-examples", "5")
"""A few of everything, valid and not: some three hundred requests."""


def drive(up: Opx, folder: Path, *how: str, role: str = "admin", configuration: str = "") -> None:
    """Schemathesis as a process. What it finds, it prints with a command that shows it again."""
    token = up.token(f"driver-{role}-{folder.name}", role)
    file = folder / "schemathesis.toml"
    file.write_text(configuration)
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("schemathesis")),
            *("--config-file", str(file), "--no-color", "run", up.address + DESCRIPTION),
            *("--header", f"Authorization: Bearer {token}", "--exclude-path", ENDLESS),
            *("--checks", "all", "--exclude-checks", ",".join(NOT_ASKED)),
            *("--request-timeout", "30"),
            *how,
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = up.client(token).get("/api/v1/status").status_code
    assert found == (403 if role == "ingest" else 200), "it locked itself out"


@pytest.mark.parametrize("role", [role.value for role in Role if role is not Role.ADMIN])
def test_every_role_is_answered_as_described(up: Opx, tmp_path: Path, role: str) -> None:
    """Whatever somebody of this role sends to any operation, what they may do and what they
    may not is answered with a status, a type and a body that the description knows. What is in
    a request is looked at in the same way for all of them, by what an administrator sends."""
    drive(up, tmp_path, *BRIEF, role=role)


def test_every_operation_answers_as_it_is_described(up: Opx, tmp_path: Path) -> None:
    """Whatever an administrator sends, valid or not, no operation fails inside, and each
    answers with a status, a type and a body that the description knows."""
    doomed = up.post("/tokens", {"name": "doomed", "roles": ["viewer"]})["id"]
    drive(
        up,
        tmp_path,
        *THOROUGH,
        configuration=f"""
        [[operations]]
        include-name = "DELETE /api/v1/tokens/{{id}}"
        parameters = {{ "path.id" = "{doomed}" }}
        """,
    )


def test_operations_on_what_is_there_answer_as_described(up: Opx, tmp_path: Path) -> None:
    """The same for an incident and a run that exist, so that more is reached than a 404."""
    approval = up.get("/approvals")["items"][0]
    drive(
        up,
        tmp_path,
        *(*THOROUGH, "--include-path-regex", "/incidents/|/approvals/|/runs"),
        configuration=f"""
        [[operations]]
        include-path-regex = "/incidents/"
        parameters = {{ "path.id" = "{approval["incident"]}" }}
        [[operations]]
        include-path-regex = "/approvals/"
        parameters = {{ "path.run" = "{approval["id"]}" }}
        [[operations]]
        include-path = "/api/v1/runs"
        parameters = {{ "query.incident" = "{approval["incident"]}" }}
        """,
    )


def unsafe(described: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Every operation that may change something: its method, and its path filled in."""
    for path, operations in described["paths"].items():
        for method in operations.keys() - SAFE:
            yield method.upper(), path.replace("{", "").replace("}", "")


def attempts(client: httpx.Client, method: str, path: str) -> set[int]:
    """What is answered to a request without a body, with a bad one and with a fair one."""
    kind = {"Content-Type": "application/json"}
    return {
        client.request(method, path, content=body, headers=kind).status_code
        for body in (b"", b"{", b"{}")
    }


def test_nobody_may_change_anything(up: Opx, described: dict[str, Any]) -> None:
    """Without a token each operation that may change something says 401, before it looks at
    what was sent; with one that may only look it does nothing, unless it only looks, too, or
    ends what is the asker's own."""
    looks = {"/api/v1/query", "/api/v1/documents/plan", "/logout"}
    nobody, looker = up.client(), up.member("looker", "viewer")
    doors = list(unsafe(described))
    assert {("POST", path) for path in ingest.PATHS} < set(doors)
    strong = {path: attempts(nobody, method, path) for method, path in doors}
    assert {path: codes for path, codes in strong.items() if codes != {401}} == {}
    weak = {path: attempts(looker, method, path) for method, path in doors}
    assert {path for path, codes in weak.items() if 403 not in codes} == looks
    assert all(codes <= {403, 422} for path, codes in weak.items() if path not in looks)


NAMES = (
    *("labels", "annotations", "startsAt", "endsAt", "generatorURL", "metric", "metrics", "value"),
    *("timestamp", "specversion", "id", "source", "type", "time", "data", "severity", "service"),
    *("version", "alerts", "status", "message", "level", "values", "timestamps", "nodeId"),
)
KINDS = (
    *("application/json", "application/cloudevents+json", "application/cloudevents-batch+json"),
    *("application/json; charset=utf-16", "application/json;", "application/x-ndjson"),
    *("text/plain", "", "é/é"),
)
WORDS = ("1.0", "2026-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "sev1", "NaN")
JSON, PLAIN = "application/json", "identity"
plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
values = st.recursive(
    plain | st.sampled_from(WORDS),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=5), inner, max_size=5)
    ),
    max_leaves=20,
)
bodies = st.binary(max_size=200) | values.map(lambda value: json.dumps(value).encode())
kinds = st.sampled_from(KINDS)
encodings = st.sampled_from([PLAIN, "gzip", "GZIP", "br", "gzip, gzip", ""])


@pytest.fixture(scope="module")
def sender(up: Opx, described: dict[str, Any]) -> httpx.Client:
    """Whoever sends telemetry. Each answer has a status that the description knows, and none is
    an error of ours."""
    client = up.member("sender", "ingest")

    def check(answer: httpx.Response) -> None:
        answer.read()
        post = described["paths"][answer.url.path]["post"]
        assert str(answer.status_code) in post["responses"], answer.text
        assert answer.status_code < 500, answer.text

    client.event_hooks["response"].append(check)
    return client


ANY_TIME = st.one_of(
    st.datetimes(timezones=st.timezones()).map(lambda at: at.isoformat()),
    st.sampled_from(
        [
            *("9999-12-31T23:59:59.999Z", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00Z"),
            *("0001-01-01T00:00:00+23:59", "1969-12-31T23:59:59Z", "10000-01-01T00:00:00Z"),
        ]
    ),
    st.integers(-20, 20).map(lambda days: opx_time.to_wire(SystemClock().now() + days * DAY)),
)
ANY_NUMBER = st.integers() | st.floats() | st.sampled_from([10**18, -(10**18), 2**63 - 1, -(2**63)])
ANY_FIELDS = st.dictionaries(
    st.sampled_from(["at", "since", "opened_at", "n"]) | st.text(max_size=5),
    ANY_NUMBER | ANY_TIME | st.text(max_size=20),
    max_size=4,
)
ANY_LABELS = st.dictionaries(
    st.sampled_from(["at", "expires_at", "x"]), st.text(max_size=9) | ANY_TIME, max_size=2
)
SHOWN = (
    *("/incidents?limit=200", "/quarantine", "/journal", "/journal?after=0", "/notices"),
    *("/suppressed", "/status", "/approvals", "/services", "/grants", "/breakers"),
    *("/predictions?all=true", "/predictions/score"),
)


@settings(max_examples=60)
@given(start=ANY_TIME, end=ANY_TIME, fields=ANY_FIELDS, labels=ANY_LABELS, number=ANY_NUMBER)
def test_what_was_taken_can_be_shown(
    up: Opx,
    sender: httpx.Client,
    start: str,
    end: str,
    fields: dict[str, Any],
    labels: dict[str, str],
    number: float,
) -> None:
    """Whatever times and numbers an alert, an event, a point or a line has: once it was taken or
    refused, every list and every incident with its timeline can be read."""
    named = {"alertname": "fuzz", "service": "fuzzed", **labels}
    alerts = [{"labels": named, "startsAt": start, "endsAt": end}, {"labels": named}]
    event = {"specversion": "1.0", "id": start, "source": "s", "type": "t", "severity": "sev3"}
    sent = {
        "/api/v2/alerts": alerts,
        "/hooks/alertmanager": {"alerts": [{**one, "status": "firing"} for one in alerts]},
        "/events": {**event, "time": end, "data": fields, "service": "fuzzed"},
        "/metrics": [{"metric": "m", "value": number, "timestamp": at} for at in (end, number)],
        "/logs": [{**fields, "msg": "m", "level": "error", "ts": at} for at in (end, number)],
    }
    for path, body in sent.items():
        content = json.dumps(body).encode()
        sender.post(path, content=content, headers={"Content-Type": JSON})
    for path in SHOWN:
        answer = up.http.get(f"/api/v1{path}")
        assert answer.status_code == 200, (path, answer.text)
    for incident in up.incidents("fuzzed")[:3]:
        for path in ("", "/why"):
            answer = up.http.get(f"/api/v1/incidents/{incident['id']}{path}")
            assert answer.status_code == 200, (path, answer.text)


@settings(max_examples=150)
@given(body=bodies, kind=kinds, encoding=encodings, zipped=st.booleans())
@example(body=b"[" * 100_000, kind=JSON, encoding=PLAIN, zipped=False)
@example(body=b"[" * 50_000 + b"]" * 50_000, kind=JSON, encoding=PLAIN, zipped=False)
@example(body=b'{"labels":' * 50_000, kind=JSON, encoding=PLAIN, zipped=False)
@example(body=b"\xff\xfe[]", kind=JSON, encoding=PLAIN, zipped=False)
@example(body=b"[" + b"0," * 20_000 + b"0]", kind=JSON, encoding="gzip", zipped=True)
@example(body=b" " * (8 << 20), kind=JSON, encoding="gzip", zipped=True)
@example(body=b'{"value": 1e400, "metric": "a"}', kind=JSON, encoding="", zipped=False)
def test_no_body_breaks_the_way_in(
    sender: httpx.Client, body: bytes, kind: str, encoding: str, zipped: bool
) -> None:
    """Whatever bytes of whatever type and encoding are sent as telemetry, they are taken or
    refused with a reason, never with an error of ours."""
    headers = {b"Content-Type": kind.encode(), b"Content-Encoding": encoding.encode()}
    content = gzip.compress(body, 1) if zipped else body
    for path in ingest.PATHS:
        answer = sender.post(path, content=content, headers=headers)
        if answer.status_code >= 400:
            assert answer.json()["code"]
