# SPDX-License-Identifier: Apache-2.0

"""The brake: what halt stops, who may pull it, and the journal that says who did."""

from __future__ import annotations

import json
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from tests.e2e.support import SOON_S, Opx, running, until

from opx.core.base import time as opx_time
from opx.playground import documents, layout, processes
from opx.playground.client import Client
from opx.playground.system import How, Playground

RUNBOOK = "restart-process"
FIRST, LATER = "payments", ("orders", "worker")
SPARED = f"service/{layout.ENVIRONMENT}/{layout.ENTRANCE}"
HALT = {"scope": "all", "reason": "we look ourselves"}
RESUME = {"scope": "all", "reason": "go on"}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Playground]:
    up = Playground.up(tmp_path_factory.mktemp("shop"))
    yield up
    up.down()


@pytest.fixture(scope="module")
def opx(tmp_path_factory: pytest.TempPathFactory, shop: Playground) -> Iterator[Opx]:
    """An opx that may repair every service of the shop by itself."""
    with running(tmp_path_factory.mktemp("halt")) as up:
        up.apply(documents.services(shop.layout))
        up.apply(documents.policy(documents.CEILING_RAISED))
        with Client(up.address, up.http.headers["authorization"].split()[1]) as person:
            for name in layout.SERVICES:
                person.grant_probation(RUNBOOK, name, 3_600)
        yield up


def newest(opx: Opx) -> int:
    return int(opx.journal()[-1]["seq"])


def refused_by_halt(opx: Opx, service: str) -> bool:
    """Whether opx has looked at this service's incident and denied itself to act."""
    decided = [
        entry["body"]["decision"]
        for incident in opx.incidents(service)
        for entry in opx.journal("run.decided", subject=incident["id"])
    ]
    reasons = [one["reason"] for decision in decided for one in decision["results"]]
    return "halted" in reasons


def orders(opx: Opx) -> list[dict[str, Any]]:
    return [
        order
        for incident in opx.incidents()
        for run in opx.get("/runs", incident=incident["id"])["items"]
        for order in run["orders"]
    ]


def recovered(opx: Opx, service: str) -> bool:
    (incident,) = opx.incidents(service)
    verdicts = opx.journal("run.verified", subject=incident["id"])
    return [one["body"]["verdict"]["kind"] for one in verdicts] == ["recovered"]


def test_nothing_begins_once_a_halt_is_acknowledged(opx: Opx, shop: Playground) -> None:
    """A repair is on its way when the halt comes, and two more faults come after it: no order
    begins after the acknowledgement. brain is killed, and a person lets opx go on before it is
    back, only not on a service that is well: the others are repaired, each by one start."""
    before = {name: shop.starts(name) for name in layout.SERVICES}
    shop.break_(FIRST, How.KILL)
    until(lambda: opx.incidents(FIRST), "the incident")
    assert opx.post("/automation/halt", HALT)["automation"] == "halted"
    acknowledged, halted = processes.now(), newest(opx)

    for service in LATER:
        shop.break_(service, How.KILL)
    for service in LATER:
        until(lambda name=service: refused_by_halt(opx, name), f"opx to look at {service}")
    assert opx.journal("order.issued", after=halted) == []
    begun = [opx_time.from_wire(one["claimed_at"]) for one in orders(opx) if one["claimed_at"]]
    assert all(at <= acknowledged for at in begun)
    assert {name: shop.starts(name) for name in LATER} == {name: before[name] for name in LATER}
    assert opx.http.get("/health").headers["x-opx-automation"] == "halted"

    processes.send(opx.process_of("brain"), signal.SIGKILL)
    opx.post("/automation/halt", {**HALT, "scope": SPARED})
    assert opx.post("/automation/resume", RESUME)["automation"] == "running"
    for service in (FIRST, *LATER):
        until(lambda name=service: recovered(opx, name), f"{service} to be repaired", 2 * SOON_S)
    broken = {FIRST, *LATER}
    assert {name: shop.starts(name) for name in layout.SERVICES} == {
        name: count + (name in broken) for name, count in before.items()
    }
    opx.post("/automation/resume", {**RESUME, "scope": SPARED})


def test_who_may_not_pull_the_brake_is_refused_and_noted(opx: Opx) -> None:
    """A token that may only look gets 403 for a halt; automation goes on, and the journal says
    who was refused what. Someone who operates may halt, and may not resume."""
    looker, operator = opx.member("looker", "viewer"), opx.member("operator", "operator")
    began = newest(opx)
    assert looker.post("/api/v1/automation/halt", json=HALT).status_code == 403
    assert opx.get("/automation")["automation"] == "running"
    assert operator.post("/api/v1/automation/halt", json=HALT).status_code == 200
    assert operator.post("/api/v1/automation/resume", json=RESUME).status_code == 403
    assert opx.get("/automation")["automation"] == "halted"
    assert opx.post("/automation/resume", RESUME)["by"] == "admin"

    kinds = ("access.refused", "automation.halted", "automation.resumed")
    told = [
        (entry["kind"], entry["actor"], entry["body"].get("permission"))
        for entry in opx.journal(*kinds, after=began)
    ]
    assert told == [
        ("access.refused", "looker", "halt"),
        ("automation.halted", "operator", None),
        ("access.refused", "operator", "resume"),
        ("automation.resumed", "admin", None),
    ]


def test_a_journal_that_was_tampered_with_is_found_out(opx: Opx) -> None:
    """The journal proves itself until somebody changes one entry of it behind opx's back;
    then ``opx audit verify`` fails and says which entries cannot be trusted."""
    (entry,) = [one for one in opx.journal("automation.halted") if one["actor"] == "operator"]
    until(lambda: opx.get("/audit/verify")["waiting"] == 0, "the journal to be sealed")
    good = opx.run("audit", "verify")
    assert (good.returncode, "the journal is what was written" in good.stdout) == (0, True)

    assert opx.interrupt() == 0
    with closing(sqlite3.connect(opx.data / "opx.db")) as database, database:
        where = (entry["seq"],)
        (body,) = database.execute("SELECT body FROM journal WHERE seq = ?", where).fetchone()
        assert '"operator"' in body
        forged = body.replace('"operator"', '"somebody"')
        database.execute("UPDATE journal SET body = ? WHERE seq = ?", (forged, *where))
    opx.start()
    assert [one["actor"] for one in opx.journal() if one["seq"] == entry["seq"]] == ["somebody"]

    bad = opx.run("audit", "verify")
    assert bad.returncode == 1
    report = json.loads(opx.run("audit", "verify", "--json").stdout)
    assert report["ok"] is False
    assert report["bad"] <= entry["seq"] <= report["through"]
    assert f"at entry {report['bad']} to {report['through']}" in bad.stdout
