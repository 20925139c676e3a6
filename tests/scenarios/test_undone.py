# SPDX-License-Identifier: Apache-2.0

"""What did not help is taken back, whatever comes in between: then it is counted, once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from opx.adapters.durable.inline import InlineWorkflows
from opx.app import documents
from opx.core.act.run import OrderRecord, Run, RunStatus
from opx.core.base.time import SECOND
from opx.core.decide.case import Automation, Breaker, Lease, TrackRecord
from opx.engine.documents import stored as kept
from opx.engine.hands import Hands
from opx.engine.journal import replay
from opx.engine.ports import EffectKnown, Entry, Say, silent
from opx.errors import Refused, Unavailable
from opx.testing import virtual
from opx.testing.town import Town
from opx.testing.world import FakeAction, PlainSigner

SHOP = (Path(__file__).parent / "documents" / "shop.yaml").read_text()
BACK = SHOP.replace(
    "  steps: [{id: restart, uses: process.restart}]",
    """\
  steps:
    - {id: back, uses: release.rollback, with: {root: /srv/orders}, undo: forward}
    - {id: restart, uses: process.restart}
  rollback:
    - {id: forward, uses: release.rollback, with: {root: /srv/orders, to: "@replaced"}}""",
)
GRANT = {
    "runbook": "restart-process",
    "environment": "shop",
    "service": "orders",
    "autonomy": "auto",
    "probation": True,
}
ORDERS = "http://127.0.0.1:2#orders"


@dataclass(slots=True, kw_only=True)
class Releases(FakeAction):
    """``release.rollback`` of one service, whose releases are numbers. ``stuck``: nothing can
    be put back."""

    current: int = 4
    replaced: int = 0
    stuck: bool = False

    async def observe(self, target: str, inputs: dict[str, str]) -> dict[str, str]:
        return {"release": str(self.current), "aim": str(self._aim(inputs))}

    def happened(self, before: dict[str, str], now: dict[str, str]) -> EffectKnown:
        if now["release"] == before["release"]:
            return EffectKnown.NO
        return EffectKnown.YES if now["release"] == before["aim"] else EffectKnown.UNKNOWN

    async def apply(self, target: str, inputs: dict[str, str], key: str, say: Say = silent) -> str:
        aim = self._aim(inputs)
        if self.stuck and "to" in inputs:
            raise Unavailable("the disk is read-only")
        if aim == self.current:
            raise Refused(f"{aim} is current already")
        await asyncio.sleep(self.slow.get(target, 0) / SECOND)
        self.effects[target] += 1
        self.replaced, self.current = self.current, aim
        return f"v{self.replaced} -> v{aim}"

    def _aim(self, inputs: dict[str, str]) -> int:
        return self.replaced if inputs.get("to") == "@replaced" else self.current - 1


class Died(BaseException):
    """What a failpoint raises: nothing in the engine may catch it."""


@dataclass
class Street:
    """orders is down since its release 4, and no other release helps."""

    town: Town
    releases: Releases
    deaths: list[int]
    visits: int = 0

    def failpoint(self, name: str) -> None:
        self.visits += 1
        if self.visits in self.deaths:
            raise Died(name)

    async def hands(self, stop: asyncio.Event) -> None:
        """hands, started again by its watcher whenever it dies."""
        while not stop.is_set():
            town = self.town
            actions = {town.action.spec.name: town.action, "release.rollback": self.releases}
            hands = Hands(
                store=town.store,
                clock=town.clock,
                verifier=PlainSigner(),
                actions=actions,
                name="hands",
                failpoint=self.failpoint,
            )
            with contextlib.suppress(Died):
                await hands.run(stop)
            await town.clock.sleep(100)

    async def find(self, kind: type) -> list:
        return await self.town.store.read(lambda tx: tx.find(kind))

    async def until(self, status: RunStatus) -> Run:
        """The run, as soon as it is so."""
        while True:
            for run in await self.find(Run):
                if run.status is status:
                    return run
            await self.town.clock.sleep(SECOND // 10)


def play(
    script: Callable[[Street], Awaitable[None]], span: int, deaths: list[int] | None = None
) -> Street:
    """``script`` happens from the fault on, for ``span`` ms."""
    stored = [kept(one, "test", 0) for one in documents.check(BACK, "shop.yaml", [])]

    async def main() -> Street:
        town = Town(knowledge=documents.bind(stored), workflows=InlineWorkflows)
        releases = Releases(spec=town.others["release.rollback"].spec)
        street = Street(town, releases, deaths or [])
        await town.begin([GRANT])
        stop = asyncio.Event()
        tasks = [asyncio.create_task(street.hands(stop)), asyncio.create_task(town.ticks())]
        town.stubborn.add("orders")
        await town.clock.sleep(5 * SECOND)
        town.health("orders", "no")
        tasks.append(asyncio.ensure_future(script(street)))
        await town.clock.sleep(span)
        stop.set()
        await town.end(*tasks)
        assert town.failures == []
        return street

    return virtual.run(main())


def rows(street: Street, kind: type) -> list:
    return virtual.run(street.find(kind))


async def nothing(street: Street) -> None:
    return None


def test_three_tries_leave_what_was_there_and_call_a_person() -> None:
    """Each is undone before it ends; each verdict is told once and counted once; and every
    decision comes out the same from the journal."""
    street = play(nothing, 300 * SECOND)

    assert (street.releases.current, street.releases.effects[ORDERS]) == (4, 6)
    runs, entries = rows(street, Run), rows(street, Entry)
    assert [(run.status, run.reason) for run in runs] == [
        (RunStatus.NO_EFFECT, "it did not help and is undone")
    ] * 3
    verified = [one.body["run"] for one in entries if one.kind == "run.verified"]
    assert sorted(verified) == sorted(run.id for run in runs)
    [record] = rows(street, TrackRecord)
    assert (record.no_effect, record.ineffective_in_a_row, record.inconclusive) == (3, 3, 0)
    undone = max(one.claimed_at for one in rows(street, OrderRecord) if one.order.step == "forward")
    assert record.last_acted_at == undone
    [breaker] = rows(street, Breaker)
    assert breaker.opened_at is not None
    assert [str(one.edge) for one in street.town.receiver.got] == ["opened", "breaker"]
    decided = [one for one in entries if one.kind == replay.DECIDED]
    assert [one.body["undo"] for one in decided].count(True) == 3
    for one in decided:
        about = [entry for entry in entries if entry.subject == one.subject]
        assert replay.redecide(one, about, street.town.knowledge).same


def test_it_keeps_its_target_to_itself_until_it_is_undone() -> None:
    """From the verdict on the lease goes on, and it is free after the end."""
    seen = []

    async def script(street: Street) -> None:
        street.releases.slow[ORDERS] = 2 * SECOND
        run = await street.until(RunStatus.ROLLING_BACK)
        [lease] = await street.find(Lease)
        seen.append(lease.run == run.id and lease.expires_at > street.town.clock.now())
        ended = await street.until(RunStatus.NO_EFFECT)
        [lease] = await street.find(Lease)
        seen.append((lease.run, street.releases.current, ended.id == run.id))

    play(script, 60 * SECOND)

    assert seen == [True, ("", 4, True)]


@settings(max_examples=6)
@given(
    crashes=st.lists(st.integers(0, 40_000), max_size=3),
    deaths=st.lists(st.integers(1, 12), max_size=3),
)
def test_however_its_processes_die_it_ends_where_it_began(
    crashes: list[int], deaths: list[int]
) -> None:
    """brain dying at any moment and hands at any failpoint: nothing is undone twice, nor left."""

    async def script(street: Street) -> None:
        begun = street.town.clock.now()
        for moment in sorted(crashes):
            await street.town.clock.sleep(max(0, begun + moment - street.town.clock.now()))
            await street.town.crash_brain()

    street = play(script, 600 * SECOND, deaths)

    assert (street.releases.current, street.releases.effects[ORDERS]) == (4, 6)
    assert [run.status for run in rows(street, Run)] == [RunStatus.NO_EFFECT] * 3
    assert [record.no_effect for record in rows(street, TrackRecord)] == [3]
    assert [entry.kind for entry in rows(street, Entry)].count("run.verified") == 3


def test_a_halt_before_it_is_undone_calls_a_person() -> None:
    """Nothing is done after it: the run has not helped, is not undone, and says both. Nothing
    else is tried."""

    async def script(street: Street) -> None:
        await street.until(RunStatus.VERIFYING)
        await street.town.switch("all", Automation.HALTED)

    street = play(script, 300 * SECOND)

    assert (street.releases.current, street.releases.effects[ORDERS]) == (3, 1)
    [run] = rows(street, Run)
    assert run.status is RunStatus.NO_EFFECT
    assert run.reason == "it did not help, and undoing it came to no end: halted"
    [record] = rows(street, TrackRecord)
    assert (record.no_effect, record.inconclusive) == (1, 0)
    told = [one.title for one in street.town.receiver.got]
    assert told[1:] == ["orders in shop needs a person: restart-process no effect"]


def test_what_cannot_be_undone_is_not_tried_upon_again() -> None:
    """The undo fails: a person is called, and no second try begins on what is half done."""

    async def script(street: Street) -> None:
        street.releases.stuck = True

    street = play(script, 300 * SECOND)

    assert street.releases.current == 3
    [run] = rows(street, Run)
    assert run.status is RunStatus.NO_EFFECT
    assert run.reason == "it did not help, and undoing it came to no end: undoing back failed"
    told = [one.title for one in street.town.receiver.got]
    assert told[1:] == ["orders in shop needs a person: restart-process no effect"]
