# SPDX-License-Identifier: Apache-2.0

"""Incidents over HTTP: pages, one whole, why, acknowledging and outcomes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest

from opx.core.act.run import RunStatus
from opx.core.analyse.insight import Cause, Insight, InsightSource, InsightType
from opx.core.correlate.episode import Group
from opx.core.decide import why as explanations
from opx.core.decide.decision import Answered, Decision, GuardResult, Reason
from opx.core.decide.roles import Role
from opx.core.incident.incident import Incident, Status
from opx.core.ingest.signals import Severity
from opx.engine import journal
from opx.engine.queries import pages

NOW = 1_767_225_600_000


def walk(client: httpx.Client, world: Any, limit: int, **params: Any) -> list[str]:
    """The ids of all pages, in order."""
    ids: list[str] = []
    cursor = ""
    while True:
        page = client.get(
            "/api/v1/incidents",
            headers=world.auth(Role.VIEWER),
            params={"limit": limit, "cursor": cursor, **params},
        ).json()
        assert len(page["items"]) <= limit
        ids += [row["id"] for row in page["items"]]
        if page["next"] is None:
            return ids
        cursor = page["next"]


def test_a_list_is_newest_first_and_speaks_wire_time(
    client: httpx.Client, world: Any, made: Any
) -> None:
    """Newest first; every instant is RFC 3339 with milliseconds."""
    world.put(made.incident("old", NOW), made.incident("new", NOW + 1_500))

    answer = client.get("/api/v1/incidents", headers=world.auth(Role.VIEWER))

    rows = answer.json()["items"]
    assert [row["id"] for row in rows] == ["new", "old"]
    assert rows[0]["opened_at"] == "2026-01-01T00:00:01.500Z"
    assert rows[0]["mitigated_at"] is None
    assert rows[0]["severity"] == 2
    assert rows[0]["group"] == {"environment": "shop", "service": "orders"}


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 50])
def test_pages_neither_repeat_nor_hide(
    client: httpx.Client, world: Any, made: Any, limit: int
) -> None:
    """Whatever the page size, and with many opened in one instant, each comes exactly once."""
    at = {"a": 5, "b": 5, "c": 5, "d": 9, "e": 1, "f": 5, "g": 9}
    world.put(*(made.incident(id, NOW + second * 1_000) for id, second in at.items()))

    assert walk(client, world, limit) == ["g", "d", "f", "c", "b", "a", "e"]


def test_what_opens_meanwhile_does_not_shift_the_next_page(
    client: httpx.Client, world: Any, made: Any
) -> None:
    """A cursor points at a row, not at a position."""
    world.put(*(made.incident(id, NOW + n) for n, id in enumerate("abc")))
    first = client.get("/api/v1/incidents", headers=world.auth(), params={"limit": 2}).json()
    world.put(made.incident("z", NOW + 60_000))

    second = client.get(
        "/api/v1/incidents", headers=world.auth(), params={"cursor": first["next"]}
    ).json()

    assert [row["id"] for row in first["items"]] == ["c", "b"]
    assert [row["id"] for row in second["items"]] == ["a"]


def test_a_list_can_be_narrowed(client: httpx.Client, world: Any, made: Any) -> None:
    """By status and severity, several at once, by service and environment; the pages keep to it."""
    other = Group("shop", "payments")
    world.put(
        made.incident("a"),
        made.incident("b", status=Status.RESOLVED),
        made.incident("c", status=Status.CLOSED, severity=Severity.SEV1),
        made.incident("d", group=other),
        made.incident("e", group=other, severity=Severity.SEV4, opened_at=NOW - 1),
    )

    assert walk(client, world, 1, status=["open", "closed"]) == ["d", "c", "a", "e"]
    assert walk(client, world, 1, service="payments") == ["d", "e"]
    assert walk(client, world, 1, service="payments", environment="shop") == ["d", "e"]
    assert walk(client, world, 1, service="payments", environment="bank") == []
    assert walk(client, world, 1, severity=[1, 4]) == ["c", "e"]
    assert walk(client, world, 1, severity=4, status="open", service="payments") == ["e"]
    assert walk(client, world, 1, severity=4, service="orders") == []
    wrong = client.get("/api/v1/incidents", headers=world.auth(), params={"status": "opened"})
    assert wrong.status_code == 422
    assert wrong.json()["errors"][0]["field"] == "query.status.0"


@pytest.mark.parametrize("cursor", ["x", "bnVsbA==", "WzEsMl0=", "WyJhIiwgImIiXQ==", "é"])
def test_a_made_up_cursor_is_refused(client: httpx.Client, world: Any, cursor: str) -> None:
    """A cursor that opx did not give out is the caller's mistake, not a crash."""
    answer = client.get("/api/v1/incidents", headers=world.auth(), params={"cursor": cursor})

    assert answer.status_code == 400
    assert answer.json()["code"] == "bad_input"
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_long_timeline_shows_its_newest_part(
    client: httpx.Client, world: Any, made: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest entries in order, and the way to those before them, page by page."""
    monkeypatch.setattr(pages, "TIMELINE", 3)
    found = made.incident("incident-1")
    world.put(found)
    world.write_down(*(journal.entry(NOW, found.id, "it.went_on", "brain", n=n) for n in range(7)))

    def page(before: int) -> tuple[list[int], int | None]:
        url = f"/api/v1/incidents/{found.id}"
        answer = client.get(url, headers=world.auth(), params={"before": before}).json()
        return [entry["seq"] for entry in answer["timeline"]], answer["older"]

    assert page(0) == ([5, 6, 7], 5)
    assert page(5) == ([2, 3, 4], 2)
    assert page(2) == ([1], None)
    odd = client.get(f"/api/v1/incidents/{found.id}?before={1 << 70}", headers=world.auth())
    assert odd.status_code == 422


def test_one_incident_has_all_that_belongs_to_it(
    client: httpx.Client, world: Any, made: Any
) -> None:
    """Insight, runs with orders, approvals, outcomes, and the journal about it as timeline."""
    insight = Insight(
        id="i" * 8,
        episode="e",
        type=InsightType.PROCESS_DOWN,
        risk=90,
        causes=(Cause(subject="orders", statement="its process is gone"),),
        advice="start it",
        source=InsightSource.RULES,
        at=NOW,
    )
    run = made.run("run-1", "incident-1")
    world.put(made.incident("incident-1", insight=insight.id, runs=1), insight, run)
    world.put(made.approval(run))
    world.write_down(
        journal.entry(NOW, "incident-1", "incident.opened", "brain", title="down"),
        journal.entry(NOW, "incident-2", "incident.opened", "brain", title="other"),
        journal.entry(NOW + 5, "incident-1", "run.proposed", "brain", run="run-1"),
    )

    found = client.get("/api/v1/incidents/incident-1", headers=world.auth(Role.VIEWER)).json()

    assert found["insight"]["causes"][0]["statement"] == "its process is gone"
    assert found["doing"] == "needs a yes to run restart: opx approve run-1"
    assert found["runs"][0]["proposal"]["runbook"] == "restart"
    assert found["approvals"][0]["expires_at"] == "2026-01-01T00:15:00.000Z"
    assert [row["kind"] for row in found["timeline"]] == ["incident.opened", "run.proposed"]
    assert [row["seq"] for row in found["timeline"]] == [1, 3]
    runs = client.get("/api/v1/runs", headers=world.auth(), params={"incident": "incident-1"})
    assert runs.json()["items"] == found["runs"]


def test_an_id_may_be_short_while_it_is_clear(client: httpx.Client, world: Any, made: Any) -> None:
    """Four characters and more stand for the one id that begins so; two are too many."""
    world.put(made.incident("abcd1111"), made.incident("abcd2222"), made.incident("abce0000"))

    def status(id: str) -> tuple[int, str]:
        answer = client.get(f"/api/v1/incidents/{id}", headers=world.auth())
        return answer.status_code, answer.json().get("id", answer.json().get("code"))

    assert status("abce") == (200, "abce0000")
    assert status("abcd1") == (200, "abcd1111")
    assert status("abcd") == (400, "bad_input")
    assert status("abc") == (404, "not_found")
    assert status("beef") == (404, "not_found")


def test_why_says_each_guard_and_what_would_change_it(
    client: httpx.Client, world: Any, made: Any
) -> None:
    """Every guard's answer and reason, by name, and sentences for people."""
    halted = GuardResult(
        guard="mode", answer=Answered.DENY, reason=Reason.HALTED, detail="all", retry_at=NOW
    )
    fine = GuardResult(guard="target", answer=Answered.ALLOW, reason=Reason.OK)
    decision = Decision(
        id="d",
        incident="incident-1",
        run="r",
        answer=Answered.DENY,
        results=(halted, fine),
        plan="p",
        at=NOW,
    )
    world.put(made.incident("incident-1"), decision)

    (told,) = client.get("/api/v1/incidents/incident-1/why", headers=world.auth()).json()["items"]

    assert told["answer"] == "deny"
    assert told["reasons"] == ["halted"]
    assert [(one["guard"], one["answer"]) for one in told["results"]] == [
        ("mode", "deny"),
        ("target", "allow"),
    ]
    assert told["results"][0]["retry_at"] == "2026-01-01T00:00:00.000Z"
    assert told["sentences"] == explanations.explain(decision)
    assert len(told["sentences"]) >= 2


@pytest.mark.parametrize(
    ("status", "reason", "said"),
    [
        (RunStatus.REFUSED, "supervisord does not answer", "refused: supervisord does not answer"),
        (RunStatus.REFUSED, "halted", "refused: automation is halted here"),
        (
            RunStatus.INCONCLUSIVE,
            "halted, symptom_gone",
            "inconclusive: automation is halted here; a fresh probe found the service well",
        ),
        (RunStatus.NO_EFFECT, "no_effect", "no effect"),
        (RunStatus.ROLLING_BACK, "", "rolling back"),
    ],
)
def test_why_ends_with_what_each_run_came_to(
    client: httpx.Client, world: Any, made: Any, status: RunStatus, reason: str, said: str
) -> None:
    """However the guards answered: a run that was allowed may not have acted after all."""
    run = replace(made.run("run-1", "incident-1"), status=status, reason=reason)
    second = replace(made.run("run-2", "incident-1"), number=2)
    world.put(made.incident("incident-1", runs=2), second, run)

    told = client.get("/api/v1/incidents/incident-1/why", headers=world.auth()).json()["runs"]

    assert [one["run"] for one in told] == ["run-1", "run-2"]
    assert (told[0]["status"], told[0]["reason"]) == (status, reason)
    where = f"{run.proposal.runbook} on {run.proposal.target}"
    assert told[0]["sentence"] == f"Run 1, {where}: {said}."


def test_acknowledging_is_brains_to_do(
    client: httpx.Client, world: Any, made: Any, brain: Callable[..., Any]
) -> None:
    """A command is written under the asker's own name, and answered once brain has done it."""
    world.put(made.incident("incident-1"))
    seen = brain()

    answer = client.post(
        "/api/v1/incidents/incident-1/acknowledge", headers=world.auth(Role.ON_CALL), json={}
    )

    assert answer.status_code == 200
    assert answer.json()["subject"] == "incident-1"
    assert [(one.kind, one.subject, one.actor) for one in seen] == [
        ("acknowledge", "incident-1", "on_call")
    ]


def test_what_brain_refused_is_said_as_brain_said_it(
    client: httpx.Client, world: Any, made: Any, brain: Callable[..., Any]
) -> None:
    """Brain's ``code: text`` becomes the same error over HTTP."""
    world.put(made.incident("incident-1"))
    brain("refused: it is closed")

    answer = client.post("/api/v1/incidents/incident-1/acknowledge", headers=world.auth(), json={})

    assert answer.status_code == 409
    assert (answer.json()["code"], answer.json()["detail"]) == ("refused", "it is closed")


def test_outcomes_are_added_never_replaced(client: httpx.Client, world: Any, made: Any) -> None:
    """Two outcomes of one incident both stay, and both are in the journal."""
    world.put(made.incident("incident-1"))
    path = "/api/v1/incidents/incident-1/outcome"

    for kind in ("false_positive", "true_positive"):
        body = {"kind": kind, "cause": "disk", "fixed_by": "restart", "note": "n"}
        assert client.post(path, headers=world.auth(), json=body).status_code == 201
        world.call(world.clock.advance(1_000))

    found = client.get("/api/v1/incidents/incident-1", headers=world.auth()).json()
    assert [one["kind"] for one in found["outcomes"]] == ["false_positive", "true_positive"]
    assert found["outcomes"][0]["by"] == "admin"
    assert [row["kind"] for row in found["timeline"]] == ["outcome.recorded", "outcome.recorded"]
    unknown = client.post(path, headers=world.auth(), json={"kind": "maybe"})
    assert unknown.status_code == 422


def test_an_incident_is_changed_only_as_it_was_read(
    client: httpx.Client, world: Any, made: Any, brain: Callable[..., Any]
) -> None:
    """``ETag`` is its version; with ``If-Match`` an outcome for another version is a 412, and
    an acknowledgement carries the version to brain, which has the last word."""
    world.put(made.incident("incident-1", version=3))
    path = "/api/v1/incidents/incident-1"
    etag = client.get(path, headers=world.auth()).headers["etag"]
    assert etag == '"3"'

    def say(match: str) -> tuple[int, str]:
        headers = {**world.auth(), "If-Match": match}
        answer = client.post(f"{path}/outcome", headers=headers, json={"kind": "benign"})
        world.call(world.clock.advance(1_000))
        return answer.status_code, answer.json().get("code", "")

    assert say('"2"') == (412, "stale")
    assert client.get(path, headers=world.auth()).json()["outcomes"] == []
    assert [say(etag), say("*")] == [(201, ""), (201, "")]
    for odd in ("3", 'W/"3"', '"3", "4"', '"x"', '"-1"', '"'):
        assert say(odd) == (400, "bad_input")
    seen = brain("stale: it was changed")
    answer = client.post(f"{path}/acknowledge", headers={**world.auth(), "If-Match": '"2"'})
    assert (answer.status_code, answer.json()["code"]) == (412, "stale")
    assert seen[0].body["version"] == 2


# ---------------------------------------------------------------- verbs

VERBS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("acknowledge", {}, {}),
    ("assign", {"to": "bob"}, {"to": "bob"}),
    ("merge", {"into": "incident-2"}, {"into": "incident-2"}),
    (
        "resolve",
        {"resolution": "wont_fix", "text": "token=abc"},
        {"resolution": "wont_fix", "text": "token=[masked]"},
    ),
    ("close", {}, {}),
    ("reopen", {"reason": "still slow"}, {"reason": "still slow"}),
]


@pytest.mark.parametrize(("verb", "body", "told"), VERBS, ids=lambda value: str(value))
def test_each_verb_is_told_to_brain_once(
    client: httpx.Client,
    world: Any,
    made: Any,
    brain: Callable[..., Any],
    verb: str,
    body: dict[str, Any],
    told: dict[str, Any],
) -> None:
    """Under the asker's name, with the version that was read and with every text masked. With
    the same key it is one command; the same key for something else is refused; who may only
    read may not. How the incident stands then comes back, with its ``ETag``."""
    world.put(made.incident("incident-1", version=3), made.incident("incident-2"))
    new = Incident.id_after("incident-1")
    world.put(made.incident(new, version=7))
    path = f"/api/v1/incidents/incident-1/{verb}"
    headers = {**world.auth(Role.OPERATOR), "If-Match": '"3"', "Idempotency-Key": "k"}
    seen = brain()

    first, again = (client.post(path, headers=headers, json=body) for _ in range(2))

    assert first.is_success, first.text
    assert (first.status_code, first.json()) == (again.status_code, again.json())
    [command] = seen
    assert (command.kind, command.subject, command.actor) == (verb, "incident-1", "operator")
    assert {name: command.body[name] for name in (*told, "version")} == {**told, "version": 3}
    about = (new, '"7"') if verb == "reopen" else ("incident-1", '"3"')
    assert (first.json()["incident"], first.headers["etag"]) == about
    assert first.json()["status"] == "open"
    other = client.post(path, headers={**headers, "If-Match": "*"}, json=body)
    assert (other.status_code, other.json()["code"]) == (409, "conflict")
    viewer = client.post(path, headers=world.auth(Role.VIEWER), json=body)
    assert viewer.status_code == 403


@pytest.mark.parametrize(
    ("verb", "body"),
    [
        ("assign", {"to": ""}),
        ("assign", {"to": "x" * 101}),
        ("merge", {"into": "abc"}),
        ("resolve", {"resolution": "gone"}),
        ("resolve", {}),
        ("resolve", {"resolution": "fixed", "text": "x" * 10_001}),
        ("comment", {"text": " "}),
        ("comment", {"text": "x" * 10_001}),
        ("comment", {"text": "x", "by": "bob"}),
    ],
    ids=str,
)
def test_what_a_verb_does_not_take_is_refused(
    client: httpx.Client, world: Any, made: Any, verb: str, body: dict[str, Any]
) -> None:
    """Too long, empty, unknown: nothing is written."""
    world.put(made.incident("incident-1"))

    answer = client.post(f"/api/v1/incidents/incident-1/{verb}", headers=world.auth(), json=body)

    assert answer.status_code == 422
    assert client.get("/api/v1/journal", headers=world.auth()).json()["items"] == []


def test_a_comment_stands_in_the_timeline(client: httpx.Client, world: Any, made: Any) -> None:
    """Masked, under its author's name, once for one key, and only on what was read."""
    world.put(made.incident("incident-1", version=2))
    path = "/api/v1/incidents/incident-1"
    headers = {**world.auth(Role.ON_CALL), "Idempotency-Key": "k", "If-Match": '"2"'}
    body = {"text": "the password=hunter2 was in the log"}

    answers = [client.post(f"{path}/comment", headers=headers, json=body) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].json() == answers[1].json()
    timeline = client.get(path, headers=world.auth()).json()["timeline"]
    [said] = timeline
    assert (said["kind"], said["actor"]) == ("incident.commented", "on_call")
    assert said["body"] == {"text": "the password=[masked] was in the log"}
    stale = client.post(
        f"{path}/comment", headers={**world.auth(), "If-Match": '"1"'}, json={"text": "x"}
    )
    assert (stale.status_code, stale.json()["code"]) == (412, "stale")


def test_what_cannot_be_says_what_could(
    client: httpx.Client, world: Any, made: Any, brain: Callable[..., Any]
) -> None:
    """brain's refusal by name reaches whoever asked, as a 409 of its own kind."""
    world.put(made.incident("incident-1"))
    brain("illegal_change: close is not possible while an incident is open; possible: resolve")

    answer = client.post("/api/v1/incidents/incident-1/close", headers=world.auth(), json={})

    assert (answer.status_code, answer.json()["code"]) == (409, "illegal_change")
    assert "possible: resolve" in answer.json()["detail"]


def test_a_merge_names_an_incident_that_is_there(
    client: httpx.Client, world: Any, made: Any
) -> None:
    """404 for one that is not; nobody is asked to do it."""
    world.put(made.incident("incident-1"))

    answer = client.post(
        "/api/v1/incidents/incident-1/merge", headers=world.auth(), json={"into": "feedbeef"}
    )

    assert answer.status_code == 404
