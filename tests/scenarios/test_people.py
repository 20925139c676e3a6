# SPDX-License-Identifier: Apache-2.0

"""What people do about incidents and what becomes of it: their verbs, a real brain and hands, in
virtual time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from opx.adapters.durable.inline import InlineWorkflows
from opx.app import documents
from opx.core.base import ids
from opx.core.base.time import MINUTE, SECOND
from opx.core.correlate.episode import Ruling
from opx.core.decide.roles import Role
from opx.core.incident import history, lifecycle
from opx.core.incident.incident import Incident, Resolution, ResolutionKind, Status
from opx.core.ingest.signals import Alert, Identity, Severity
from opx.engine import journal, queries
from opx.engine.access import Access, Principal
from opx.engine.beats.case import Knowledge
from opx.engine.documents import Checked
from opx.engine.journal import replay, suppressed
from opx.engine.people import Ask, People
from opx.engine.people.silences import Quiet
from opx.engine.ports import Batch, Entry, ReadTx, StoredDocument
from opx.testing import virtual
from opx.testing.scenario import Town

R = TypeVar("R")
ANN = Ask(by=Principal(token="t", name="ann", roles=(Role.ADMIN,)))
SHOP = """\
apiVersion: opx/v1
kind: Service
metadata: {name: orders}
spec:
  environment: shop
  health: {http: "http://127.0.0.1:1/orders", failures: 2}
  target: "http://127.0.0.1:2#orders"
---
apiVersion: opx/v1
kind: Runbook
metadata: {name: restart-process}
spec:
  purpose: Bring it back
  when: ["insight.type == 'process_down'"]
  steps: [{id: restart, uses: process.restart}]
  verify: {passes: 3, of: 3, every: 500ms, within: 10s}
"""


@dataclass
class Office:
    """A town and the people who look after it."""

    town: Town = field(
        default_factory=lambda: Town(knowledge=Knowledge(), workflows=InlineWorkflows)
    )
    people: People = field(init=False)

    def __post_init__(self) -> None:
        store, clock = self.town.store, self.town.clock

        async def known() -> Knowledge:
            return self.town.knowledge

        async def checking(
            text: str, source: str, known: Sequence[StoredDocument]
        ) -> Sequence[Checked]:
            return documents.check(text, source, known)

        self.people = People(
            store=store,
            clock=clock,
            access=Access(store, clock),
            check=checking,
            knowledge=known,
        )

    async def wait(self, seconds: float) -> None:
        await self.town.clock.sleep(round(seconds * SECOND))

    async def alert(self, name: str, service: str = "orders", resolved: bool = False) -> None:
        """An alert by this name, and the time to take it in."""
        labels = {"alertname": name, "service": service, "environment": "shop"}
        now = self.town.clock.now()
        told = Alert(
            fingerprint=ids.derived("alert", labels),
            identity=Identity("shop", service),
            severity=Severity.SEV3,
            labels=labels,
            starts_at=now,
            ends_at=now if resolved else now + 5 * MINUTE,
            received_at=now,
        )
        await self.town.log.append(Batch(items=(told,)))
        await self.wait(3)

    async def incidents(self) -> list[Incident]:
        return await self.town.store.read(lambda tx: tx.find(Incident, order="opened_at"))

    async def listed(self) -> list[tuple[str, str]]:
        """What was suppressed, newest first: the reason and the silence."""
        rows = await self.town.store.read(lambda tx: suppressed(tx, 0, 100))
        return [(row["body"]["reason"], row["body"].get("silence", "")) for row in rows]

    async def why(self, service: str = "orders") -> dict[str, Any]:
        """The answer about a service."""
        known, now = self.town.knowledge, self.town.clock.now()
        return await self.town.store.read(
            lambda tx: queries.why_of(tx, known, "shop", service, now)
        )

    async def replayed(self) -> list[dict[str, Any]]:
        """The replay of every incident there is."""

        def read(tx: ReadTx) -> list[dict[str, Any]]:
            gathered = [
                (one, *replay.gathered(tx, one, documents.bind)) for one in tx.find(Incident)
            ]
            return [replay.replay(*each) for each in gathered]

        return await self.town.store.read(read)


@contextlib.asynccontextmanager
async def working() -> AsyncIterator[Office]:
    """An office that is at work; afterwards every incident is what its journal says."""
    office = Office()
    town = office.town
    await office.people.apply_documents(ANN, SHOP, "shop.yaml")
    town.knowledge = documents.bind(await town.store.read(queries.stored_documents))
    town.health("orders", "yes")
    await town.begin([])
    others = [asyncio.create_task(town.hands()), asyncio.create_task(town.ticks())]
    await office.wait(5)
    try:
        yield office
        await office.wait(3)
        for found in await office.replayed():
            assert found["ok"], found
    finally:
        await town.end(*others)
    assert town.failures == []


def test_a_silence_holds_back_and_lets_go() -> None:
    """While it holds nothing opens and nobody is told, through a crash of brain too; what was
    found is listed with the silence's id. When a person ends it, what still fires opens."""

    async def main() -> None:
        async with working() as office:
            quiet = Quiet(reason="moving", span=10 * MINUTE, service="orders")
            made = await office.people.silences.add(ANN, quiet)
            office.town.health("orders", "no")
            await office.alert("Slow")
            await office.wait(10)
            await office.town.crash_brain()
            await office.wait(10)
            assert await office.incidents() == []
            assert office.town.receiver.got == []
            assert await office.listed() == [("silenced", made["id"])] * 2
            told = await office.why()
            assert told["incident"] is None
            assert [seen["reason"] for seen in told["seen"]] == ["silenced"] * 2
            assert "ann silenced it" in told["seen"][0]["sentences"][0]
            assert made["id"][:8] in told["seen"][0]["sentences"][1]

            await office.people.silences.end(ANN, made["id"])
            await office.wait(3)
            [one] = await office.incidents()
            assert (one.group.service, one.status, one.symptoms) == ("orders", Status.OPEN, 2)

    virtual.run(main())


def test_a_silence_that_expires_takes_up_what_still_fires() -> None:
    """At its end, by itself; what was over before never was anything; what it does not match is
    told at once."""

    async def main() -> None:
        async with working() as office:
            quiet = Quiet(reason="moving", span=MINUTE, rule="alert", service="orders")
            await office.people.silences.add(ANN, quiet)
            await office.alert("Slow")
            await office.alert("Gone")
            await office.alert("Gone", resolved=True)
            await office.alert("Other", service="payments")
            assert [one.group.service for one in await office.incidents()] == ["payments"]
            await office.wait(60)
            one = (await office.incidents())[-1]
            assert (one.group.service, one.symptoms) == ("orders", 1)

    virtual.run(main())


def test_what_is_resolved_stays_so_while_the_same_still_fires() -> None:
    """The alert goes on, is told again, and opens nothing; another one opens the next incident,
    which names the first, and ends by itself although the first still fires."""

    async def main() -> None:
        async with working() as office:
            await office.alert("Stuck")
            [one] = await office.incidents()
            kind = ResolutionKind.FALSE_POSITIVE
            done = await office.people.incidents.resolve(ANN, one.id, kind, "the sensor is old")
            assert done["status"] == "resolved"
            await office.alert("Stuck")
            await office.wait(60)
            await office.alert("Stuck")
            assert [row.status for row in await office.incidents()] == [Status.RESOLVED]

            await office.alert("Other")
            _, two = await office.incidents()
            assert (two.status, two.previous, two.symptoms) == (Status.OPEN, one.id, 1)
            await office.alert("Other", resolved=True)
            for _ in range(3):
                await office.wait(110)
                await office.alert("Stuck")
            assert [row.status for row in await office.incidents()] == [Status.RESOLVED] * 2

    virtual.run(main())


def test_two_that_a_person_merged_are_one_from_then_on() -> None:
    """What comes to either comes to the one that goes on; it is over when both are well."""

    async def main() -> None:
        async with working() as office:
            await office.alert("Slow")
            await office.alert("Late", service="payments")
            one, two = await office.incidents()
            await office.people.incidents.merge(ANN, two.id, one.id)
            await office.wait(2)
            await office.alert("Worse", service="payments")
            kept, closed = await office.incidents()
            assert (closed.status, closed.merged_into) == (Status.CLOSED, one.id)
            assert (kept.status, kept.symptoms) == (Status.OPEN, 3)
            assert kept.services == ("orders", "payments")

            await office.alert("Slow", resolved=True)
            await office.alert("Late", service="payments", resolved=True)
            for _ in range(4):
                await office.wait(100)
                await office.alert("Worse", service="payments")
            assert (await office.incidents())[0].status is Status.OPEN
            await office.alert("Worse", service="payments", resolved=True)
            await office.wait(310)
            statuses = [row.status for row in await office.incidents()]
            assert statuses == [Status.RESOLVED, Status.CLOSED]

    virtual.run(main())


def test_what_is_merged_into_what_was_reopened_goes_on_there() -> None:
    """Its own episode was over when it was reopened: that goes on, with the other's trouble."""

    async def main() -> None:
        async with working() as office:
            await office.alert("Slow")
            [old] = await office.incidents()
            await office.people.incidents.resolve(ANN, old.id, ResolutionKind.DUPLICATE, "")
            await office.wait(2)
            await office.people.incidents.reopen(ANN, old.id, "users still complain")
            await office.alert("Late", service="payments")
            _, one, two = await office.incidents()
            await office.people.incidents.merge(ANN, two.id, one.id)
            await office.wait(2)
            await office.town.crash_brain()
            await office.alert("Worse", service="payments")
            _, kept, closed = await office.incidents()
            assert (closed.status, closed.merged_into) == (Status.CLOSED, one.id)
            assert (kept.status, kept.services) == (Status.OPEN, ("orders", "payments"))
            assert kept.symptoms == 3

            await office.alert("Late", service="payments", resolved=True)
            await office.alert("Worse", service="payments", resolved=True)
            await office.alert("Slow", resolved=True)
            await office.wait(310)
            assert [row.status for row in await office.incidents()][1:] == [
                Status.RESOLVED,
                Status.CLOSED,
            ]

    virtual.run(main())


def test_what_was_reopened_takes_up_what_comes_next() -> None:
    """It stays open although nothing fires, and a new symptom is its, not another incident's."""

    async def main() -> None:
        async with working() as office:
            await office.alert("Slow")
            await office.alert("Slow", resolved=True)
            await office.wait(310)
            [one] = await office.incidents()
            assert one.status is Status.RESOLVED
            await office.people.incidents.reopen(ANN, one.id, "users still complain")
            await office.wait(400)
            old, new = await office.incidents()
            assert (old, new.status, new.previous) == (one, Status.OPEN, one.id)

            await office.alert("Slow")
            old, new = await office.incidents()
            assert (old, new.status, new.symptoms) == (one, Status.OPEN, 1)
            assert new.episode != old.episode
            await office.alert("Slow", resolved=True)
            await office.wait(310)
            assert [row.status for row in await office.incidents()] == [Status.RESOLVED] * 2

    virtual.run(main())


def test_an_end_and_the_next_beginning_in_one_commit_are_two_incidents() -> None:
    """brain was away while one ended and the next began: it takes both in at once, and neither is
    mistaken for one that a person reopened."""

    async def main() -> None:
        async with working() as office:
            town = office.town
            await office.alert("Slow")
            await office.alert("Slow", resolved=True)
            for task in town._brain:
                task.cancel()
            await asyncio.gather(*town._brain, return_exceptions=True)
            await town.flows.close()
            await office.wait(400)
            await office.alert("Slow")
            town.start_brain()
            await office.wait(10)
            one, two = await office.incidents()
            assert (one.status, two.status) == (Status.RESOLVED, Status.OPEN)
            assert two.previous == one.id

    virtual.run(main())


def test_what_a_person_did_not_see_when_they_resolved_it_is_not_lost() -> None:
    """A symptom came in the moment between: the episode goes on, and the next symptom in it opens
    an incident that names the one that was resolved."""

    async def main() -> None:
        async with working() as office:
            await office.alert("Slow")
            await office.alert("Worse")
            [one] = await office.incidents()
            said = Resolution(kind=ResolutionKind.FIXED, by="ann")
            resolved = lifecycle.resolve(one, said, office.town.clock.now())
            unseen = Ruling(id=one.episode, symptoms=1, at=resolved.updated_at)
            told = journal.entry(
                resolved.updated_at, one.id, "x", "ann", set=history.changes(one, resolved)
            )
            await office.town.store.write(
                lambda tx: (tx.save(resolved), tx.set(unseen), tx.append(told))
            )
            await office.wait(3)
            await office.alert("Worst")
            _, two = await office.incidents()
            assert (two.status, two.previous) == (Status.OPEN, one.id)

    virtual.run(main())


def test_a_repair_can_be_replayed() -> None:
    """From the alert to the recovery: the incident and each of its decisions come out the same
    from the journal alone; and where the store was changed behind it, that is found."""

    async def main() -> None:
        async with working() as office:
            office.town.health("orders", "no")
            await office.wait(10)
            approvals = await office.town.store.read(
                lambda tx: queries.approvals(tx, office.town.clock.now())
            )
            await office.people.answer(ANN, approvals[0]["id"], True, "go on")
            await office.wait(30)
            [one] = await office.incidents()
            assert one.status is Status.MITIGATED
            [found] = await office.replayed()
            assert found["ok"], found
            assert [row["answer"] for row in found["decisions"]] == ["ask", "allow"]
            decided = await office.town.store.read(
                lambda tx: [e for e in tx.find(Entry) if e.kind == replay.DECIDED]
            )
            assert all("facts" in entry.body for entry in decided)

    virtual.run(main())
