# SPDX-License-Identifier: Apache-2.0

"""Halting, approving, granting, closing breakers; and doing each only once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest

from opx.core.correlate.episode import Group
from opx.core.decide.case import Breaker, TrackRecord
from opx.core.decide.roles import Role
from opx.core.detect.finding import FindingKind, FindingState
from opx.core.incident.incident import Status
from opx.core.ingest.signals import Identity
from opx.engine.beats.parts import POSITION
from opx.engine.people import once
from opx.engine.ports import Saved
from opx.engine.queries import glance
from opx.testing.contracts import samples


def kinds(client: httpx.Client, world: Any) -> list[str]:
    rows = client.get("/api/v1/journal?after=0", headers=world.auth()).json()["items"]
    return [row["kind"] for row in rows]


@pytest.fixture
def taught(client: httpx.Client, world: Any, made: Any) -> httpx.Client:
    """With a service and a runbook applied."""
    text = f"{made.SERVICE}---\n{made.RUNBOOK}"
    answer = client.post("/api/v1/documents", headers=world.auth(), content=text)
    assert answer.status_code == 200, answer.text
    return client


def test_a_dry_run_says_what_a_runbook_would_do_on_a_service(
    taught: httpx.Client, world: Any
) -> None:
    """Its steps, filled in for that service and in the actions' own words. Without a service
    there is no target, which the action says; nothing is journalled or left behind."""
    before = kinds(taught, world)
    asked = {"environment": "shop", "service": "orders"}
    reader = world.auth(Role.VIEWER)
    shown = taught.get("/api/v1/runbooks/restart", headers=reader, params=asked)
    alone = taught.get("/api/v1/runbooks/restart", headers=reader)

    assert shown.status_code == 200
    assert shown.json()["lines"] == [
        "restart: Start a service that is down again.",
        "on http://127.0.0.1:9001#orders",
        "1. restart: process.restart (at most 20000 ms): would restart orders at 127.0.0.1:9001",
        "verify: 3 of 3 answers of the service's health probe are yes, within 30000 ms",
    ]
    assert "could not be done: a target is url#program" in alone.json()["lines"][2]
    assert kinds(taught, world) == before


@pytest.mark.parametrize(
    ("path", "word"),
    [
        ("other", "no runbook 'other'"),
        ("restart?environment=shop&service=other", "no service 'other' in the environment 'shop'"),
        ("restart?service=orders", "no service 'orders' in the environment ''"),
    ],
)
def test_a_dry_run_of_what_is_not_there(
    taught: httpx.Client, world: Any, path: str, word: str
) -> None:
    """404, naming what there is none of."""
    answer = taught.get(f"/api/v1/runbooks/{path}", headers=world.auth())

    assert (answer.status_code, word in answer.json()["detail"]) == (404, True)


def test_a_dry_run_needs_what_the_runbook_needs(
    client: httpx.Client, world: Any, made: Any
) -> None:
    """A parameter that the service does not have is named: 400."""
    step = 'release.rollback, with: {root: "${{ service.releases }}"}'
    text = f"{made.SERVICE}---\n{made.RUNBOOK}".replace("process.restart", step)
    text = text.replace("  verify:", "  irreversible: it is a test\n  verify:")
    applied = client.post("/api/v1/documents", headers=world.auth(), content=text)
    assert applied.status_code == 200, applied.text
    asked = {"environment": "shop", "service": "orders"}
    answer = client.get("/api/v1/runbooks/restart", headers=world.auth(), params=asked)

    assert (answer.status_code, answer.json()["detail"]) == (400, "service.releases has no value")


def test_anybody_may_ask_for_the_mode(client: httpx.Client) -> None:
    """The mode needs no login, and stands in a header of every answer."""
    answer = client.get("/api/v1/automation")

    assert answer.json()["automation"] == "running"
    assert answer.headers["x-opx-automation"] == "running"
    assert client.get("/nowhere").headers["x-opx-automation"] == "running"


def test_halt_and_resume(client: httpx.Client, world: Any) -> None:
    """Who did it and why is kept; the header follows at once; both are journalled."""
    halted = client.post(
        "/api/v1/automation/halt",
        headers=world.auth(Role.OPERATOR),
        json={"scope": "all", "reason": "it went mad"},
    )

    assert halted.json()["automation"] == "halted"
    mode = client.get("/api/v1/automation")
    assert mode.headers["x-opx-automation"] == "halted"
    assert mode.json()["scopes"][0] == {
        "scope": "all",
        "automation": "halted",
        "by": "operator",
        "reason": "it went mad",
        "at": "2026-01-01T00:00:00.000Z",
    }
    resumed = client.post(
        "/api/v1/automation/resume",
        headers=world.auth(Role.ON_CALL),
        json={"scope": "all", "reason": "it is calm"},
    )
    assert resumed.json()["automation"] == "running"
    assert kinds(client, world) == ["automation.halted", "automation.resumed"]


@pytest.mark.parametrize("scope", ["environment/shop", "service/shop/orders", "runbook/restart"])
def test_a_scope_of_what_is_known_can_be_halted(
    taught: httpx.Client, world: Any, scope: str
) -> None:
    """An environment, a service or a runbook halts alone; the whole goes on running."""
    body = {"scope": scope, "reason": "r"}
    answer = taught.post("/api/v1/automation/halt", headers=world.auth(), json=body)

    assert answer.json()["scope"] == scope
    mode = taught.get("/api/v1/automation").json()
    assert mode["automation"] == "running"
    assert {one["scope"]: one["automation"] for one in mode["scopes"]}[scope] == "halted"


@pytest.mark.parametrize("scope", ["service/shop/ordrs", "al", "runbook/", "service/x/orders"])
def test_a_typo_in_a_halt_does_not_look_like_a_halt(
    taught: httpx.Client, world: Any, scope: str
) -> None:
    """A scope that covers nothing is an error, and nothing is written."""
    body = {"scope": scope, "reason": "r"}
    answer = taught.post("/api/v1/automation/halt", headers=world.auth(), json=body)

    assert answer.status_code == 404
    assert "automation.halted" not in kinds(taught, world)


def test_approvals_that_wait_are_listed_with_their_plan(
    client: httpx.Client, world: Any, made: Any
) -> None:
    """What waits, the most urgent first; what was answered or has expired is not there."""
    runs = {id: made.run(id, "incident-1", n) for n, id in enumerate(("r1", "r2", "r3", "r4"))}
    world.put(
        *runs.values(),
        made.approval(runs["r1"]),
        made.approval(runs["r2"], expires_at=made.NOW + 60_000),
        made.approval(runs["r3"], approved=True, by="x", at=made.NOW),
        made.approval(runs["r4"], expires_at=made.NOW),
    )

    rows = client.get("/api/v1/approvals", headers=world.auth(Role.VIEWER)).json()["items"]

    assert [row["id"] for row in rows] == ["r2", "r1"]
    assert rows[0]["proposal"]["target"] == "http://127.0.0.1:9001#orders"
    assert rows[0]["plan"] == runs["r2"].proposal.plan


@pytest.mark.parametrize("verb", ["approve", "reject"])
def test_an_answer_binds_the_plan(
    client: httpx.Client, world: Any, made: Any, brain: Callable[..., Any], verb: str
) -> None:
    """What brain is told names the plan that stood there, and the one who answered."""
    run = made.run("run-0001", "incident-1")
    world.put(run, made.approval(run))
    seen = brain()

    answer = client.post(
        f"/api/v1/approvals/run-/{verb}",
        headers=world.auth(Role.APPROVER),
        json={"reason": "I looked"},
    )

    assert answer.status_code == 200, answer.text
    (told,) = seen
    assert (told.kind, told.subject, told.actor) == (verb, "run-0001", "approver")
    assert (told.body["plan"], told.body["reason"]) == (run.proposal.plan, "I looked")


def test_a_command_is_kept_when_brain_is_away(
    client: httpx.Client, world: Any, made: Any, brain: Callable[..., Any], monkeypatch: Any
) -> None:
    """503 after the patience; brain finds the command when it comes back, and asking again
    with the same key then answers what came of it, without asking twice."""
    monkeypatch.setattr(once, "PATIENCE", 100)
    world.put(made.incident("incident-1"))
    headers = {**world.auth(), "Idempotency-Key": "k1"}
    path = "/api/v1/incidents/incident-1/acknowledge"

    away = client.post(path, headers=headers, json={})
    seen = brain()
    monkeypatch.setattr(once, "PATIENCE", 5_000)
    back = client.post(path, headers=headers, json={})

    assert (away.status_code, away.json()["code"]) == (503, "unavailable")
    assert away.headers["retry-after"] == "1"
    assert back.status_code == 200
    assert len(seen) == 1


def grant(client: httpx.Client, world: Any, **other: Any) -> httpx.Response:
    body = {
        "runbook": "restart",
        "environment": "shop",
        "service": "orders",
        "autonomy": "auto",
        **other,
    }
    return client.post("/api/v1/grants", headers=world.auth(), json=body)


def test_probation_names_a_person_and_an_end(taught: httpx.Client, world: Any) -> None:
    """A grant is kept with who gave it, its end, and how little experience it stands on."""
    given = grant(taught, world, probation=True, ttl_s=3_600)

    assert given.status_code == 201, given.text
    (row,) = taught.get("/api/v1/grants", headers=world.auth()).json()["items"]
    assert (row["autonomy"], row["probation"], row["by"]) == ("auto", True, "admin")
    assert row["expires_at"] == "2026-01-01T01:00:00.000Z"
    assert row["record"] == {"p_fix": None, "n": 0}
    assert kinds(taught, world)[-1] == "grant.given"


@pytest.mark.parametrize(
    ("wrong", "status"),
    [
        ({"probation": True}, 400),
        ({"probation": True, "ttl_s": 31 * 86_400}, 400),
        ({"probation": True, "ttl_s": 3_600, "autonomy": "approve"}, 400),
        ({"autonomy": "always"}, 400),
        ({"runbook": "nothing"}, 404),
        ({"service": "nothing"}, 404),
        ({"runbook": "a|b"}, 422),
        ({"by": "somebody else"}, 422),
    ],
)
def test_a_grant_that_makes_no_sense_is_refused(
    taught: httpx.Client, world: Any, wrong: dict[str, Any], status: int
) -> None:
    """Probation without an end, an unknown name, an author who is somebody else: none is kept."""
    assert grant(taught, world, **wrong).status_code == status
    assert taught.get("/api/v1/grants", headers=world.auth()).json()["items"] == []


def test_granting_again_replaces_the_grant(taught: httpx.Client, world: Any) -> None:
    """A later grant for the same place is the one in force."""
    grant(taught, world, autonomy="approve")
    grant(taught, world, autonomy="suggest")

    rows = taught.get("/api/v1/grants", headers=world.auth()).json()["items"]
    assert [row["autonomy"] for row in rows] == ["suggest"]


def test_experience_is_shown_beside_the_grant(taught: httpx.Client, world: Any) -> None:
    """Three recoveries among four verdicts are 0.75 of 4; an inconclusive run counts for none."""
    grant(taught, world, autonomy="approve")
    (row,) = taught.get("/api/v1/grants", headers=world.auth()).json()["items"]
    known = TrackRecord(
        id="restart|shop|orders",
        runbook_hash=row["runbook_hash"],
        recovered=3,
        no_effect=1,
        inconclusive=2,
    )
    world.put(known)

    (row,) = taught.get("/api/v1/grants", headers=world.auth()).json()["items"]
    assert row["record"] == {"p_fix": 0.75, "n": 4}


def test_a_grant_is_for_what_is_in_force(taught: httpx.Client, world: Any, made: Any) -> None:
    """It keeps the runbook's content and the service's target as they are when it is given,
    and shows which of them has changed since; granting again takes them as they are now."""
    given = grant(taught, world).json()
    target = "http://127.0.0.1:9001#orders"
    rows = taught.get("/api/v1/documents", headers=world.auth()).json()["items"]
    (book,) = [row for row in rows if row["kind"] == "Runbook"]
    assert (given["runbook_hash"], given["target"]) == (book["hash"], target)

    def outdated() -> Any:
        (row,) = taught.get("/api/v1/grants", headers=world.auth()).json()["items"]
        return row["outdated"]

    assert outdated() == []
    author = world.auth(Role.AUTHOR)
    slower = made.RUNBOOK.replace("timeout: 20s", "timeout: 30s")
    taught.post("/api/v1/documents", headers=author, content=slower)
    assert outdated() == ["runbook"]
    elsewhere = made.SERVICE.replace("#orders", "#payments")
    taught.post("/api/v1/documents", headers=author, content=elsewhere)
    assert outdated() == ["runbook", "target"]
    grant(taught, world)
    assert outdated() == []


@pytest.mark.parametrize("field", ["runbook_hash", "target"])
def test_what_a_grant_is_for_is_not_the_askers_to_say(
    taught: httpx.Client, world: Any, field: str
) -> None:
    """A request that names the content or the target is refused."""
    assert grant(taught, world, **{field: "x"}).status_code == 422


def test_breakers_are_listed_and_closed_by_brain(
    client: httpx.Client, world: Any, brain: Callable[..., Any]
) -> None:
    """An open breaker is shown open; closing it is a command; an unknown one is not found."""
    world.put(Breaker(id="restart|shop|orders", opened_at=1_767_225_600_000))
    seen = brain()

    (row,) = client.get("/api/v1/breakers", headers=world.auth()).json()["items"]
    closed = client.post(
        "/api/v1/breakers/close", headers=world.auth(), json={"id": "restart|shop|orders"}
    )
    unknown = client.post("/api/v1/breakers/close", headers=world.auth(), json={"id": "x|y|z"})

    assert (row["open"], row["service"]) == (True, "orders")
    assert closed.status_code == 200
    assert [(one.kind, one.subject) for one in seen] == [("close_breaker", "restart|shop|orders")]
    assert unknown.status_code == 404


def test_the_same_key_does_a_thing_once(client: httpx.Client, world: Any) -> None:
    """Same key and body: the first answer again. Same key, other body: a conflict. Another
    person's same key is another key."""
    headers = {**world.auth(), "Idempotency-Key": "k1"}
    path = "/api/v1/automation/halt"

    first = client.post(path, headers=headers, json={"scope": "all", "reason": "a"})
    world.call(world.clock.advance(60_000))
    again = client.post(path, headers=headers, json={"scope": "all", "reason": "a"})
    other = client.post(path, headers=headers, json={"scope": "all", "reason": "b"})
    theirs = {**world.auth(Role.OPERATOR), "Idempotency-Key": "k1"}
    neighbour = client.post(path, headers=theirs, json={"scope": "all", "reason": "b"})

    assert again.json() == first.json()
    assert (other.status_code, other.json()["code"]) == (409, "conflict")
    assert neighbour.status_code == 200
    assert kinds(client, world) == ["automation.halted", "automation.halted"]


@pytest.mark.parametrize(
    ("status", "group", "fires", "state"),
    [
        (None, "orders", False, "well"),
        (None, "orders", True, "unwell"),
        (Status.RESOLVED, "orders", False, "well"),
        (Status.RESOLVED, "orders", True, "unwell"),
        (Status.OPEN, "orders", True, "unwell"),
        (Status.OPEN, "orders", False, "recovered"),
        (Status.MITIGATING, "orders", True, "being repaired"),
        (Status.MITIGATED, "orders", True, "recovered"),
        (Status.OPEN, "store", True, "unwell"),
        (Status.MITIGATING, "store", True, "unwell"),
        (Status.MITIGATED, "store", False, "recovered"),
    ],
)
def test_how_a_service_is(
    taught: httpx.Client,
    world: Any,
    made: Any,
    status: Status | None,
    group: str,
    fires: bool,
    state: str,
) -> None:
    """By what still fires and what is done about it: an incident is open for a while after
    its service is well again. A caller that suffers is not what is repaired."""
    whose = Identity("shop", "orders", "10.0.0.7")
    firing = FindingState.FIRING if fires else FindingState.CLEARED
    world.put(replace(samples.finding("f", state=firing), identity=whose))
    if status is not None:
        of = {"group": Group("shop", group), "services": (group, "orders")}
        world.put(made.incident("incident-1", status=status, **of))

    (service,) = taught.get("/api/v1/services", headers=world.auth()).json()["items"]
    shown = taught.get("/", headers=world.auth()).text

    assert service["state"] == state
    assert f"<td>{state}</td>" in shown


@pytest.mark.parametrize(
    ("held", "kind", "state"),
    [
        ({"f": "s"}, FindingKind.SYMPTOM, "silenced"),
        ({"another": "s"}, FindingKind.SYMPTOM, "unwell"),
        ({}, FindingKind.EVIDENCE, "well"),
    ],
)
def test_a_service_that_is_ill_in_silence_is_not_well(
    taught: httpx.Client, world: Any, held: dict[str, str], kind: FindingKind, state: str
) -> None:
    """What a silence holds opens no incident, and is said; what is merely odd is no illness."""
    whose = Identity("shop", "orders", "10.0.0.7")
    found = replace(samples.finding("f", state=FindingState.FIRING), identity=whose, kind=kind)
    world.put(found, Saved(id=POSITION, seq=1, state={"held": held}))

    (service,) = taught.get("/api/v1/services", headers=world.auth()).json()["items"]

    assert service["state"] == state


def test_where_too_much_fires_nobody_is_called_well(
    taught: httpx.Client, world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service may be among those that were not looked at."""
    monkeypatch.setattr(glance, "MOST_FIRING", 2)
    world.put(*(samples.finding(id, state=FindingState.FIRING) for id in "fg"))

    (service,) = taught.get("/api/v1/services", headers=world.auth()).json()["items"]

    assert service["state"] == "unknown"


def test_status_at_a_glance(taught: httpx.Client, world: Any, made: Any) -> None:
    """Mode, processes, what is open, and each service with its incidents."""
    world.put(made.incident("incident-1"))
    world.hands = False

    seen = taught.get("/api/v1/status", headers=world.auth(Role.VIEWER)).json()

    assert seen["automation"] == "running"
    assert seen["processes"] == {"front": "alive", "brain": "alive", "hands": "dead"}
    assert (seen["lag_ms"], seen["open_incidents"]) == (40, 1)
    assert (seen["pending_approvals"], seen["breakers_open"]) == (0, 0)
    (service,) = seen["services"]
    assert (service["name"], service["incidents"]) == ("orders", ["incident-1"])
    world.brain.up = False
    away = taught.get("/api/v1/status", headers=world.auth()).json()
    assert (away["processes"]["brain"], away["lag_ms"]) == ("dead", None)
