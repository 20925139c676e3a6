# SPDX-License-Identifier: Apache-2.0

"""What people changed after they granted or approved something: opx does not act on the old
word. Real people's verbs, real brain and hands, in virtual time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from opx.adapters.durable.inline import InlineWorkflows
from opx.app import documents
from opx.core.act.run import Run, RunStatus
from opx.core.base.time import HOUR, SECOND
from opx.core.decide.case import Autonomy, Grant
from opx.core.decide.decision import Decision, Reason
from opx.core.decide.roles import Role
from opx.core.incident.incident import Incident
from opx.engine import queries
from opx.engine.access import Access, Principal
from opx.engine.beats.case import Knowledge
from opx.engine.documents import Checked
from opx.engine.people import Ask, People
from opx.engine.ports import ReadTx, StoredDocument
from opx.testing import virtual
from opx.testing.town import Town

SHOP = (Path(__file__).parent / "documents" / "shop.yaml").read_text()
PARTS = SHOP.split("---\n")
SERVICE = next(part for part in PARTS if "name: orders" in part)
RUNBOOK = next(part for part in PARTS if "kind: Runbook" in part)
TARGET, OTHER = "http://127.0.0.1:2#orders", "http://127.0.0.1:2#other"
ADMIN = Ask(by=Principal("ada", frozenset({Role.ADMIN})))
AUTHOR = Ask(by=Principal("bea", frozenset({Role.AUTHOR})))


@dataclass
class Office:
    """A town and the people who run it."""

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

    async def apply(self, text: str, ask: Ask = AUTHOR) -> None:
        """Apply it, and let ``brain`` learn of it."""
        await self.people.apply_documents(ask, text, "shop.yaml")
        stored = await self.town.store.read(queries.stored_documents)
        self.town.knowledge = documents.bind(stored)
        await self.wait(3)

    async def grant(self) -> None:
        """Autonomy for the restart of orders, on probation for an hour."""
        now = self.town.clock.now()
        wanted = Grant(
            id="restart-process|shop|orders",
            autonomy=Autonomy.AUTO,
            by="",
            at=now,
            probation=True,
            expires_at=now + HOUR,
        )
        await self.people.grant(ADMIN, wanted)

    async def wait(self, seconds: int) -> None:
        await self.town.clock.sleep(seconds * SECOND)

    async def fault(self) -> None:
        """The process of orders dies; opx has 20 s."""
        self.town.health("orders", "no")
        await self.wait(20)

    async def runs(self) -> list[tuple[RunStatus, tuple[Reason, ...]]]:
        """Each run and what was decided about it last."""
        store = self.town.store
        found = await store.read(lambda tx: tx.find(Run, order="created_at"))
        last = [await store.read(lambda tx, id=run.decision: tx.get(Decision, id)) for run in found]
        return [
            (run.status, decision.reasons)
            for run, decision in zip(found, last, strict=True)
            if decision is not None
        ]


@contextlib.asynccontextmanager
async def working() -> AsyncIterator[Office]:
    """An office whose town knows the shop and runs until the test is done with it."""
    office = Office()
    town = office.town
    await office.people.apply_documents(ADMIN, SHOP, "shop.yaml")
    town.knowledge = documents.bind(await town.store.read(queries.stored_documents))
    for service in town.knowledge.catalogue.services.values():
        town.health(service.name, "yes")
    await town.begin([])
    others = [asyncio.create_task(town.hands()), asyncio.create_task(town.ticks())]
    await office.wait(5)
    try:
        yield office
    finally:
        await town.end(*others)
    assert town.failures == []


def test_a_grant_does_not_cover_what_a_runbook_has_become() -> None:
    """Granted auto, opx restarts by itself; once an author has changed the runbook the next
    run asks; granted again, the runbook as it is now acts by itself."""

    async def main() -> None:
        async with working() as office:
            effects = office.town.action.effects
            await office.grant()
            await office.fault()
            assert [status for status, _ in await office.runs()] == [RunStatus.RECOVERED]

            await office.apply(RUNBOOK.replace("within: 10s", "within: 11s"))
            await office.fault()
            outdated = (Reason.GRANT_OUTDATED, Reason.GRANT_OUTDATED)
            assert (await office.runs())[1:] == [(RunStatus.WAITING, outdated)]
            assert effects[TARGET] == 1

            run = (await office.town.store.read(lambda tx: tx.find(Run, order="-created_at")))[0]
            await office.people.answer(ADMIN, run.id, approve=True, reason="")
            await office.wait(20)
            await office.grant()
            await office.fault()
            statuses = [status for status, _ in await office.runs()]
            assert statuses == [RunStatus.RECOVERED] * 3
            assert effects == {TARGET: 3}

    virtual.run(main())


def test_a_grant_does_not_cover_another_target() -> None:
    """Once an author has pointed the service at another program, opx asks before it acts."""

    async def main() -> None:
        async with working() as office:
            await office.grant()
            await office.apply(SERVICE.replace("#orders", "#other"))
            await office.fault()
            outdated = (Reason.GRANT_OUTDATED, Reason.GRANT_OUTDATED)
            assert await office.runs() == [(RunStatus.WAITING, outdated)]
            assert office.town.action.effects == {}

    virtual.run(main())


def test_an_approval_does_not_reach_the_old_target() -> None:
    """Approved after the service was pointed elsewhere, the run is refused, and neither the
    old program nor the new one is touched."""

    async def main() -> None:
        async with working() as office:
            await office.fault()
            ((status, reasons),) = await office.runs()
            assert (status, reasons) == (RunStatus.WAITING, (Reason.SUGGEST_ONLY,))
            run = (await office.town.store.read(lambda tx: tx.find(Run)))[0]

            await office.apply(SERVICE.replace("#orders", "#other"))
            await office.people.answer(ADMIN, run.id, approve=True, reason="")
            await office.wait(20)
            assert (await office.runs())[0] == (RunStatus.REFUSED, (Reason.TARGET_CHANGED,))
            assert office.town.action.effects == {}

    virtual.run(main())


def test_why_tells_of_the_runbooks_that_do_not_fit() -> None:
    """Where no runbook fits, every one is named with what does not hold; once a person has
    changed one and it still does not fit, that is told too, and nothing is told twice."""

    async def main() -> None:
        async with working() as office:
            hung, owner = "insight.type == 'process_hung'", "int(service.owner) > 5"
            both = "insight.type in ['process_down', 'process_hung']"
            await office.apply(RUNBOOK.replace(both, hung))
            await office.fault()
            await office.wait(20)
            await office.apply(RUNBOOK.replace(both, owner))
            await office.wait(20)

            def told(tx: ReadTx) -> list[dict[str, Any]]:
                (incident,) = tx.find(Incident)
                return queries.decisions(tx, incident.id)

            first, second = await office.town.store.read(told)
            assert first["sentences"][-1] == (
                f'restart-process does not fit: "{hung}" does not hold.'
            )
            assert first["considered"][0]["conditions"][1]["held"] is True
            start = f"restart-process does not fit: '{owner}' could not be evaluated"
            assert second["sentences"][-1].startswith(start)
            notices = [str(notice.edge) for notice in office.town.receiver.got]
            assert notices == ["opened", "asks"]

    virtual.run(main())
