# SPDX-License-Identifier: Apache-2.0

"""Replay: an incident from its journal, and its decisions from their facts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from opx.app import documents
from opx.bench import replay as bench
from opx.core.analyse.insight import Cause, Insight, InsightSource, InsightType
from opx.core.base.canonical import plain
from opx.core.base.reads import Answer
from opx.core.correlate.episode import Group
from opx.core.decide import gate, guards, proposals
from opx.core.decide.case import (
    Approval,
    Automation,
    Autonomy,
    Breaker,
    Busy,
    Case,
    Grant,
    Lease,
    Mode,
    TrackRecord,
)
from opx.core.decide.decision import Answered, Decision
from opx.core.detect.witness import Witness
from opx.core.incident import history, lifecycle
from opx.core.incident.incident import Incident, Priority, Status
from opx.core.incident.lifecycle import Change
from opx.core.ingest.signals import Identity, Severity
from opx.engine import journal
from opx.engine.beats.case import Knowledge
from opx.engine.journal import replay
from opx.engine.journal.replay import Library
from opx.engine.ports import Entry, StoredDocument

NOW = 1_767_225_600_000
SERVICE = """\
apiVersion: opx/v1
kind: Service
metadata: {name: orders}
spec:
  environment: shop
  target: "http://127.0.0.1:9001#orders"
  health: {http: "http://127.0.0.1:9101/health"}
"""
RUNBOOK = """\
apiVersion: opx/v1
kind: Runbook
metadata: {name: restart}
spec:
  purpose: Start a service that is down again.
  when: ["insight.type == 'process_down'"]
  steps: [{id: restart, uses: process.restart, timeout: 20s}]
  verify: {passes: 3, of: 3, every: 500ms, within: 30s}
"""
RULE = """\
apiVersion: opx/v1
kind: DetectionRule
metadata: {name: slow}
spec:
  severity: sev3
  justification: what users notice
  threshold: {metric: latency_ms, stat: avg, window: 10s, above: 200}
"""
CALENDAR = """\
apiVersion: opx/v1
kind: Calendar
metadata: {name: night}
spec: {zone: Europe/Berlin, weekly: [{days: [mon], from: "22:00", to: "24:00"}]}
"""
POLICY = """\
apiVersion: opx/v1
kind: Policy
metadata: {name: default}
spec: {ceiling: sev2}
"""
INCIDENT = Incident(
    id="incident-1",
    episode="episode-1",
    group=Group("shop", "orders"),
    status=Status.OPEN,
    severity=Severity.SEV2,
    priority=Priority.P1,
    title="orders is down",
    opened_at=NOW,
    updated_at=NOW,
    symptoms=1,
    services=("orders",),
)
INSIGHT = Insight(
    id="insight-1",
    episode="episode-1",
    type=InsightType.PROCESS_DOWN,
    risk=80,
    causes=(Cause(subject="shop/orders", statement="its process is gone"),),
    advice="restart it",
    source=InsightSource.RULES,
    at=NOW,
)


def stored(*texts: str) -> list[StoredDocument]:
    """These documents as they are kept."""
    return [
        StoredDocument(
            id=one.id,
            kind=one.document.kind,
            name=one.document.name,
            hash=one.document.hash,
            text=one.text,
            source="",
            applied_by="ann",
            applied_at=NOW,
        )
        for one in documents.check("---\n".join(texts), "t.yaml", [])
    ]


TAUGHT = stored(SERVICE, RUNBOOK, CALENDAR, POLICY)
KNOWN = documents.bind(TAUGHT)


def told(rows: list[StoredDocument], text: bool = True) -> list[Entry]:
    """The journal of these being applied, an entry each, from seq 1."""
    entries = []
    for seq, row in enumerate(rows, 1):
        body = {"text": row.text} if text else {}
        entry = journal.entry(NOW, row.id, "document.applied", "ann", hash=row.hash, **body)
        entries.append(replace(entry, seq=seq))
    return entries


def library(rows: list[StoredDocument] = TAUGHT, now: list[StoredDocument] = TAUGHT) -> Library:
    known = {(row.id, row.hash): row for row in now}
    return Library(documents.bind, told(rows), known)


def case(known: Knowledge = KNOWN, **other: Any) -> Case:
    """Everything a case can hold, and every guard has something to look at."""
    runbook, service = known.runbook("restart"), known.service("shop", "orders")
    proposed = proposals.propose(INSIGHT, INCIDENT, service, known.runbooks).proposal
    assert runbook is not None
    assert proposed is not None
    where = proposed.place
    made = Case(
        incident=INCIDENT,
        insight=INSIGHT,
        run="run-1",
        service=service,
        runbook=runbook,
        proposal=proposed,
        policy=known.policy,
        modes=(Mode(id="all", automation=Automation.RUNNING, by="a", reason="r", at=0),),
        grant=Grant(
            id=where,
            autonomy=Autonomy.AUTO,
            by="ann",
            at=0,
            runbook_hash=runbook.hash,
            target=proposed.target,
            probe="http http://127.0.0.1:9101/health",
            probation=True,
            expires_at=NOW + 60_000,
        ),
        record=TrackRecord(id=where, runbook_hash=runbook.hash, recovered=3),
        breaker=Breaker(id=where),
        lease=Lease(id=proposed.target, run="", expires_at=0),
        approval=Approval(
            id="run-1", incident="incident-1", plan="p", requested_at=0, expires_at=NOW
        ),
        protected=frozenset({"b", "a"}),
        catalogue=known.catalogue,
        calendars=known.calendars,
        acted=(Busy(run="run-0", group=Group("shop", "stock"), at=NOW - 9),),
        held=(),
        ill={Group("shop", "orders"): NOW, Group("shop", "stock"): NOW - 1},
        answers={"health": Answer(key="health", at=NOW, ok=False, latency_ms=1.5, detail="no")},
    )
    return replace(made, **other)


def decided(case: Case, seq: int = 9, undo: bool = False, **other: Any) -> Entry:
    """The entry of this case's decision, as brain journals it."""
    asked = guards.UNDO_GUARDS if undo else guards.GUARDS
    decision = gate.decide(case, NOW + 1, "decision-1", asked)
    body: dict[str, Any] = {
        "decision": decision,
        "answers": case.answers,
        "facts": replay.facts(case),
        "undo": undo,
        "documents": replay.digest(TAUGHT),
        **other,
    }
    entry = journal.entry(NOW + 1, "incident-1", replay.DECIDED, "brain", **body)
    return replace(entry, seq=seq)


# ---------------------------------------------------------------- the incident


def lived() -> tuple[Incident, list[Entry]]:
    """An incident that was opened, grew, was repaired in vain, taken on, and got well."""
    at = iter(range(NOW + 1, NOW + 100))
    entries = [journal.entry(NOW, "incident-1", replay.OPENED, "brain", incident=INCIDENT)]

    def say(kind: str, actor: str = "brain", **body: Any) -> None:
        entries.append(journal.entry(next(at), "incident-1", kind, actor, **body))

    grown = replace(INCIDENT, symptoms=3, services=("gateway", "orders"), version=2)
    say("findings.attached", count=2, set=history.changes(INCIDENT, grown))
    say("insight.made", insight=INSIGHT)
    say("run.proposed", run="run-1", number=1)
    one = replace(grown, insight=INSIGHT.id, runs=1)
    for change in (Change.REPAIR_STARTED, Change.RECOVERED, Change.RELAPSED, Change.EPISODE_ENDED):
        after = lifecycle.apply(one, change, NOW + 1 + len(entries) - 1)
        say("incident.changed", change=change, before=one.status, after=after.status)
        one = after
    taken = lifecycle.acknowledge(one, "ann", NOW)
    say("incident.acknowledged", "ann", set=history.changes(one, taken))
    say("incident.commented", "ann", text="x")
    return taken, [replace(entry, seq=seq) for seq, entry in enumerate(entries, 1)]


def test_an_incident_is_what_its_journal_says() -> None:
    """Put together from the entries, it has the hash of the one that is stored."""
    incident, entries = lived()

    rebuilt = replay.rebuild(entries)

    assert rebuilt.broken == ()
    assert rebuilt.state == history.state(incident)
    found = replay.replay(incident, entries, library())
    assert (found["ok"], found["differences"], found["decisions"]) == (True, [], [])
    assert found["stored"] == found["rebuilt"]


def test_a_stored_incident_that_was_tampered_with_is_told_by_field() -> None:
    """What is stored and what the journal says, side by side."""
    incident, entries = lived()

    found = replay.replay(replace(incident, severity=Severity.SEV5), entries, library())

    assert (found["ok"], found["stored"] == found["rebuilt"]) == (False, False)
    assert found["differences"] == [{"field": "severity", "stored": 5, "rebuilt": 2}]


@pytest.mark.parametrize("gone", range(1, 9))
def test_no_entry_that_changed_something_can_be_missing(gone: int) -> None:
    """Without any one of them it is another incident, or one that cannot have been."""
    incident, entries = lived()

    found = replay.replay(incident, entries[:gone] + entries[gone + 1 :], library())

    assert not found["ok"]
    assert found["differences"] or found["broken"]


def test_what_cannot_have_been_is_told_by_entry() -> None:
    """Before it was opened, opened twice, and what no table of changes leads to."""
    _, entries = lived()
    skipped = journal.entry(NOW, "incident-1", "x", "ann", set={"status": "mitigated"})
    jumped = [entries[0], replace(skipped, seq=2), replace(entries[4], seq=3)]

    assert replay.rebuild(entries[1:]).broken[0] == (2, "it was not opened yet")
    assert replay.rebuild([entries[0], *entries]).broken == ((1, "it was opened before"),)
    assert replay.rebuild(jumped).broken == (
        (2, "nothing leads from open to mitigated"),
        (3, "repair_started is not possible from mitigated"),
    )


# ---------------------------------------------------------------- decisions


def test_facts_are_the_case_but_for_what_people_taught() -> None:
    """From plain JSON and the documents it is the same case again; of the catalogue nothing is
    written down."""
    one = case()
    facts = replay.facts(one)

    assert replay.case_of(facts, plain(one.answers), KNOWN) == one
    assert {"catalogue", "policy", "runbook", "service", "calendars", "answers"}.isdisjoint(facts)


def test_a_witness_is_of_the_rule_it_names() -> None:
    """By its name, from the documents; without the rule the facts cannot be read."""
    known = documents.bind([*TAUGHT, *stored(RULE)])
    rule = known.rule("threshold/slow")
    assert rule is not None
    witness = Witness.of(rule, Identity("shop", "orders"))
    assert witness is not None
    one = case(known, witnesses=(witness,), catalogue=KNOWN.catalogue)

    facts = replay.facts(one)

    assert replay.case_of(facts, plain(one.answers), known) == one
    entry = decided(one)
    assert replay.redecide(entry, [], known).same
    unread = replay.redecide(entry, [], KNOWN)
    assert (unread.again, unread.same) == (None, False)
    assert "threshold/slow" in unread.why


@pytest.mark.parametrize("undo", [False, True])
def test_a_decision_is_made_again_from_its_facts(undo: bool) -> None:
    """The same answer, guard by guard, and the same with nothing but the journal."""
    entry = decided(case(), undo=undo)

    again = replay.redecide(entry, [], library(now=[]).at(entry))

    assert again.same, again
    assert again.answer == again.again


def test_a_decision_that_would_not_be_the_same_says_where() -> None:
    """Which guard, what it said then and what it says now."""
    entry = decided(case())
    facts = {**entry.body["facts"], "modes": None}

    again = replay.redecide(replace(entry, body={**entry.body, "facts": facts}), [], KNOWN)

    assert not again.same
    assert again.again == "deny"
    [(guard, then, now)] = again.differences
    assert guard == "mode"
    assert then.startswith("allow, ok")
    assert now.startswith("deny, mode_unknown")


def test_a_decision_without_its_facts_is_said_to_be_one() -> None:
    """It is not passed over, and not called the same."""
    entry = decided(case())
    bare = replace(entry, body={"decision": entry.body["decision"]})

    assert replay.redecide(bare, [], KNOWN).why == "its facts are not in the journal"
    assert replay.redecide(entry, [], None).why.startswith("the documents that were in force")
    assert not replay.replay(*_with(bare), library())["ok"]
    assert replay.replay(*_with(entry), library())["ok"]


def _with(entry: Entry) -> tuple[Incident, list[Entry]]:
    incident, entries = lived()
    return incident, [*entries, replace(entry, seq=50)]


def test_that_nothing_fits_is_found_again() -> None:
    """From the incident and the insight of then, and the runbooks; with another runbook it would
    not have been so."""
    other = documents.bind(stored(SERVICE, RUNBOOK.replace("process_down", "latency")))
    proposed = proposals.propose(INSIGHT, INCIDENT, None, other.runbooks)
    assert proposed.proposal is None
    decision = gate.none_fits(INCIDENT, proposed.trace, NOW + 3)
    entry = journal.entry(NOW + 3, "incident-1", replay.DECIDED, "brain", decision=decision)
    about = lived()[1][:3]

    assert replay.redecide(entry, about, other).same
    fits = replay.redecide(entry, about, KNOWN)
    assert not fits.same
    assert {"plan", "considered"} <= {name for name, _, _ in fits.differences}


# ---------------------------------------------------------------- documents


def test_the_documents_are_those_of_the_decision() -> None:
    """Of what was in force by its seq; by its digest those of a moment before, where brain had
    not read the change yet; deleted ones not."""
    looser = stored(SERVICE, RUNBOOK, CALENDAR, POLICY.replace("sev2", "sev1"))
    changed = replace(told(looser)[3], seq=6, at=NOW)
    gone = replace(journal.entry(NOW, "Calendar/night", "document.deleted", "ann"), seq=7)
    shelf = Library(documents.bind, [*told(TAUGHT), changed, gone], {})

    def policy(seq: int, digest: str, at: int = NOW) -> Severity | None:
        entry = Entry(
            seq=seq, at=at, subject="i", kind="run.decided", actor="", body={"documents": digest}
        )
        known = shelf.at(entry)
        assert known is not None
        return known.policy.ceiling

    assert policy(5, replay.digest(TAUGHT)) is Severity.SEV2
    assert policy(9, replay.digest(TAUGHT)) is Severity.SEV2
    assert policy(9, replay.digest(looser)) is Severity.SEV1
    late = replace(decided(case()), at=NOW + 3_600_000)
    assert shelf.at(late) is None
    last = shelf.at(replace(late, body={}))
    assert last is not None
    assert (last.policy.ceiling, dict(last.calendars)) == (Severity.SEV1, {})


def test_a_text_that_the_journal_lacks_is_taken_from_what_is_kept() -> None:
    """Where its content is still the same; else the documents cannot be had."""
    entry = decided(case())
    known = {(row.id, row.hash): row for row in TAUGHT}

    assert Library(documents.bind, told(TAUGHT, text=False), known).at(entry) == KNOWN
    assert Library(documents.bind, told(TAUGHT, text=False), {}).at(entry) is None


def test_the_answer_of_an_allowed_case() -> None:
    """The case of these tests is one that opx acts on, so that every guard counts."""
    decision: Decision = gate.decide(case(), NOW + 1, "d")

    assert decision.answer is Answered.ALLOW, [r for r in decision.results if r.answer]


def test_the_measure_counts_only_what_comes_out_the_same() -> None:
    """What it replays is replayed whole before it is timed: both figures are of real work."""
    rebuilt, whole = bench.measure(0.01, lambda _: None)

    assert rebuilt.measured
    assert whole.measured
    assert (rebuilt.must, rebuilt.aim) == ("500 /s", "5,000 /s")
