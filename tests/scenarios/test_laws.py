# SPDX-License-Identifier: Apache-2.0
"""Laws of the whole engine, over random times of faults, crashes and halts."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from opx.adapters.durable.inline import InlineWorkflows
from opx.app import documents
from opx.core.act.run import OrderRecord, Run, RunStatus
from opx.core.base.time import SECOND
from opx.core.decide.case import Automation
from opx.core.incident.incident import Incident
from opx.engine.documents import stored as kept
from opx.engine.hands import Hands
from opx.engine.ports import Entry
from opx.testing import virtual
from opx.testing.town import Town
from opx.testing.world import PlainSigner

SHOP = Path(__file__).parent / "documents" / "shop.yaml"
TARGET = "http://127.0.0.1:2#orders"
GRANT = {
    "runbook": "restart-process",
    "environment": "shop",
    "service": "orders",
    "autonomy": "auto",
    "probation": True,
}
few = settings(max_examples=12)
moments = st.integers(0, 4_000)


def knowledge() -> documents.Knowledge:
    stored = [kept(one, "test", 0) for one in documents.check(SHOP.read_text(), SHOP.name, [])]
    return documents.bind(stored)


class Died(BaseException):
    """What a failpoint raises: nothing in the engine may catch it."""


@dataclass
class Mortal:
    """A ``hands`` that dies at the visits to its failpoints listed in ``deaths``, and is
    started again by its watcher."""

    town: Town
    deaths: list[int]
    visits: int = 0
    lives: int = 0
    names: list[str] = field(default_factory=list)

    def failpoint(self, name: str) -> None:
        self.visits += 1
        if self.visits in self.deaths:
            self.names.append(name)
            raise Died

    async def serve(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            self.lives += 1
            hands = Hands(
                store=self.town.store,
                clock=self.town.clock,
                verifier=PlainSigner(),
                actions={self.town.action.spec.name: self.town.action},
                name=f"hands/{self.lives}",
                failpoint=self.failpoint,
            )
            with contextlib.suppress(Died):
                await hands.run(stop)
            await self.town.clock.sleep(100)


def play(
    script: Callable[[Town], Awaitable[None]], deaths: list[int], until: int
) -> tuple[Town, Mortal]:
    """A town with one grant; ``script`` happens in it until ``until`` ms have passed."""

    async def main() -> tuple[Town, Mortal]:
        town = Town(knowledge=knowledge(), workflows=InlineWorkflows)
        mortal = Mortal(town, deaths)
        await town.begin([GRANT])
        stop = asyncio.Event()
        tasks = [
            asyncio.create_task(mortal.serve(stop)),
            asyncio.create_task(town.ticks()),
            asyncio.ensure_future(script(town)),
        ]
        await town.clock.sleep(until)
        stop.set()
        await town.end(*tasks)
        return town, mortal

    return virtual.run(main())


def read(town: Town, kind: type) -> list:
    async def rows() -> list:
        return await town.store.read(lambda tx: tx.find(kind))

    return virtual.run(rows())


@few
@given(crashes=st.lists(moments, max_size=4), deaths=st.lists(st.integers(1, 4), max_size=3))
def test_one_fault_is_repaired_once_however_its_processes_die(
    crashes: list[int], deaths: list[int]
) -> None:
    """brain dying at any moment and hands at any failpoint: one effect, one recovery."""

    async def script(town: Town) -> None:
        await town.clock.sleep(5 * SECOND)
        town.health("orders", "no")
        begun = town.clock.now()
        for moment in sorted(crashes):
            await town.clock.sleep(max(0, begun + moment - town.clock.now()))
            await town.crash_brain()

    town, mortal = play(script, deaths, 40 * SECOND)

    assert town.action.effects == {TARGET: 1}, mortal.names
    assert [run.status for run in read(town, Run)] == [RunStatus.RECOVERED]
    assert len(read(town, Incident)) == 1
    assert town.failures == []


@few
@given(halt_after=moments, resume_after=st.integers(1, 12_000), crash=st.booleans())
def test_no_step_starts_after_a_halt_is_acknowledged(
    halt_after: int, resume_after: int, crash: bool
) -> None:
    """Between a halt's commit and its resume no order is claimed; after it the fault is mended."""
    span: list[int] = []

    async def switch(town: Town, to: Automation) -> None:
        await town.switch("all", to)
        span.append(town.clock.now())

    async def script(town: Town) -> None:
        await town.clock.sleep(5 * SECOND)
        town.health("orders", "no")
        await town.clock.sleep(halt_after)
        await switch(town, Automation.HALTED)
        if crash:
            await town.crash_brain()
        await town.clock.sleep(resume_after)
        await switch(town, Automation.RUNNING)

    town, _ = play(script, [], 50 * SECOND)

    halted, resumed = span
    claimed = [record.claimed_at for record in read(town, OrderRecord) if record.claimed_at]
    assert all(not halted < at < resumed for at in claimed)
    assert town.action.effects == {TARGET: 1}


def test_what_a_decision_and_a_verdict_rest_on_stands_in_the_journal() -> None:
    """The answer to the fresh probe with the decision; each of the three behind the verdict."""

    async def script(town: Town) -> None:
        await town.clock.sleep(5 * SECOND)
        town.health("orders", "no")

    town, _ = play(script, [], 20 * SECOND)

    said: dict[str, list[dict]] = {}
    for entry in read(town, Entry):
        said.setdefault(entry.kind, []).append(entry.body)
    [decided] = said["run.decided"]
    fresh = decided["answers"]["health"]
    assert (fresh["ok"], fresh["detail"]) == (False, "connection refused")
    assert fresh["latency_ms"] == 1.0
    assert [one["answer"]["ok"] for one in said["run.probed"]] == [True, True, True]
    [verified] = said["run.verified"]
    assert verified["verdict"]["yes"] == 3


def test_the_same_script_takes_the_same_steps() -> None:
    """Two runs of one script leave the same journal, entry for entry."""

    async def script(town: Town) -> None:
        await town.clock.sleep(5 * SECOND)
        town.health("orders", "no")

    first, second = (read(play(script, [2], 60 * SECOND)[0], Entry) for _ in range(2))

    assert first == second
    assert len(first) > 10
