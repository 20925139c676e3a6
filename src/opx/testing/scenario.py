# SPDX-License-Identifier: Apache-2.0

"""Scenarios: telemetry in, then what opx must have found, decided, done and said.

The specification of opx, and a way for users to test what they teach it. A scenario is
plain data (YAML in ``tests/scenarios``); ``play`` runs the real ``brain`` and ``hands`` on
the shipped fakes in virtual time and returns what came of it in the same form. It must
never look inside: everything it reports was read from the store or from the fakes.

    documents:  YAML text, as ``opx apply`` takes it
    grants:     [{runbook, environment, service, autonomy, probation}]
    given:      [{at: seconds, <one thing that happens>}]
    until:      seconds
    expect:     any of the keys that ``Result.plain`` has; ``incidents`` and ``notices`` always

Lists are whole: an incident or a notice that ``expect`` does not name is a difference, so a
scenario also fails when too much happens.

What can happen: ``alerts``: [{labels, resolved, times}], ``events``: [{id, type, ...}],
``health``: {service: yes | no | hung}, ``repair``: {service: works | fails},
``halt``/``resume``: scope, ``command``: {kind, subject, by}, ``crash``: brain.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from opx.core.act.run import Run
from opx.core.base import ids
from opx.core.base.time import MINUTE, SECOND, Ms
from opx.core.decide.case import Approval, Automation, Autonomy, Breaker, Grant, Mode
from opx.core.decide.decision import Decision
from opx.core.detect.finding import Finding
from opx.core.incident.incident import Incident
from opx.core.ingest import identity
from opx.core.ingest.signals import Alert, Event, Identity, Severity, Tick
from opx.engine import journal
from opx.engine.beats.case import Knowledge
from opx.engine.beats.parts import Parts
from opx.engine.brain import Brain
from opx.engine.hands import EPOCH, Hands
from opx.engine.ports import (
    Batch,
    Clock,
    Command,
    Entry,
    ReadTx,
    Saved,
    Store,
    Where,
    Workflows,
    WriteTx,
)
from opx.testing import virtual
from opx.testing.memory import MemoryLog, MemoryStore, MemoryTelemetry
from opx.testing.world import FakeAction, FakeProber, FakeReceiver, PlainSigner

ALERT_LIFE: Ms = 5 * MINUTE
ALWAYS = ("incidents", "notices")


class ServedWorkflows(Workflows, Protocol):
    """Workflows that run in the caller's loop."""

    async def serve(self, stop: asyncio.Event) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of a scenario, in plain values."""

    plain: dict[str, Any]
    failures: tuple[str, ...]


@dataclass(slots=True, kw_only=True)
class Town:
    """The world of one scenario: real engine, fake surroundings."""

    knowledge: Knowledge
    workflows: Callable[[Store, Clock], ServedWorkflows]
    clock: Clock = field(default_factory=virtual.LoopClock)
    store: MemoryStore = field(init=False)
    log: MemoryLog = field(init=False)
    prober: FakeProber = field(init=False)
    action: FakeAction = field(default_factory=FakeAction)
    receiver: FakeReceiver = field(default_factory=FakeReceiver)
    failures: list[str] = field(default_factory=list)
    stubborn: set[str] = field(default_factory=set)
    sent: int = 0
    flows: ServedWorkflows = field(init=False)
    _brain: list[asyncio.Task[None]] = field(default_factory=list)
    _stop: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.store = MemoryStore()
        self.log = MemoryLog(self.clock)
        self.prober = FakeProber(self.clock)
        self.action.then = self._repaired
        for service in self.knowledge.catalogue.services.values():
            self.health(service.name, "yes")

    async def begin(self, grants: list[Mapping[str, Any]]) -> None:
        now = self.clock.now()
        running = Mode(id="all", automation=Automation.RUNNING, by="test", reason="", at=now)
        given = [_grant(each, self.knowledge, now) for each in grants]
        await self.store.write(lambda tx: tx.save(running, *given))
        await self.store.write(lambda tx: tx.set(Saved(id=EPOCH, seq=1)))
        self.start_brain()

    def start_brain(self) -> None:
        """A new ``brain`` and its workflows, on whatever the store holds."""
        flows = self.flows = self.workflows(self.store, self.clock)
        parts = Parts(
            store=self.store,
            clock=self.clock,
            prober=self.prober,
            workflows=flows,
            signer=PlainSigner(),
            knowledge=self.knowledge,
            receivers=(self.receiver.name,),
        )
        brain = Brain(
            parts=parts,
            tail=self.log,
            telemetry=MemoryTelemetry(),
            receivers={self.receiver.name: self.receiver},
            reload=lambda _: self.knowledge,
            seal=_nothing,
            complain=lambda name, error: self.failures.append(f"{name}: {error!r}"),
        )
        self._brain = [
            asyncio.create_task(brain.run(self._stop)),
            asyncio.create_task(flows.serve(self._stop)),
        ]

    async def crash_brain(self) -> None:
        """End brain and everything it is in the middle of, and start another."""
        for task in self._brain:
            task.cancel()
        await asyncio.gather(*self._brain, return_exceptions=True)
        await self.flows.close()
        self.start_brain()

    async def hands(self) -> None:
        hands = Hands(
            store=self.store,
            clock=self.clock,
            verifier=PlainSigner(),
            actions={self.action.spec.name: self.action},
            name="hands",
        )
        await hands.run(self._stop)

    async def ticks(self) -> None:
        while not self._stop.is_set():
            await self.log.append(Batch(items=(Tick(self.clock.now()),)))
            await self.clock.sleep(SECOND)

    async def switch(self, scope: str, to: Automation) -> None:
        """A person halts or resumes ``scope``."""
        now, by = self.clock.now(), "a person"

        def write(tx: WriteTx) -> None:
            known = tx.get(Mode, scope)
            version = known.version + 1 if known else 1
            tx.save(Mode(id=scope, automation=to, by=by, reason="", at=now, version=version))
            tx.append(journal.entry(now, "automation", f"automation.{to}", by, scope=scope))

        await self.store.write(write)

    def stop(self) -> None:
        self._stop.set()

    def health(self, name: str, state: str) -> None:
        """``yes``, ``no`` (nobody listens) or ``hung`` (no answer in time)."""
        for service in self.knowledge.catalogue.services.values():
            if service.name == name and service.health is not None:
                probe = service.health.probe
                detail = {"yes": "", "no": "connection refused", "hung": "timed out"}[state]
                after = probe.timeout if state == "hung" else 0
                self.prober.say(probe.address, state == "yes", detail=detail, after=after)

    def _repaired(self, target: str) -> None:
        for service in self.knowledge.catalogue.services.values():
            if service.target == target and service.name not in self.stubborn:
                self.health(service.name, "yes")

    def alert(self, told: Mapping[str, Any]) -> Alert:
        now = self.clock.now()
        labels = dict(told["labels"])
        whose = identity.resolve(labels, self.knowledge.catalogue.mapping)
        return Alert(
            fingerprint=ids.derived("alert", labels),
            identity=whose,
            severity=Severity[str(labels.get("severity", "sev3")).upper()],
            labels=labels,
            starts_at=now,
            ends_at=now if told.get("resolved") else now + ALERT_LIFE,
            received_at=now,
        )

    def event(self, told: Mapping[str, Any], number: int) -> Event:
        """``times`` of one are as many events, of as many subjects."""
        now = self.clock.now()
        severity = told.get("severity")
        return Event(
            id=f"{told['id']}-{number}",
            source=str(told.get("source", "scenario")),
            type=str(told["type"]),
            subject=str(told.get("subject", number)),
            identity=Identity(str(told["environment"]), str(told["service"])),
            severity=Severity[str(severity).upper()] if severity else None,
            at=now,
            received_at=now,
        )


async def _nothing() -> None:
    return None


def _grant(told: Mapping[str, Any], knowledge: Knowledge, now: Ms) -> Grant:
    """For the runbook and the target that are known, as a person would be granting it."""
    runbook = knowledge.runbook(str(told["runbook"]))
    service = knowledge.service(str(told["environment"]), str(told["service"]))
    return Grant(
        id=f"{told['runbook']}|{told['environment']}|{told['service']}",
        runbook_hash=runbook.hash if runbook else "",
        target=service.target if service else "",
        parameters=runbook.takes(service.parameters) if runbook and service else {},
        autonomy=Autonomy[str(told["autonomy"]).upper()],
        by="a person",
        at=now,
        probation=bool(told.get("probation", False)),
        expires_at=now + 24 * 60 * MINUTE,
    )


async def _happen(town: Town, step: Mapping[str, Any]) -> None:
    for name, told in step.items():
        if name == "alerts":
            alerts = [town.alert(each) for each in told for _ in range(each.get("times", 1))]
            await town.log.append(Batch(items=tuple(alerts)))
        elif name == "events":
            events = [
                town.event(each, number) for each in told for number in range(each.get("times", 1))
            ]
            await town.log.append(Batch(items=tuple(events)))
        elif name == "health":
            for service, state in told.items():
                town.health(service, "yes" if state is True else "no" if state is False else state)
        elif name == "repair":
            for service, how in told.items():
                (town.stubborn.add if how == "fails" else town.stubborn.discard)(service)
        elif name in ("halt", "resume"):
            await town.switch(told, Automation.HALTED if name == "halt" else Automation.RUNNING)
        elif name == "command":
            await _command(town, told)
        elif name == "crash":
            await town.crash_brain()
        elif name != "at":
            raise ValueError(f"nothing in a scenario is called {name!r}")


async def _command(town: Town, told: Mapping[str, Any]) -> None:
    """``subject`` may be ``incident`` or ``run``: the newest there is."""
    subject = str(told["subject"])
    newest: dict[str, tuple[type[Any], str]] = {
        "incident": (Incident, "-opened_at"),
        "run": (Run, "-created_at"),
    }
    if subject in newest:
        kind, order = newest[subject]
        found = await town.store.read(lambda tx: tx.find(kind, order=order, limit=1))
        subject = found[0].id
    approval = await town.store.read(lambda tx: tx.get(Approval, subject))
    town.sent += 1
    command = Command(
        id=f"command-{town.sent}",
        kind=str(told["kind"]),
        subject=subject,
        actor=str(told.get("by", "a person")),
        at=town.clock.now(),
        body={"plan": approval.plan} if approval is not None else {},
    )
    await town.store.write(lambda tx: tx.save(command))


def _report(tx: ReadTx) -> dict[str, Any]:
    """Everything ``expect`` may speak of."""
    runs = tx.find(Run, order="created_at")
    return {
        "findings": len(tx.find(Finding)),
        "incidents": [
            {
                "environment": incident.group.environment,
                "service": incident.group.service,
                "severity": incident.severity.name.lower(),
                "status": str(incident.status),
                "symptoms": incident.symptoms,
                "acknowledged_by": incident.acknowledged_by,
                "linked": incident.previous is not None,
            }
            for incident in tx.find(Incident, order="opened_at")
        ],
        "decisions": [
            {
                "answer": decision.answer.name.lower(),
                "reasons": sorted({str(reason) for reason in decision.reasons}),
            }
            for incident in tx.find(Incident, order="opened_at")
            for decision in tx.find(Decision, Where("incident", "eq", incident.id), order="at")
        ],
        "runs": [str(run.status) for run in runs],
        "notices": [
            entry.body["edge"]
            for entry in tx.find(Entry, Where("kind", "eq", "notice.made"))  # in their order
        ],
        "approvals": [row.approved for row in tx.find(Approval, order="requested_at")],
        "breakers": sorted(row.id for row in tx.find(Breaker) if row.opened_at is not None),
    }


async def _play(
    scenario: Mapping[str, Any],
    knowledge: Knowledge,
    workflows: Callable[[Store, Clock], ServedWorkflows],
) -> Result:
    town = Town(knowledge=knowledge, workflows=workflows)
    await town.begin(list(scenario.get("grants", ())))
    others = [asyncio.create_task(town.hands()), asyncio.create_task(town.ticks())]
    for step in sorted(scenario["given"], key=lambda each: float(each["at"])):
        due = virtual.START + round(float(step["at"]) * SECOND)
        await town.clock.sleep(max(0, due - town.clock.now()))
        await _happen(town, step)
    end = virtual.START + round(float(scenario["until"]) * SECOND)
    await town.clock.sleep(max(0, end - town.clock.now()))
    plain = await town.store.read(_report)
    plain["effects"] = dict(town.action.effects)
    plain["delivered"] = [str(notice.edge) for notice in town.receiver.got]
    town.stop()
    for task in (*others, *town._brain):
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    return Result(plain=plain, failures=tuple(town.failures))


def play(
    scenario: Mapping[str, Any],
    knowledge: Knowledge,
    workflows: Callable[[Store, Clock], ServedWorkflows],
) -> Result:
    """Play one scenario to its end in virtual time."""
    return virtual.run(_play(scenario, knowledge, workflows))


def differences(expected: Mapping[str, Any], result: Result) -> list[str]:
    """Where the result is not what was expected; a mapping in a list may name fewer fields."""
    found = [f"a loop of brain failed: {failure}" for failure in result.failures]
    found += [f"{name}: say which are expected, or []" for name in ALWAYS if name not in expected]
    for name, wanted in expected.items():
        got = result.plain[name]
        if isinstance(wanted, list) and isinstance(got, list) and len(wanted) == len(got):
            got = [_only(one, like) for one, like in zip(got, wanted, strict=True)]
        if got != wanted:
            found.append(f"{name}: expected {wanted!r}, got {got!r}")
    return found


def _only(got: object, like: object) -> object:
    if isinstance(got, dict) and isinstance(like, dict):
        return {name: got.get(name) for name in like}
    return got


__all__ = ["Result", "Town", "differences", "play"]
