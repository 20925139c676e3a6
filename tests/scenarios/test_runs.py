# SPDX-License-Identifier: Apache-2.0

"""What may come in between a decision and its end: hands that are away, guards that change
their mind in mid-run, an incident that is over, a question that is out of date."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opx.adapters.durable.inline import InlineWorkflows
from opx.app import documents
from opx.core.act.run import OrderRecord, OrderStatus, Run, RunStatus
from opx.core.base.time import MINUTE, SECOND
from opx.core.correlate.episode import Episode, Group
from opx.core.decide.case import Approval, Automation, Lease, TrackRecord
from opx.core.decide.decision import Decision, Reason
from opx.core.decide.runbooks import Proposal
from opx.core.incident.incident import Incident, Status
from opx.core.notify.notice import Edge
from opx.engine import documents as kept
from opx.engine import journal, queries
from opx.engine.beats import case as cases
from opx.engine.beats import respond
from opx.engine.beats.case import Knowledge
from opx.engine.beats.parts import Parts
from opx.engine.beats.runs import Runs
from opx.engine.ports import Command, Entry, StartRequest, StoredDocument, WriteTx
from opx.errors import Conflict
from opx.testing import happenings, virtual
from opx.testing.memory import MemoryStore
from opx.testing.town import Town
from opx.testing.world import FakeProber, PlainSigner

T = TypeVar("T")

SHOP = (Path(__file__).parent / "documents" / "shop.yaml").read_text()
TARGET = "http://127.0.0.1:2#orders"
OTHER_NAME = "http://localhost:2/#group:orders"
HEALTH = "http://127.0.0.1:1/orders"
READY = "http://127.0.0.1:1/ready"
GRANT = {
    "runbook": "restart-process",
    "environment": "shop",
    "autonomy": "auto",
    "probation": True,
}
TWO_STEPS = SHOP.replace(
    "  steps: [{id: restart, uses: process.restart}]",
    f"""\
  preconditions: [{{id: ready, probe: {{http: "{READY}"}}, expect: ok}}]
  steps:
    - {{id: first, uses: process.restart, timeout: 30s}}
    - {{id: second, uses: process.restart, timeout: 30s}}""",
)


def bound(text: str) -> Knowledge:
    return documents.bind(
        [kept.stored(one, "a person", 0) for one in documents.check(text, "shop.yaml", [])]
    )


def applied(tx: WriteTx, document: StoredDocument) -> None:
    tx.set(document)
    tx.append(journal.entry(document.applied_at, document.id, "document.applied", "ada"))


@dataclass
class Street:
    """A town in which opx may act on orders; ``hands`` comes and goes."""

    town: Town
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def wait(self, seconds: float) -> None:
        await self.town.clock.sleep(round(seconds * SECOND))

    def hands(self) -> asyncio.Task[None]:
        self.tasks.append(asyncio.create_task(self.town.hands()))
        return self.tasks[-1]

    async def find(self, kind: type) -> list:
        return await self.town.store.read(lambda tx: tx.find(kind))

    async def runs(self) -> list[Run]:
        return sorted(await self.find(Run), key=lambda run: run.created_at)

    async def acted(self, run: Run) -> list[str]:
        """The runs that count as having acted, where ``run`` is decided on."""
        known, now = self.town.knowledge, self.town.clock.now()
        case = await self.town.store.read(lambda tx: cases.gather(tx, run, known, frozenset(), now))
        return [one.run for one in case.acted]

    async def told(self) -> list[str]:
        """The titles of what was delivered."""
        return [notice.title for notice in self.town.receiver.got]


@contextlib.asynccontextmanager
async def street(
    text: str = SHOP, acting: Sequence[str] = ("orders",), hands: bool = True
) -> AsyncIterator[Street]:
    """A street on which all is well for five seconds, and opx may act on ``acting``."""
    town = Town(knowledge=bound(text), workflows=InlineWorkflows)
    place = Street(town)
    await town.begin([{**GRANT, "service": name} for name in acting])
    place.tasks.append(asyncio.create_task(town.ticks()))
    if hands:
        place.hands()
    await place.wait(5)
    try:
        yield place
    finally:
        await town.end(*place.tasks)
        assert town.failures == []


def test_hands_that_come_back_late_cost_no_repair() -> None:
    """Down for 70 s, hands misses two orders: both are EXPIRED, people are told once, and the
    third is carried out; the run has recovered, and nothing counts against it."""

    async def main() -> None:
        async with street(hands=False) as place:
            place.town.health("orders", "no")
            await place.wait(72)
            assert place.town.action.effects == {}
            place.hands()
            await place.wait(10)
            orders = sorted(await place.find(OrderRecord), key=lambda o: o.order.issued_at)
            runs = await place.runs()
            records = await place.find(TrackRecord)
            told = await place.told()
        assert [order.status for order in orders] == [
            OrderStatus.EXPIRED,
            OrderStatus.EXPIRED,
            OrderStatus.DONE,
        ]
        assert [order.claimed_at for order in orders[:2]] == [None, None]
        assert len({order.order.decision for order in orders}) == 3
        assert [run.status for run in runs] == [RunStatus.RECOVERED]
        assert place.town.action.effects == {TARGET: 1}
        assert [(one.recovered, one.no_effect, one.inconclusive) for one in records] == [(1, 0, 0)]
        assert told[1:] == [
            "orders in shop waits: opx's hands do not answer",
            "orders in shop recovered by restart-process",
        ]

    virtual.run(main())


def test_while_hands_is_away_for_long_it_is_given_orders_ever_more_rarely() -> None:
    """In an hour 15 of them instead of 120, for which the run keeps its target; once hands is
    back it is repaired within five minutes and a half."""

    async def main() -> None:
        async with street(hands=False) as place:
            place.town.health("orders", "no")
            for _ in range(60):
                await place.wait(60)
                (lease,), (run,) = await place.find(Lease), await place.runs()
                assert lease.run == run.id
                assert lease.expires_at > place.town.clock.now()
            orders, decisions = await place.find(OrderRecord), await place.find(Decision)
            assert (len(orders), len(decisions)) == (15, 15)
            place.hands()
            await place.wait(340)
            runs = await place.runs()
        assert [run.status for run in runs] == [RunStatus.RECOVERED]
        assert place.town.action.effects == {TARGET: 1}

    virtual.run(main())


def test_what_got_well_while_hands_was_away_is_nobodys_merit() -> None:
    """The guards are asked again before another order: the symptom is gone, so the run that
    did nothing is refused, and no recovery is counted."""

    async def main() -> None:
        async with street(hands=False) as place:
            place.town.health("orders", "no")
            await place.wait(20)
            place.town.health("orders", "yes")
            await place.wait(40)
            runs, records = await place.runs(), await place.find(TrackRecord)
        assert [(run.status, run.reason) for run in runs] == [
            (RunStatus.REFUSED, Reason.SYMPTOM_GONE)
        ]
        assert records == []
        assert place.town.action.effects == {}

    virtual.run(main())


few = settings(max_examples=12)


@few
@given(
    gone=st.lists(st.tuples(st.integers(0, 40_000), st.integers(1, 70_000)), max_size=3),
    crash=st.integers(0, 60_000),
)
def test_one_fault_is_repaired_once_however_hands_comes_and_goes(
    gone: list[tuple[int, int]], crash: int
) -> None:
    """hands stopped and started at any moments, brain dying in between: one run, one effect,
    and no order is begun twice."""

    async def absences(place: Street, serving: asyncio.Task[None]) -> None:
        for after, span in gone:
            await place.wait(after / SECOND)
            serving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await serving
            await place.wait(span / SECOND)
            serving = place.hands()

    async def crashes(place: Street) -> None:
        await place.wait(crash / SECOND)
        await place.town.crash_brain()

    async def main() -> None:
        async with street(hands=False) as place:
            coming = asyncio.create_task(absences(place, place.hands()))
            dying = asyncio.create_task(crashes(place))
            await place.wait(4)
            place.town.health("orders", "no")
            await asyncio.gather(coming, dying)
            await place.wait(50)
            runs = await place.runs()
        assert place.town.action.effects == {TARGET: 1}
        assert [run.status for run in runs] == [RunStatus.RECOVERED]

    virtual.run(main())


def well_after_two(place: Street, meanwhile: Callable[[], None]) -> None:
    """The second effect heals orders; ``meanwhile`` happens at the first."""

    def then(target: str) -> None:
        if place.town.action.effects[TARGET] == 1:
            meanwhile()
        else:
            place.town.health("orders", "yes")

    place.town.action.then = then


def test_a_guard_that_says_wait_between_two_steps_is_waited_for() -> None:
    """A precondition that is unknown after the first step, and holds again 20 s later: the
    second step is done then, by the same run."""

    async def main() -> None:
        async with street(TWO_STEPS) as place:
            prober = place.town.prober
            prober.say(READY, True)
            well_after_two(place, lambda: prober.say(READY, None))
            place.town.health("orders", "no")
            await place.wait(15)
            (run,) = await place.runs()
            assert (run.status, place.town.action.effects) == (RunStatus.ACTING, {TARGET: 1})
            leases = await place.find(Lease)
            assert run.due_at is not None
            assert [(lease.run, lease.expires_at > run.due_at) for lease in leases] == [
                (run.id, True)
            ]
            prober.say(READY, True)
            await place.wait(25)
            runs = await place.runs()
        assert [one.status for one in runs] == [RunStatus.RECOVERED]
        assert place.town.action.effects == {TARGET: 2}

    virtual.run(main())


def test_a_run_that_has_begun_does_not_wait_for_ever_and_counts() -> None:
    """Two steps have 140 s from when the first began. When the precondition has not come back
    by then the run ends INCONCLUSIVE, is counted, and a person is called."""

    async def main() -> None:
        async with street(TWO_STEPS) as place:
            prober = place.town.prober
            prober.say(READY, True)
            well_after_two(place, lambda: prober.say(READY, None))
            place.town.health("orders", "no")
            await place.wait(300)
            (run,) = await place.runs()
            (record,) = await place.find(TrackRecord)
            told = await place.told()
        assert run.status is RunStatus.INCONCLUSIVE
        assert run.reason == Reason.PRECONDITION_UNKNOWN
        assert run.ended_at is not None
        assert run.ended_at - run.created_at <= 140 * SECOND
        assert (record.inconclusive, record.no_effect) == (1, 0)
        assert told[-1] == "orders in shop needs a person: restart-process inconclusive"

    virtual.run(main())


def test_a_halt_between_two_steps_ends_what_has_begun_as_inconclusive() -> None:
    """No step starts after it, and what the first one came to is counted as not known."""

    async def main() -> None:
        async with street(TWO_STEPS) as place:
            place.town.prober.say(READY, True)
            place.town.action.slow[TARGET] = 5 * SECOND
            well_after_two(place, lambda: None)
            place.town.health("orders", "no")
            await place.wait(4)
            await place.town.switch("all", Automation.HALTED)
            await place.wait(20)
            (run,) = await place.runs()
            (record,) = await place.find(TrackRecord)
        assert (run.status, run.reason) == (RunStatus.INCONCLUSIVE, Reason.HALTED)
        assert record.inconclusive == 1
        assert place.town.action.effects == {TARGET: 1}

    virtual.run(main())


def test_a_runbook_changed_while_a_step_is_under_way() -> None:
    """The step comes to its end, nothing follows it, and the run is counted INCONCLUSIVE."""

    async def main() -> None:
        async with street(TWO_STEPS) as place:
            place.town.prober.say(READY, True)
            place.town.action.slow[TARGET] = 20 * SECOND
            place.town.health("orders", "no")
            await place.wait(4)
            other = TWO_STEPS.replace("Bring it back", "Bring it back, differently")
            (changed,) = [
                kept.stored(one, "ada", 1)
                for one in documents.check(other, "shop.yaml", [])
                if one.document.kind == "Runbook"
            ]
            place.town.knowledge = bound(other)
            await place.town.store.write(lambda tx: applied(tx, changed))
            await place.wait(5)
            (run,) = await place.runs()
            assert run.status is RunStatus.ACTING
            await place.wait(20)
            runs, orders = await place.runs(), await place.find(OrderRecord)
        assert [order.status for order in orders] == [OrderStatus.DONE]
        assert (runs[0].status, runs[0].reason) == (
            RunStatus.INCONCLUSIVE,
            "its runbook was changed since it was decided",
        )
        assert (runs[0].ended_at or 0) >= (orders[0].ended_at or 0)

    virtual.run(main())


def test_a_lease_lasts_as_long_as_the_step_it_was_taken_for() -> None:
    """A step of twenty minutes keeps its target for itself to its end, and its run recovers."""
    slow = SHOP.replace("uses: process.restart}", "uses: process.restart, timeout: 30m}")

    async def main() -> None:
        async with street(slow) as place:
            place.town.action.slow[TARGET] = 20 * MINUTE
            place.town.health("orders", "no")
            for _ in range(19):
                await place.wait(60)
                (lease,) = await place.find(Lease)
                assert lease.run
                assert lease.expires_at > place.town.clock.now()
            await place.wait(120)
            runs = await place.runs()
            (lease,) = await place.find(Lease)
        assert [run.status for run in runs] == [RunStatus.RECOVERED]
        assert (lease.id, lease.run) == ("loopback:2#orders", "")

    virtual.run(main())


def test_two_names_of_one_target_are_one_lease() -> None:
    """payments names the process of orders in another way: its run waits for the lease."""
    same = SHOP.replace("http://127.0.0.1:2#payments", OTHER_NAME)

    async def main() -> None:
        async with street(same, acting=("orders", "payments")) as place:
            town = place.town
            town.action.slow = {TARGET: 20 * SECOND, OTHER_NAME: 20 * SECOND}
            town.health("orders", "no")
            town.health("payments", "no")
            await place.wait(15)
            decided = await place.find(Decision)
        assert Reason.LEASE_HELD in {r for one in decided for r in one.reasons}

    virtual.run(main())


def asked_and_resolved() -> tuple[Street, list[Run], list, list[Incident]]:
    async def main() -> tuple[Street, list[Run], list, list[Incident]]:
        async with street(acting=()) as place:
            place.town.health("orders", "no")
            await place.wait(10)
            (run,) = await place.runs()
            assert run.status is RunStatus.WAITING
            place.town.health("orders", "yes")
            await place.wait(5 * 60 + 10)
            now = place.town.clock.now()
            listed = await place.town.store.read(lambda tx: queries.approvals(tx, now))
            (approval,) = await place.find(Approval)
            command = Command(
                id="late",
                kind="approve",
                subject=run.id,
                actor="ada",
                at=now,
                body={"plan": approval.plan},
            )
            await place.town.store.write(lambda tx: tx.save(command))
            await place.wait(2)
            return place, await place.runs(), listed, await place.find(Incident)

    return virtual.run(main())


def test_a_run_that_never_acted_spends_no_budget() -> None:
    """Its target could not be seen, so nothing was begun: the one run that may act within the
    hour is still to come. An order that may yet be begun counts."""
    once = SHOP.replace("cooldown: 5s,", "cooldown: 5s, serviceRunsPerHour: 1,")

    async def main() -> None:
        async with street(once) as place:
            place.town.action.hidden.add(TARGET)
            place.town.health("orders", "no")
            await place.wait(10)
            (run,) = await place.runs()
            before = await place.acted(run)
            await place.wait(40)
            after = await place.acted(run)
            place.town.action.hidden.clear()
            labels = {"alertname": "Odd", "environment": "shop", "service": "orders"}
            await happenings.happen(place.town, {"alerts": [{"labels": labels}]})
            await place.wait(20)
            first, second = await place.runs()
        assert (before, after) == ([run.id], [])
        assert first.status is RunStatus.REFUSED
        assert first.reason.endswith("cannot be observed: http://127.0.0.1:2#orders cannot be seen")
        assert second.status is RunStatus.RECOVERED

    virtual.run(main())


def test_an_incident_that_is_over_takes_its_question_along() -> None:
    """The run that waited for an approval ends when its incident is resolved; nobody is asked
    or paged any more, and an answer that comes late is refused with the reason."""
    place, runs, listed, incidents = asked_and_resolved()

    assert [incident.status for incident in incidents] == [Status.RESOLVED]
    assert [(run.status, run.reason) for run in runs] == [(RunStatus.REFUSED, Reason.INCIDENT_OVER)]
    assert listed == []
    (late,) = virtual.run(place.find(Command))
    assert late.error == "refused: its run has ended: refused, incident over"
    assert [notice.edge for notice in place.town.receiver.got] == [
        Edge.OPENED,
        Edge.ASKS,
        Edge.RESOLVED,
    ]
    ended = [entry for entry in virtual.run(place.find(Entry)) if entry.kind == "run.ended"]
    assert [entry.body["reason"] for entry in ended] == [Reason.INCIDENT_OVER]


def test_a_run_for_another_kind_of_trouble_ends_and_says_so() -> None:
    """It is still the same service, whose file turns out to be changed: the run that waits for a
    yes is not for that, and nobody is told that the trouble comes from elsewhere."""

    async def main() -> None:
        async with street(acting=()) as place:
            place.town.health("orders", "no")
            await place.wait(10)
            of = {"environment": "shop", "service": "orders"}
            drift = {"id": "d", "type": "opx.file.drifted", **of, "data": {"path": "/etc/a"}}
            alert = {"labels": {"alertname": "Odd", **of}}
            await happenings.happen(place.town, {"events": [drift], "alerts": [alert]})
            await place.wait(10)
            (run,) = await place.runs()
        assert (run.status, run.reason) == (RunStatus.REFUSED, Reason.EXPLANATION_CHANGED)

    virtual.run(main())


def test_a_yes_to_another_plan_is_refused() -> None:
    """What was read is what is approved: a yes that names another plan, or none, does nothing;
    a no needs no plan."""

    async def main() -> tuple[list[Command], list[Run]]:
        async with street(acting=()) as place:
            place.town.health("orders", "no")
            await place.wait(10)
            (run,) = await place.runs()
            kinds = [("approve", {"plan": "another"}), ("approve", {}), ("reject", {})]
            for number, (kind, body) in enumerate(kinds):
                command = Command(
                    id=f"c{number}",
                    kind=kind,
                    subject=run.id,
                    actor="ada",
                    at=place.town.clock.now(),
                    body=body,
                )
                await place.town.store.write(lambda tx, row=command: tx.save(row))
                await place.wait(2)
            assert place.town.action.effects == {}
            return await place.find(Command), await place.runs()

    commands, runs = virtual.run(main())
    refused = "refused: what would be done is not what was approved: read it again"
    assert [command.error for command in commands] == [refused, refused, ""]
    assert [run.reason for run in runs] == [Reason.REJECTED]


def test_a_symptom_that_nobody_can_confirm_is_told() -> None:
    """The probe said no twice and then cannot be asked: opx does not act, says so once at the
    second denial, and goes on asking ever more rarely."""

    async def main() -> tuple[list[str], list[Run], int]:
        async with street() as place:
            place.town.prober.say(HEALTH, False, False, None, detail="connection refused")
            await place.wait(12)
            early = await place.told()
            await place.wait(300)
            assert await place.told() == early
            return early, await place.runs(), len(await place.find(Decision))

    told, runs, decisions = virtual.run(main())
    assert told[1:] == ["orders in shop waits to run restart-process"]
    assert [run.status for run in runs] == [RunStatus.PROPOSED]
    assert 4 <= decisions <= 20


@pytest.mark.parametrize(("cooldown", "told"), [("20s", []), ("2m", ["waits"])])
def test_a_wait_of_more_than_a_minute_is_told_once(cooldown: str, told: list[str]) -> None:
    """After a repair without effect the next waits for twice the cooldown: 40 s are nobody's
    business, four minutes are told after the first, and the run goes on by itself."""

    async def main() -> tuple[list[str], list[str], list[Run]]:
        text = SHOP.replace("cooldown: 5s", f"cooldown: {cooldown}")
        async with street(text) as place:
            place.town.stubborn.add("orders")
            place.town.health("orders", "no")
            await place.wait(30)
            place.town.stubborn.clear()
            await place.wait(30)
            early = [title for title in await place.told() if "waits" in title]
            await place.wait(210)
            late = [title for title in await place.told() if "waits" in title]
            return early, late, await place.runs()

    early, late, runs = virtual.run(main())
    assert early == []
    assert late == ["orders in shop waits to run restart-process"] * len(told)
    assert [run.status for run in runs] == [RunStatus.NO_EFFECT, RunStatus.RECOVERED]


def test_an_approved_run_that_must_wait_is_not_lost() -> None:
    """A yes that comes while the probe cannot be asked holds for as long as it is valid: the
    run acts when the symptom is confirmed again, and nobody is asked twice."""

    async def main() -> tuple[Street, list[Run]]:
        async with street(acting=()) as place:
            place.town.health("orders", "no")
            await place.wait(10)
            (run,) = await place.runs()
            (approval,) = await place.find(Approval)
            place.town.prober.say(HEALTH, None)
            await place.wait(2)
            yes = Command(
                id="yes",
                kind="approve",
                subject=run.id,
                actor="ada",
                at=place.town.clock.now(),
                body={"plan": approval.plan},
            )
            await place.town.store.write(lambda tx: tx.save(yes))
            await place.wait(3)
            place.town.health("orders", "no")
            await place.wait(60)
            return place, await place.runs()

    place, runs = virtual.run(main())
    assert [run.status for run in runs] == [RunStatus.RECOVERED]
    assert place.town.action.effects == {TARGET: 1}
    asked = [title for title in virtual.run(place.told()) if title.endswith("?")]
    assert len(asked) == 1


async def say(place: Street, verb: str, subject: str, **body: object) -> None:
    """A person gives a command."""
    command = Command(
        id=verb, kind=verb, subject=subject, actor="ada", at=place.town.clock.now(), body=body
    )
    await place.town.store.write(lambda tx: tx.save(command))


async def asked_between_two_steps(place: Street) -> Run:
    """orders dies; while the first step is at work a person takes the incident on, so that the
    run asks them before the second, which heals it."""
    town = place.town
    town.prober.say(READY, True)
    town.action.slow[TARGET] = 5 * SECOND
    well_after_two(place, lambda: None)
    town.health("orders", "no")
    await place.wait(4)
    (incident,) = await place.find(Incident)
    await say(place, "acknowledge", incident.id)
    await place.wait(10)
    (run,) = await place.runs()
    assert (run.status, town.action.effects) == (RunStatus.WAITING, {TARGET: 1})
    return run


@pytest.mark.parametrize(("ttl", "asked_for"), [("15m", 15 * MINUTE), ("7d", 60 * MINUTE)])
def test_a_run_that_has_acted_and_that_nobody_answers_counts(ttl: str, asked_for: int) -> None:
    """It is no refusal: what it did is counted as not known, and holds the next one up. While
    it asks, for an hour at the most, nobody else may touch its target."""

    async def main() -> None:
        text = TWO_STEPS.replace("approvalTtl: 15m", f"approvalTtl: {ttl}")
        async with street(text) as place:
            run = await asked_between_two_steps(place)
            (approval,) = await place.find(Approval)
            assert approval.expires_at - approval.requested_at == asked_for
            (lease,) = await place.find(Lease)
            assert lease.run == run.id
            assert lease.expires_at > approval.expires_at
            await place.wait(asked_for / SECOND + 10)
            runs, (record,) = await place.runs(), await place.find(TrackRecord)
            (lease,), (incident,) = await place.find(Lease), await place.find(Incident)
            told = await place.told()
        assert (runs[0].status, runs[0].reason) == (
            RunStatus.INCONCLUSIVE,
            "nobody answered in time",
        )
        assert (record.inconclusive, record.last_acted_at is not None) == (1, True)
        assert (lease.run, incident.status) == ("", Status.OPEN)
        assert told[-1] == "orders in shop needs a person: restart-process inconclusive"

    virtual.run(main())


def test_a_run_goes_on_with_a_yes_between_two_steps_and_waits_as_one_at_work() -> None:
    """The precondition is unknown when the person says yes: the run, which has begun, keeps its
    target while it waits, and does the second step when it may."""

    async def main() -> None:
        async with street(TWO_STEPS) as place:
            run = await asked_between_two_steps(place)
            place.town.prober.say(READY, None)
            await say(place, "approve", run.id, plan=run.proposal.plan)
            await place.wait(3)
            (waiting,), (lease,) = await place.runs(), await place.find(Lease)
            assert (waiting.status, lease.run) == (RunStatus.ACTING, run.id)
            place.town.prober.say(READY, True)
            await place.wait(40)
            runs = await place.runs()
        assert [one.status for one in runs] == [RunStatus.RECOVERED]
        assert place.town.action.effects == {TARGET: 2}

    virtual.run(main())


def test_an_incident_that_is_over_ends_a_run_that_has_acted_and_asks() -> None:
    """Nobody is asked any more, and what the run did is counted as not known."""

    async def main() -> None:
        async with street(TWO_STEPS) as place:
            run = await asked_between_two_steps(place)
            await say(place, "resolve", run.incident, resolution="fixed", text="by hand")
            await place.wait(10)
            (command,) = [one for one in await place.find(Command) if one.kind == "resolve"]
            assert command.error == ""
            (ended,), (record,) = await place.runs(), await place.find(TrackRecord)
            now = place.town.clock.now()
            listed = await place.town.store.read(lambda tx: queries.approvals(tx, now))
        assert (ended.status, ended.reason) == (RunStatus.INCONCLUSIVE, Reason.INCIDENT_OVER)
        assert (record.inconclusive, listed) == (1, [])

    virtual.run(main())


def test_a_yes_to_a_run_begun_before_a_restore_ends_it() -> None:
    """What was begun in an earlier epoch does not go on, and nothing spins over it."""

    async def main() -> None:
        async with street(TWO_STEPS) as place:
            run = await asked_between_two_steps(place)
            (record,) = await place.find(OrderRecord)
            older = replace(
                record, order=replace(record.order, epoch=0), version=record.version + 1
            )
            await place.town.store.write(lambda tx: tx.save(older))
            await say(place, "approve", run.id, plan=run.proposal.plan)
            await place.wait(3)
            (ended,) = await place.runs()
        assert (ended.status, ended.reason) == (
            RunStatus.INCONCLUSIVE,
            "it was begun in an earlier epoch",
        )

    virtual.run(main())


@pytest.mark.parametrize("asking", [False, True])
def test_a_run_that_moves_to_an_incident_nobody_has_explained_goes_on(asking: bool) -> None:
    """Two become one while a run is at work, or asks; the other was opened a moment ago and has
    no insight yet. The run ends there as it would have, and so does the incident's repair."""

    async def main() -> None:
        async with street(TWO_STEPS) as place:
            if asking:
                await asked_between_two_steps(place)
            else:
                place.town.prober.say(READY, True)
                place.town.action.slow[TARGET] = 5 * SECOND
                well_after_two(place, lambda: None)
                place.town.health("orders", "no")
                await place.wait(4)
            (incident,) = await place.find(Incident)

            def merged(tx: WriteTx) -> None:
                now = place.town.clock.now()
                episode = tx.get(Episode, incident.episode)
                assert episode is not None
                tx.set(replace(episode, id="older"))
                opened = replace(
                    incident,
                    id="new",
                    episode="older",
                    insight=None,
                    runs=0,
                    status=Status.OPEN,
                    acknowledged_by=None,
                    version=1,
                )
                tx.save(opened)
                respond.merge(tx, incident, opened, now)

            await place.town.store.write(merged)
            await place.wait(60)
            (run,) = await place.runs()
            kept = await place.town.store.read(lambda tx: tx.get(Incident, "new"))
        assert (run.status, run.incident) == (RunStatus.RECOVERED, "new")
        assert kept is not None
        assert kept.status is Status.MITIGATED
        assert place.town.action.effects == {TARGET: 2}

    virtual.run(main())


class Contended(MemoryStore):
    """A store in which a run is always somebody else's; ``tries`` to write one so far."""

    tries = 0

    async def write(self, fn: Callable[[WriteTx], T]) -> T:
        self.tries += 1
        raise Conflict("somebody else was first")


def test_a_conflict_that_repeats_is_no_tight_loop() -> None:
    """The segment looks again after a pause, a few times, and then fails: its workflow says so
    and tries again later."""

    async def main() -> tuple[int, int]:
        store, clock = Contended(), virtual.LoopClock()
        now = clock.now()
        proposal = Proposal(
            runbook="r", runbook_hash="h", inputs={}, target=TARGET, environment="e", service="s"
        )
        run = Run(
            id="run",
            incident="i",
            group=Group("e", "s"),
            number=1,
            status=RunStatus.VERIFYING,
            proposal=proposal,
            created_at=now,
            due_at=now,
        )
        await MemoryStore.write(store, lambda tx: tx.save(run))
        parts = Parts(
            store=store,
            clock=clock,
            prober=FakeProber(clock),
            workflows=InlineWorkflows(store, clock),
            signer=PlainSigner(),
            knowledge=Knowledge(),
        )
        with pytest.raises(Conflict):
            await Runs(parts).segment(StartRequest(id="s", kind="run", args={"run": "run"}))
        return store.tries, clock.now() - now

    tries, took = virtual.run(main())
    assert tries == 5
    assert took >= SECOND
