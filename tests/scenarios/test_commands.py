# SPDX-License-Identifier: Apache-2.0

"""What ``brain`` makes of what people ask it to do about an incident."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import pytest

from opx.core.act.run import Run, RunStatus
from opx.core.base.canonical import plain
from opx.core.correlate.episode import Episode, Group, Ruling
from opx.core.decide.runbooks import Proposal
from opx.core.incident import history
from opx.core.incident.incident import (
    Incident,
    Priority,
    Resolution,
    ResolutionKind,
    Status,
)
from opx.core.ingest.signals import Severity
from opx.core.notify.notice import Edge, Notice
from opx.engine.beats.parts import Parts
from opx.engine.journal import replay
from opx.engine.people import commands
from opx.engine.ports import Command, Entry, StartRequest, WriteTx
from opx.testing.memory import ManualClock, MemoryStore

R = TypeVar("R")

INCIDENT = Incident(
    id="incident-1",
    episode="e",
    group=Group("shop", "orders"),
    status=Status.OPEN,
    severity=Severity.SEV2,
    priority=Priority.P1,
    title="orders is down",
    opened_at=0,
    updated_at=0,
    version=3,
)


def carried_out(subject: str, body: dict[str, Any]) -> tuple[Command, Incident, list[Entry]]:
    """The command, the incident and the journal after brain's turn with an acknowledgement."""
    store, clock = MemoryStore(), ManualClock()
    nothing: Any = None
    parts = Parts(
        store=store,
        clock=clock,
        prober=nothing,
        workflows=nothing,
        signer=nothing,
        knowledge=nothing,
    )
    asked = Command(id="c", kind="acknowledge", subject=subject, actor="ann", at=0, body=body)

    async def turn() -> tuple[Command, Incident, list[Entry]]:
        await store.write(lambda tx: (tx.add(INCIDENT), tx.save(asked)))
        assert await commands.execute_waiting(parts) == 1
        assert await commands.execute_waiting(parts) == 0
        command = await store.read(lambda tx: tx.get(Command, "c"))
        incident = await store.read(lambda tx: tx.get(Incident, "incident-1"))
        assert command is not None
        assert incident is not None
        return command, incident, await store.read(lambda tx: tx.find(Entry))

    return asyncio.run(turn())


@pytest.mark.parametrize(
    ("subject", "body", "code"),
    [("incident-1", {"version": 2}, "stale"), ("incident-2", {}, "not_found")],
)
def test_a_refused_command_changes_nothing_and_is_journalled(
    subject: str, body: dict[str, Any], code: str
) -> None:
    """Who asked, for what and why it was refused stand in the journal, in the transaction
    that ends the command."""
    command, incident, journal = carried_out(subject, body)

    assert command.error.startswith(f"{code}: ")
    assert incident == INCIDENT
    assert [(row.kind, row.subject, row.actor) for row in journal] == [
        ("command.refused", subject, "ann")
    ]
    assert journal[0].body == {"command": "acknowledge", "error": command.error}


def test_a_command_that_nobody_foresaw_is_refused_and_holds_up_no_other() -> None:
    """An assignment to nobody: refused, said in the journal and complained of; what waits
    behind it is carried out."""
    nothing: Any = None
    store, complaints = MemoryStore(), list[str]()
    asked = Command(id="c0", kind="assign", subject="incident-1", actor="ann", at=0)
    behind = replace(asked, id="c1", kind="acknowledge", at=1)

    async def turn() -> tuple[list[Command], list[Entry]]:
        await store.write(lambda tx: tx.add(INCIDENT, asked, behind))
        await commands.execute_waiting(
            Parts(
                store=store,
                clock=ManualClock(),
                prober=nothing,
                workflows=nothing,
                signer=nothing,
                knowledge=nothing,
            ),
            lambda loop, _: complaints.append(loop),
        )
        return await store.read(lambda tx: (tx.find(Command, order="id"), tx.find(Entry)))

    (broken, well), journal = asyncio.run(turn())
    assert broken.error == "internal: KeyError('to')"
    assert (well.done_at is not None, well.error) == (True, "")
    assert [row.kind for row in journal] == ["command.refused", "incident.acknowledged"]
    assert complaints == ["commands"]


@pytest.mark.parametrize("body", [{}, {"version": 3}])
def test_an_incident_as_it_was_read_is_acknowledged(body: dict[str, Any]) -> None:
    """The version that was read, or none, lets it through."""
    command, incident, journal = carried_out("incident-1", body)

    assert (command.error, incident.version) == ("", 4)
    assert [row.kind for row in journal] == ["incident.acknowledged"]


# ---------------------------------------------------------------- what each verb comes to

T = 1_767_225_600_000
EPISODE = Episode(
    id="e", group=Group("shop", "orders"), started_at=T, last_at=T, symptoms=2, open_symptoms=2
)
RUN = Run(
    id="run-1",
    incident="incident-1",
    group=Group("shop", "orders"),
    number=1,
    status=RunStatus.PROPOSED,
    proposal=Proposal(
        runbook="restart",
        runbook_hash="h",
        inputs={},
        target="t",
        environment="shop",
        service="orders",
    ),
    created_at=T,
    due_at=T,
)


class Woken:
    """``Workflows`` that only remember what they were asked to start."""

    def __init__(self) -> None:
        self.started: list[StartRequest] = []

    def start(self, request: StartRequest, tx: WriteTx) -> None:
        self.started.append(request)


@dataclass
class Office:
    """A store with these rows, and a brain that carries out what is asked of it, at ``T``."""

    rows: tuple[object, ...] = (INCIDENT, EPISODE)
    store: MemoryStore = field(default_factory=MemoryStore)
    woken: Woken = field(default_factory=Woken)
    asked: int = 0

    def __post_init__(self) -> None:
        asyncio.run(self.store.write(lambda tx: tx.add(*self.rows)))

    def ask(self, kind: str, subject: str = "incident-1", **body: Any) -> str:
        """The error, "" when it was done."""
        nothing: Any = None
        workflows: Any = self.woken
        parts = Parts(
            store=self.store,
            clock=ManualClock(T),
            prober=nothing,
            workflows=workflows,
            signer=nothing,
            knowledge=nothing,
        )
        self.asked += 1
        id = f"c{self.asked}"
        command = Command(id=id, kind=kind, subject=subject, actor="ann", at=T, body=body)

        async def turn() -> Command | None:
            await self.store.write(lambda tx: tx.save(command))
            await commands.execute_waiting(parts)
            return await self.store.read(lambda tx: tx.get(Command, id))

        done = asyncio.run(turn())
        assert done is not None
        assert done.done_at == T
        return done.error

    def read(self, kind: type[R]) -> list[R]:
        return asyncio.run(self.store.read(lambda tx: tx.find(kind)))

    def incident(self, id: str = "incident-1") -> Incident:
        return next(one for one in self.read(Incident) if one.id == id)

    def journal(self) -> list[tuple[str, str, str]]:
        return [(row.kind, row.subject, row.actor) for row in self.read(Entry)]


FIXED: dict[str, Any] = {"resolution": "fixed", "text": "a new disk"}


def test_resolving_ends_the_incident_and_has_its_episode_ended() -> None:
    """Whatever still fires: with who said so and as what; a run that has not begun is refused;
    people are told; and what sense has to do with the episode, as it was seen, stands there."""
    office = Office((INCIDENT, EPISODE, RUN))

    assert office.ask("resolve", version=3, **FIXED) == ""

    one = office.incident()
    assert (one.status, one.resolved_at) == (Status.RESOLVED, T)
    assert one.resolution == Resolution(kind=ResolutionKind.FIXED, by="ann", text="a new disk")
    assert [run.status for run in office.read(Run)] == [RunStatus.REFUSED]
    assert office.read(Ruling) == [Ruling(id="e", symptoms=2, at=T)]
    assert [notice.edge for notice in office.read(Notice)] == [Edge.RESOLVED]
    assert office.journal() == [
        ("incident.resolved", "incident-1", "ann"),
        ("incident.changed", "incident-1", "brain"),
        ("run.ended", "incident-1", "brain"),
        ("notice.made", "incident-1", "brain"),
    ]


def test_an_episode_that_is_over_needs_no_ruling() -> None:
    """It has ended anyhow."""
    office = Office((INCIDENT, replace(EPISODE, ended_at=T)))

    assert office.ask("resolve", **FIXED) == ""
    assert office.read(Ruling) == []


def test_assigning() -> None:
    """It is theirs, and who gave it to them is in the journal, with what changed."""
    office = Office()

    assert office.ask("assign", to="bob") == ""

    assert office.incident().assigned_to == "bob"
    [entry] = office.read(Entry)
    assert (entry.kind, entry.actor) == ("incident.assigned", "ann")
    assert entry.body == {"set": {"assigned_to": "bob"}, "to": "bob"}


def test_merging_two() -> None:
    """The one is closed and names the other, which goes on; their episodes are to be one."""
    other = replace(INCIDENT, id="incident-2", episode="e2", version=1)
    office = Office((INCIDENT, EPISODE, other))

    assert office.ask("merge", into="incident-2") == ""

    one, kept = office.incident(), office.incident("incident-2")
    assert (one.status, one.merged_into) == (Status.CLOSED, "incident-2")
    assert (kept.status, kept.merged_into) == (Status.OPEN, None)
    assert office.read(Ruling) == [Ruling(id="e", into="e2", symptoms=2, at=T)]
    assert [notice.edge for notice in office.read(Notice)] == [Edge.MERGED]
    told = office.journal()
    assert ("incident.joined", "incident-1", "ann") in told
    assert ("incident.merged", "incident-2", "brain") in told


@pytest.mark.parametrize(
    ("into", "status", "error"),
    [
        ("incident-1", Status.OPEN, "refused: an incident cannot be merged into itself"),
        ("incident-2", Status.RESOLVED, "illegal_change: nothing can be merged into incident-2"),
        ("incident-2", Status.CLOSED, "illegal_change: nothing can be merged into incident-2"),
        ("incident-3", Status.OPEN, "not_found: "),
    ],
)
def test_what_cannot_be_merged(into: str, status: Status, error: str) -> None:
    """Into itself, into what is over or is not there: refused by name, and nothing changes."""
    other = replace(INCIDENT, id="incident-2", status=status, version=1)
    office = Office((INCIDENT, EPISODE, other))

    assert office.ask("merge", into=into).startswith(error)
    assert office.incident() == INCIDENT
    assert office.read(Ruling) == []


def test_closing_takes_a_resolution_first() -> None:
    """An open incident is not just put away; a resolved one is, and then nothing is possible."""
    office = Office()

    assert office.ask("close") == (
        "illegal_change: close is not possible while an incident is open; "
        "possible: acknowledge, assign, comment, merge, resolve"
    )
    office.ask("resolve", **FIXED)
    assert office.ask("close") == ""
    assert office.incident().status is Status.CLOSED
    for verb, body in (("assign", {"to": "bob"}), ("acknowledge", {}), ("resolve", FIXED)):
        error = office.ask(verb, **body)
        assert error.startswith(f"illegal_change: {verb} is not possible while")
        assert error.endswith("is closed; possible: comment, reopen")


def test_reopening_is_a_new_incident() -> None:
    """The old one stays as it is, and names nobody; the new one names it, is told, looked at by
    brain, and the episode that was to be ended goes on with it."""
    office = Office()
    office.ask("resolve", **FIXED)
    old = office.incident()

    assert office.ask("reopen", reason="still slow") == ""

    new = office.incident(Incident.id_after("incident-1"))
    assert office.incident() == old
    assert (new.status, new.previous, new.episode, new.version) == (
        Status.OPEN,
        "incident-1",
        "e",
        1,
    )
    assert office.read(Ruling) == []
    assert [notice.edge for notice in office.read(Notice) if notice.incident == new.id] == [
        Edge.OPENED
    ]
    assert [request.args for request in office.woken.started] == [{"incident": new.id}]
    told = office.journal()
    assert ("incident.reopened", "incident-1", "ann") in told
    assert ("incident.opened", new.id, "ann") in told


def test_what_goes_on_already_is_not_reopened() -> None:
    """Neither what is open, nor twice, nor beside one that is open on the same service; each
    refusal names where to go."""
    office = Office()
    new = Incident.id_after("incident-1")
    assert "reopen is not possible while an incident is open" in office.ask("reopen")
    office.ask("resolve", **FIXED)
    assert office.ask("reopen") == ""
    assert office.ask("reopen") == (
        f"illegal_change: it goes on as {new} already; possible: see to that one"
    )
    beside = Office((replace(INCIDENT, status=Status.RESOLVED), replace(INCIDENT, id="incident-9")))
    assert "it goes on as incident-9 already" in beside.ask("reopen")


VERBS: list[tuple[str, dict[str, Any]]] = [
    ("assign", {"to": "bob"}),
    ("merge", {"into": "incident-2"}),
    ("resolve", FIXED),
    ("close", {}),
    ("reopen", {}),
]


@pytest.mark.parametrize(("verb", "body"), VERBS)
def test_nothing_is_done_to_what_was_changed_since_it_was_read(
    verb: str, body: dict[str, Any]
) -> None:
    """Stale, journaled, and the incident is as it was."""
    office = Office((INCIDENT, EPISODE, replace(INCIDENT, id="incident-2", version=1)))

    assert office.ask(verb, version=2, **body).startswith("stale: ")

    assert office.incident() == INCIDENT
    assert office.journal() == [("command.refused", "incident-1", "ann")]


@pytest.mark.parametrize(("verb", "body"), VERBS[:3])
def test_what_people_did_can_be_put_together_again(verb: str, body: dict[str, Any]) -> None:
    """The journal of the verbs alone says what they changed."""
    office = Office((INCIDENT, EPISODE, replace(INCIDENT, id="incident-2", version=1)))
    assert office.ask("assign", to="ada") == ""
    assert office.ask(verb, **body) == ""

    opened = Entry(
        at=T, subject="incident-1", kind=replay.OPENED, actor="", body={"incident": plain(INCIDENT)}
    )
    mine = [entry for entry in office.read(Entry) if entry.subject == "incident-1"]
    rebuilt = replay.rebuild([opened, *mine])

    assert rebuilt.broken == ()
    assert history.differences(history.state(office.incident()), rebuilt.state or {}) == {}
