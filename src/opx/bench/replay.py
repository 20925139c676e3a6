# SPDX-License-Identifier: Apache-2.0

"""How fast incidents are put together again from their journals, and decisions made again.

In one process, over entries that are in memory: reading them is the store's to be measured
for. Each incident was opened, grew, was explained, repaired in vain and again, and got well;
two of its entries are decisions by all guards.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from opx.app import documents
from opx.bench.figures import Figure, Tell
from opx.core.analyse.insight import Cause, Insight, InsightSource, InsightType
from opx.core.base.reads import Answer
from opx.core.base.time import SECOND, Ms
from opx.core.correlate.episode import Group
from opx.core.decide import gate, proposals
from opx.core.decide.case import Automation, Case, Mode
from opx.core.incident import history, lifecycle
from opx.core.incident.incident import Incident, Priority, Status
from opx.core.incident.lifecycle import Change
from opx.core.ingest.signals import Severity
from opx.engine import journal
from opx.engine.documents import stored
from opx.engine.journal import replay
from opx.engine.journal.replay import Library
from opx.engine.ports import Entry
from opx.errors import Failed

AT: Ms = 1_767_225_600_000
INCIDENTS = 500
TAUGHT = """\
apiVersion: opx/v1
kind: Service
metadata: {name: orders}
spec:
  environment: shop
  health: {http: "http://127.0.0.1:9101/health"}
  target: "http://127.0.0.1:9001#orders"
---
apiVersion: opx/v1
kind: Runbook
metadata: {name: restart}
spec:
  purpose: Bring it back
  when: ["insight.type == 'process_down'"]
  steps: [{id: restart, uses: process.restart}]
  verify: {passes: 3, of: 3, every: 500ms, within: 10s}
"""
LIVES = (
    (Change.REPAIR_STARTED, Change.REPAIR_ENDED),
    (Change.REPAIR_STARTED, Change.RECOVERED, Change.EPISODE_ENDED),
)
"""What each of its repairs came to."""


def measure(seconds: float, tell: Tell) -> list[Figure]:
    """``seconds``: how long each rate is measured."""
    tell(f"replay: writing the journals of {INCIDENTS} incidents")
    lives, library = _journals()
    for incident, entries in lives:
        if not replay.replay(incident, entries, library)["ok"]:
            raise Failed(f"{incident.id} is not what its journal says")

    def rebuild(n: int) -> None:
        incident, entries = lives[n % INCIDENTS]
        rebuilt = replay.rebuild(entries).state or {}
        if history.hash_of(rebuilt) != history.hash_of(history.state(incident)):
            raise Failed(f"{incident.id} was rebuilt as another")

    def whole(n: int) -> None:
        if not replay.replay(*lives[n % INCIDENTS], library)["ok"]:
            raise Failed("a decision was made otherwise")

    tell(f"replay: rebuilding for {seconds:g} s, then with decisions for as long")
    return [
        Figure(
            name="incidents rebuilt from their journals",
            unit="/s",
            measured=round(_rate(rebuild, seconds)),
            must="500 /s",
            aim="5,000 /s",
            note=f"{len(lives[0][1])} entries each, both hashes compared",
        ),
        Figure(
            name="incidents replayed with their decisions",
            unit="/s",
            measured=round(_rate(whole, seconds)),
            note="two decisions each, by all guards",
        ),
    ]


def _journals() -> tuple[list[tuple[Incident, list[Entry]]], Library]:
    taught = [stored(one, "bench", AT) for one in documents.check(TAUGHT, "bench", [])]
    told = []
    for seq, one in enumerate(taught, 1):
        body = {"hash": one.hash, "text": one.text}
        entry = journal.entry(AT, one.id, "document.applied", "bench", **body)
        told.append(replace(entry, seq=seq))
    known, digest = documents.bind(taught), replay.digest(taught)
    lives = [_lived(f"incident-{n}", known, digest) for n in range(INCIDENTS)]
    return lives, Library(documents.bind, told, {})


def _rate(once: Callable[[int], None], seconds: float) -> float:
    began, n = time.perf_counter(), 0
    while (passed := time.perf_counter() - began) < seconds:
        once(n)
        n += 1
    return n / passed


def _lived(id: str, known: replay.Known, digest: str) -> tuple[Incident, list[Entry]]:
    """An incident that is over, and its journal."""
    one = Incident(
        id=id,
        episode=f"episode of {id}",
        group=Group("shop", "orders"),
        status=Status.OPEN,
        severity=Severity.SEV2,
        priority=Priority.P1,
        title="orders is down: its health probe fails",
        opened_at=AT,
        updated_at=AT,
        symptoms=1,
        services=("orders",),
    )
    entries = [journal.entry(AT, id, replay.OPENED, "brain", incident=one)]

    def say(kind: str, **body: object) -> None:
        entries.append(journal.entry(AT + len(entries) * SECOND, id, kind, "brain", **body))

    for _ in range(5):
        grown = replace(one, symptoms=one.symptoms + 1)
        say("findings.attached", count=1, set=history.changes(one, grown))
        one = grown
    insight = _insight(one)
    say("insight.made", insight=insight)
    one = replace(one, insight=insight.id)
    for number, changes in enumerate(LIVES, 1):
        say("run.proposed", run=f"run-{number}", number=number)
        one = replace(one, runs=number)
        case = _case(one, insight, known)
        decision = gate.decide(case, AT, f"decision-{number}")
        facts = replay.facts(case)
        say(replay.DECIDED, decision=decision, answers=case.answers, facts=facts, documents=digest)
        for change in changes:
            after = lifecycle.apply(one, change, AT + len(entries) * SECOND)
            say(replay.CHANGED, change=change, before=one.status, after=after.status)
            one = after
            say("run.probed", answer=case.answers["health"])
    return one, [replace(entry, seq=seq) for seq, entry in enumerate(entries, 100)]


def _insight(incident: Incident) -> Insight:
    return Insight(
        id=f"insight of {incident.id}",
        episode=incident.episode,
        type=InsightType.PROCESS_DOWN,
        risk=80,
        causes=(Cause(subject="shop/orders", statement="its process is gone"),),
        advice="start it again",
        source=InsightSource.RULES,
        at=AT,
    )


def _case(incident: Incident, insight: Insight, known: replay.Known) -> Case:
    service = known.service("shop", "orders")
    proposal = proposals.propose(insight, incident, service, known.runbooks).proposal
    return Case(
        incident=incident,
        insight=insight,
        run="run-1",
        service=service,
        runbook=known.runbook("restart"),
        proposal=proposal,
        policy=known.policy,
        modes=(Mode(id="all", automation=Automation.RUNNING, by="bench", reason="", at=AT),),
        catalogue=known.catalogue,
        calendars=known.calendars,
        answers={"health": Answer(key="health", at=AT, ok=False, detail="connection refused")},
    )
