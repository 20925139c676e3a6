# SPDX-License-Identifier: Apache-2.0
"""What becomes of the engine when documents go, or cannot be read any more."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

from opx.adapters.durable.inline import InlineWorkflows
from opx.app import documents
from opx.core.act.run import Run, RunStatus
from opx.core.base.time import SECOND
from opx.core.decide.case import Approval
from opx.core.decide.decision import Reason
from opx.engine.documents import Change, put, stored, withdraw
from opx.engine.ports import Command, Entry, StoredDocument, Where
from opx.testing import virtual
from opx.testing.town import Town

SHOP = Path(__file__).parent / "documents" / "shop.yaml"
KEPT = [stored(one, "ann", 0) for one in documents.check(SHOP.read_text(), SHOP.name, [])]


def play(script: Callable[[Town], Awaitable[None]], kept: list[StoredDocument]) -> Town:
    """A town that goes by the documents in its store, until ``script`` ends."""

    async def main() -> Town:
        town = Town(knowledge=documents.bind(kept), workflows=InlineWorkflows)
        await town.store.write(lambda tx: tx.set(*kept))
        await town.begin([])
        tasks = [asyncio.create_task(work) for work in (town.hands(), town.ticks())]
        await script(town)
        await town.end(*tasks)
        return town

    return virtual.run(main())


async def rows(town: Town, kind: type, *where: Where) -> list:
    return await town.store.read(lambda tx: tx.find(kind, *where))


def test_a_run_of_a_deleted_runbook_is_refused() -> None:
    """An approval for a plan whose runbook was deleted meanwhile lets nothing act."""
    found: list[Run] = []

    async def script(town: Town) -> None:
        await town.clock.sleep(5 * SECOND)
        town.health("orders", "no")
        await town.clock.sleep(10 * SECOND)
        [approval] = await rows(town, Approval)
        book = next(one for one in KEPT if one.kind == "Runbook")
        town.knowledge = documents.bind([one for one in KEPT if one is not book])
        now = town.clock.now()
        await town.store.write(lambda tx: withdraw(tx, book, "ann", now))
        await town.clock.sleep(2 * SECOND)
        command = Command(
            id="c", kind="approve", subject=approval.id, actor="ann", at=now,
            body={"plan": approval.plan},
        )  # fmt: skip
        await town.store.write(lambda tx: tx.save(command))
        await town.clock.sleep(5 * SECOND)
        found.extend(await rows(town, Run))

    town = play(script, KEPT)

    assert [run.status for run in found] == [RunStatus.REFUSED]
    assert Reason.RUNBOOK_CHANGED in found[0].reason
    assert town.action.effects == {}
    assert town.failures == []


def test_brain_starts_on_what_it_can_read_and_says_the_rest_once() -> None:
    """A document that cannot be read is journalled once for each content, over restarts too."""
    bad = [replace(one, text=one.text.replace("orders", "Orders")) for one in KEPT[:1]]
    said: list[list[str]] = []

    async def script(town: Town) -> None:
        skipped = Where("kind", "eq", "document.skipped")
        for _ in range(2):
            await town.clock.sleep(3 * SECOND)
            await town.crash_brain()
        await town.clock.sleep(3 * SECOND)
        said.append([entry.subject for entry in await rows(town, Entry, skipped)])
        other = [replace(bad[0], hash="other")]
        town.knowledge = documents.bind([*other, *KEPT[1:]])
        await town.store.write(lambda tx: put(tx, other[0], bad[0], Change.CHANGED))
        await town.clock.sleep(3 * SECOND)
        said.append([entry.body["hash"] for entry in await rows(town, Entry, skipped)])

    town = play(script, [*bad, *KEPT[1:]])

    assert said == [["Service/shop/orders"], [bad[0].hash, "other"]]
    assert set(town.knowledge.catalogue.services) == {("shop", "payments")}
    assert town.failures == []
