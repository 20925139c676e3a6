# SPDX-License-Identifier: Apache-2.0

"""Predictions in the service: kept once, told to whom they concern, judged when their time is
over, and the same wherever brain dies."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.core.detect.ruled.kit import rule
from tests.scenarios.test_runs import SHOP, street
from tests.scenarios.test_sense import House

from opx.adapters.stores.migrate import migrate
from opx.adapters.stores.sql import SqlStore
from opx.core.act.run import Run, RunStatus
from opx.core.analyse.changes import What
from opx.core.base import ids
from opx.core.base.time import HOUR, MINUTE, SECOND, Ms
from opx.core.decide.case import Approval, Policy
from opx.core.detect.predict.ahead import Ahead
from opx.core.detect.predict.prediction import Kind, Prediction, Urgency, Withdrawn
from opx.core.incident.incident import Incident
from opx.core.ingest.services import Catalogue, Service
from opx.core.ingest.signals import Alert, Event, Identity, MetricBatch, Series, Severity, Tick
from opx.core.notify.notice import Edge, Notice
from opx.engine import journal, queries
from opx.engine.beats import happened
from opx.engine.beats.case import Knowledge
from opx.engine.beats.sense import memory
from opx.engine.ports import Batch, Command, Entry, Saved, Store, WriteTx
from opx.engine.queries.predictions import expected
from opx.testing import virtual
from opx.testing.contracts import samples
from opx.testing.memory import ManualClock, MemoryStore

START = virtual.START
PROD = Identity("prod", "orders")
SHOPS = Identity("shop", "orders")


def watched(identity: Identity, metric: str = "memory_used_percent") -> Series:
    return Series(sid=1, metric=metric, labels={}, identity=identity)


@cache
def flat(identity: Identity) -> dict[str, Any]:
    """What is known of the stream after four hours about 40, until ``START``."""
    ahead = Ahead()
    for minute in range(240):
        now = START + (minute - 240) * MINUTE
        known = {1: watched(identity)}
        ahead.take(points(now, 40.5 - minute % 2), [Tick(now)], known, now)
    return {"time": START, "ahead": ahead.save()}


def points(at: Ms, value: float) -> MetricBatch:
    return MetricBatch(
        sid=np.array([1], np.int32), at=np.array([at], np.int64), value=np.array([value])
    )


def alert(now: Ms, name: str = "down", over: bool = False) -> Alert:
    return Alert(
        fingerprint=ids.derived("alert", name),
        identity=PROD,
        severity=Severity.SEV3,
        labels={"alertname": name},
        starts_at=now,
        ends_at=now if over else now + 5 * MINUTE,
        received_at=now,
    )


def release(now: Ms) -> Event:
    return Event(
        id=str(now),
        source="/ci",
        type=What.RELEASE,
        subject="orders",
        identity=PROD,
        severity=None,
        at=now,
        received_at=now,
        data={"release": "2"},
    )


@dataclass
class Room:
    """A sense beat that has known the stream of orders for long; a minute at a time."""

    house: House
    level: float = 40.0

    @classmethod
    async def of(cls, knowledge: Knowledge) -> Room:
        house = House(ManualClock(START), knowledge)
        await house.keep_metrics(flat(PROD))
        return cls(house)

    @property
    def now(self) -> Ms:
        return self.house.clock.now()

    async def minutes(self, count: int, pace: float, *items: Any) -> None:
        """So many, each with a point that is by ``pace`` higher; ``items`` come with the first."""
        for _ in range(count):
            await self.pass_(MINUTE)
            self.level += pace
            await self.take(points(self.now, self.level), *items)
            items = ()

    async def pass_(self, span: Ms) -> None:
        assert isinstance(self.house.clock, ManualClock)
        await self.house.clock.advance(span)

    async def take(self, some: MetricBatch | None, *items: Any) -> None:
        batch = Batch(series=(watched(PROD),), points=some, items=(*items, Tick(self.now)))
        await self.house.log.append(batch)
        await self.house.sense.take()

    async def kept(self) -> list[Prediction]:
        return await self.house.find(Prediction)

    async def listed(self, every: bool = False) -> list[str]:
        page = await self.house.store.read(lambda tx: queries.predictions(tx, every, 10))
        return [one["id"] for one in page.items]

    async def score(self) -> dict[str, Any]:
        return await self.house.store.read(lambda tx: queries.predictions_score(tx, 30, self.now))

    async def said(self) -> list[str]:
        return [one.kind for one in await self.house.find(Entry) if "prediction." in one.kind]


def test_a_slow_leak_is_kept_once_and_nobody_is_woken() -> None:
    """1 % a minute from 40: told when about half of the way is gone, with the time that is left
    and what it is told from. That is half an hour away, so there is no notice yet."""

    async def main() -> tuple[list[Prediction], list[Any], list[str]]:
        room = await Room.of(Knowledge())
        await room.minutes(40, 1.0)
        return await room.kept(), await room.house.find(Notice), await room.said()

    [made], notices, said = virtual.run(main())

    level = made.evidence["level"]
    assert isinstance(level, float)
    assert (made.kind, made.identity, made.withdrawn) == (Kind.LEAK, PROD, None)
    assert 60 <= level <= 75
    assert made.horizon_ms == pytest.approx((100 - level) * MINUTE, rel=0.1)
    assert (made.evidence["metric"], made.evidence["limit"]) == ("memory_used_percent", 100.0)
    assert (made.urgency, made.held_back) == (Urgency.MEDIUM, False)
    assert (notices, said) == ([], ["prediction.made"])


def test_people_are_told_when_its_time_draws_near() -> None:
    """A quarter of an hour before the time that was given, once, though minutes more go by; what
    is held back is told to nobody even then."""

    async def main(share: float) -> tuple[list[Prediction], list[Notice], list[str]]:
        room = await Room.of(Knowledge(policy=Policy(held_back=share)))
        await room.minutes(52, 1.0)
        return await room.kept(), await room.house.find(Notice), await room.said()

    [made], [told], said = virtual.run(main(0.0))
    [quiet], nothing, silent = virtual.run(main(1.0))

    left = made.made_at + made.horizon_ms - told.at
    assert 14 * MINUTE <= left <= 15 * MINUTE
    assert (made.urgency, quiet.urgency) == (Urgency.HIGH, Urgency.HIGH)
    assert said == ["prediction.made", "prediction.nearer"]
    assert (nothing, silent) == ([], [])


def test_a_fast_one_is_told_to_people_once() -> None:
    """5 % a minute: minutes are left, and people are told, in words, and told nothing more."""

    async def main() -> list[Notice]:
        room = await Room.of(Knowledge())
        await room.minutes(9, 5.0)
        room.house.start()
        await room.minutes(2, 5.0)
        return await room.house.find(Notice)

    [told] = virtual.run(main())

    assert (told.edge, told.severity, told.incident) == (Edge.PREDICTED, Severity.SEV3, "")
    assert told.title.startswith("orders in prod may fail: leak, 5")
    assert "memory_used_percent is at " in told.text
    assert told.about == told.prediction


def test_a_failure_that_was_expected_is_a_hit() -> None:
    """An incident of the service ends it as FAILED; when its time is over it is judged."""

    async def main() -> tuple[list[Prediction], dict[str, Any], dict[str, Any], list[str]]:
        room = await Room.of(Knowledge())
        await room.minutes(42, 1.0)
        await room.minutes(2, 1.0, alert(room.now))
        before = await room.score()
        await room.pass_(2 * HOUR)
        return await room.kept(), before, await room.score(), await room.said()

    [made], before, after, said = virtual.run(main())

    assert made.withdrawn is Withdrawn.FAILED
    assert (before["judged"], before["recall"]) == (0, None)  # not decided, on neither side
    assert (after["precision"]["value"], after["precision"]["n"]) == (1.0, 1)
    assert (after["recall"]["value"], after["recall"]["n"]) == (1.0, 1)
    assert after["prevention"] is None
    assert said == ["prediction.made", "prediction.ended"]


@pytest.mark.parametrize("dies", [False, True])
def test_evidence_is_no_failure_and_the_symptom_that_comes_later_is(dies: bool) -> None:
    """An incident that was opened on evidence alone leaves it open; its first symptom ends it, also
    when brain dies in between."""
    rules = tuple(
        rule("event", {"type": name, "expires": "1h"}, name, severity="sev1", kind="evidence")
        for name in "abcd"
    )

    async def main() -> None:
        room = await Room.of(Knowledge(rules=rules))
        await room.minutes(42, 1.0)
        odd = [replace(release(room.now), id=name, type=name) for name in "abcd"]
        await room.minutes(2, 1.0, *odd)
        [incident] = await room.house.find(Incident)
        [made] = await room.kept()
        assert (incident.symptoms, made.withdrawn) == (0, None)

        await room.minutes(1, 1.0, alert(room.now))
        if dies:
            room.house.start()
        await room.minutes(1, 1.0)
        [ended] = await room.kept()
        [incident] = await room.house.find(Incident)
        assert (incident.symptoms, ended.withdrawn) == (1, Withdrawn.FAILED)
        await room.pass_(2 * HOUR)
        assert (await room.score())["precision"]["value"] == 1.0

    virtual.run(main())


def test_one_that_a_person_acted_on_is_not_judged() -> None:
    """A release of the service while it is open; then nothing happens."""

    async def main() -> tuple[list[Prediction], dict[str, Any]]:
        room = await Room.of(Knowledge())
        await room.minutes(35, 1.0)
        await room.minutes(2, 0.0, release(room.now))
        await room.pass_(2 * HOUR)
        return await room.kept(), await room.score()

    [made], score = virtual.run(main())

    assert made.withdrawn is Withdrawn.ACTED
    assert (score["judged"], score["unjudged"], score["precision"]) == (0, 1, None)


def test_one_that_is_held_back_is_told_to_nobody_and_judged() -> None:
    """No notice, no line in the journal and in no list but the whole one, until it is over."""

    async def main() -> None:
        room = await Room.of(Knowledge(policy=Policy(held_back=1.0)))
        await room.minutes(10, 5.0)
        [made] = await room.kept()
        assert (made.held_back, made.urgency) == (True, Urgency.HIGH)
        assert (await room.house.find(Notice), await room.said()) == ([], [])
        assert (await room.listed(), await room.listed(every=True)) == ([], [made.id])
        seen = await room.house.store.read(lambda tx: queries.status(tx, Knowledge(), room.now))
        assert (seen["predictions"], seen["open_predictions"]) == ([], 0)

        await room.minutes(2, 1.0, alert(room.now))
        assert await room.listed() == [made.id]
        assert await room.said() == ["prediction.made", "prediction.ended"]
        await room.pass_(2 * HOUR)
        score = await room.score()
        assert (score["held_back"], score["precision"]["value"]) == (1, 1.0)
        assert Edge.PREDICTED not in {one.edge for one in await room.house.find(Notice)}

    virtual.run(main())


def test_a_run_that_acts_while_one_is_open_ends_it_as_acted() -> None:
    """Orders is down and opx waits for a yes; meanwhile its memory climbs and that is told. The
    yes comes, the run acts, and nobody will know how it would have ended."""

    async def main() -> tuple[list[Prediction], list[Prediction], list[Run], int]:
        async with street(SHOP, acting=()) as place:
            town = place.town
            state = Saved(id=memory.METRICS, seq=0, state=flat(SHOPS))
            await town.store.write(lambda tx: tx.set(state))
            await town.crash_brain()
            town.health("orders", "no")
            await place.wait(5)
            labels = {"environment": "shop", "service": "orders"}
            town.flow("memory", {"metric": "memory_used_percent", "labels": labels, "value": 40})
            town.streams["memory"].grows = 5 / 60
            await place.wait(9 * 60)
            before = await place.find(Prediction)
            [asked] = await place.find(Approval)
            yes = Command(
                id="yes",
                kind="approve",
                subject=asked.id,
                actor="ada",
                at=town.clock.now(),
                body={"plan": asked.plan},
            )
            await town.store.write(lambda tx: tx.save(yes))
            await place.wait(10)
            acts = await town.store.read(lambda tx: happened.acts(tx, START))
            return before, await place.find(Prediction), await place.runs(), len(acts)

    [made], [ended], [run], acts = virtual.run(main())

    assert (made.kind, made.withdrawn) == (Kind.LEAK, None)
    assert run.status is RunStatus.RECOVERED
    assert (ended.id, ended.withdrawn, acts) == (made.id, Withdrawn.ACTED, 1)


def test_limits_are_told_in_the_document_of_the_service() -> None:
    """Sessions climb to a limit that only people know, told before the stream comes or after."""
    limited = Service(name="orders", environment="prod", limits={"sessions": 100.0})
    known = Knowledge(catalogue=Catalogue(services={("prod", "orders"): limited}))

    async def main(first: Knowledge) -> list[Prediction]:
        house = House(ManualClock(START), first)
        for minute in range(160):
            assert isinstance(house.clock, ManualClock)
            await house.clock.advance(MINUTE)
            if minute == 10:
                house.teach(catalogue=known.catalogue)
            level = 40.5 - minute % 2 if minute < 120 else 40.0 + minute - 120
            told = Batch(
                series=(watched(PROD, "sessions"),),
                points=points(house.clock.now(), level),
                items=(Tick(house.clock.now()),),
            )
            await house.log.append(told)
            await house.sense.take()
        return await house.find(Prediction)

    for first in (known, Knowledge()):
        [made] = virtual.run(main(first))
        assert (made.kind, made.evidence["limit"]) == (Kind.LEVEL, 100.0)
        assert made.evidence["limit_from"] == "told"


def test_a_damaged_state_begins_anew_and_what_was_open_is_forgotten() -> None:
    """The journal says once that it was, and the prediction ends as FORGOTTEN."""

    async def main() -> tuple[list[Prediction], list[Entry], dict[str, Any]]:
        room = await Room.of(Knowledge())
        await room.minutes(35, 1.0)
        await room.house.sense.save_detectors(leaving=True)
        seq = (await room.house.places())["metrics"]
        await room.house.keep_metrics({"time": room.now, "ahead": {"form": 0}}, seq)
        for _ in range(3):
            room.house.start()
            await room.minutes(1, 1.0)
        entries = [one for one in await room.house.find(Entry) if one.kind == memory.BEGUN_ANEW]
        await room.house.sense.save_detectors(leaving=True)
        [saved] = [one for one in await room.house.find(Saved) if one.id == memory.METRICS]
        return await room.kept(), entries, saved.state

    [made], said, state = virtual.run(main())

    assert made.withdrawn is Withdrawn.FORGOTTEN
    assert len(said) == 1
    assert set(state) == {"time", "odd", "ahead"}


# ---------------------------------------------------------------- restarts


def run_acts(tx: WriteTx, now: Ms) -> None:
    """As the run beat keeps it: a run of orders, its first order and the journal's entry."""
    id = f"run-{now}"
    run = samples.run(id, None)
    proposal = replace(run.proposal, environment="prod", service="orders")
    order = samples.order(f"order-{now}", now)
    tx.set(replace(run, proposal=proposal))
    tx.set(replace(order, run=id, order=replace(order.order, run=id)))
    said = {"order": order.id, "run": id}
    tx.append(journal.entry(now, "incident", happened.ORDERED, "brain", **said))


ACCIDENTS = st.sampled_from(["", "", "", "save", "leave", "crash", "crash"])
CLIMBS = st.lists(st.tuples(st.just("climb"), st.just(MINUTE), ACCIDENTS), min_size=7, max_size=10)
ANYTHING = st.lists(
    st.tuples(
        st.sampled_from(["climb"] * 6 + ["fall", "alert", "over", "change", "act", "tick"]),
        st.sampled_from([0, 1, SECOND, MINUTE, MINUTE, MINUTE, 12 * MINUTE]),
        ACCIDENTS,
    ),
    max_size=15,
)
STEPS = st.builds(lambda *parts: [*parts[0], *parts[1]], CLIMBS, ANYTHING)
"""Mostly long enough for something to be expected before anything happens."""


async def lived(
    steps: list[tuple[str, Ms, str]], held_back: float, accidents: bool
) -> dict[type, list[Any]]:
    """Everything that is kept after these steps; without ``accidents`` nothing is saved before
    its time and brain never dies."""
    room = await Room.of(Knowledge(policy=Policy(held_back=held_back)))
    house = room.house
    for what, wait, accident in steps:
        await room.pass_(wait)
        now, acts = room.now, what == "act"
        if acts:
            await house.store.write(lambda tx, at=now: run_acts(tx, at))
            [run] = [one for one in await house.find(Run) if one.id == f"run-{now}"]
            house.parts.news.append(happened.run_began(run, now))
        if accidents and accident == "save":
            await house.sense.save_detectors()
        if accidents and accident == "leave":
            await house.sense.save_detectors(leaving=True)
        if accidents and accident in ("leave", "crash"):
            house.start()
        items = {"alert": [alert(now)], "over": [alert(now, over=True)], "change": [release(now)]}
        room.level += {"climb": 5.0, "fall": -20.0}.get(what, 0.0) * wait / MINUTE
        some = points(now, room.level) if what in ("climb", "fall") else None
        await room.take(some, *items.get(what, []))
    kinds = (Prediction, Notice, Entry)
    return {kind: await house.find(kind) for kind in kinds}


@settings(max_examples=100)
@given(steps=STEPS, held_back=st.sampled_from([0.0, 0.5]))
def test_brain_may_die_at_any_commit_and_nothing_else_is_expected(
    steps: list[tuple[str, Ms, str]], held_back: float
) -> None:
    """Climbs, falls, failures, changes and runs: the same predictions, notices and journal,
    wherever the state was last saved."""
    steady = virtual.run(lived(steps, held_back, accidents=False))
    restarted = virtual.run(lived(steps, held_back, accidents=True))

    assert restarted == steady


# ---------------------------------------------------------------- lists


def test_pages_are_the_same_on_sqlite(tmp_path: Path) -> None:
    """Open and over, held back or not, a page at a time: as on the fake."""

    async def main(store: Store) -> list[list[str]]:
        for number in range(12):
            over = Withdrawn.TURNED if number % 3 == 0 else None
            one = samples.prediction(f"p{number}", START + number // 2, over)
            held = replace(one, held_back=number % 4 == 0)
            await store.write(lambda tx, row=held: tx.set(row))
        found: list[list[str]] = []
        for every in (False, True):
            cursor: str | None = ""
            while cursor is not None:
                page = await store.read(
                    lambda tx, all=every, at=cursor: queries.predictions(tx, all, 5, at)
                )
                found.append([one["id"] for one in page.items])
                cursor = page.next
        found.append([one["id"] for one in await store.read(lambda tx: expected(tx, 20))])
        return found

    async def on_sqlite() -> list[list[str]]:
        url = f"sqlite:///{tmp_path}/opx.db"
        migrate(url)
        store = SqlStore(url)
        try:
            return await main(store)
        finally:
            await store.close()

    on_fake = asyncio.run(main(MemoryStore()))

    assert asyncio.run(on_sqlite()) == on_fake
    assert sum(map(len, on_fake[:-1])) == 10 + 12  # p4 and p8 are open and held back
