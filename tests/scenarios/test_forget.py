# SPDX-License-Identifier: Apache-2.0

"""Forgetting, on both stores: an incident goes with all that hangs on it, or stays whole."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from opx.adapters.durable.inline import InlineWorkflows
from opx.adapters.stores.migrate import migrate
from opx.adapters.stores.sql import SqlStore
from opx.core.act.run import RunStatus
from opx.core.analyse.insight import Insight, InsightSource, InsightType
from opx.core.base.time import DAY, HOUR, Ms
from opx.core.correlate import stage as correlate
from opx.core.correlate.episode import Episode, Group
from opx.core.decide.case import Approval, Lease
from opx.core.decide.decision import Answered, Decision
from opx.core.detect.finding import FindingState
from opx.core.detect.predict.prediction import Withdrawn
from opx.core.incident.incident import Incident, Status
from opx.core.incident.keeping import Keep
from opx.core.ingest.signals import Event, Identity, Rejected, Severity, StoredEvent
from opx.core.learn.outcome import Outcome, OutcomeKind
from opx.core.notify import edges
from opx.core.notify.notice import Delivery, DeliveryStatus, Edge, Notice
from opx.engine import records
from opx.engine.beats import forget
from opx.engine.beats.case import Knowledge
from opx.engine.beats.forget import Place
from opx.engine.beats.parts import Parts
from opx.engine.ports import Command, Entry, Store, Token
from opx.testing.contracts import samples
from opx.testing.contracts.telemetry import points, series
from opx.testing.memory import ManualClock, MemoryStore, MemoryTelemetry
from opx.testing.world import FakeProber, PlainSigner

NOW: Ms = samples.AT
OLD: Ms = NOW - 401 * DAY
KEEP = Keep()


def over(name: str, ended_at: Ms, previous: str | None = None) -> list[object]:
    """An incident that ended, its episode, and one of everything that can hang on it."""
    episode = f"episode-{name}"
    id, before = Incident.id_of(episode), previous and f"episode-{previous}"
    group, began = Group("prod", "orders"), ended_at - HOUR
    run = replace(samples.run(f"run-{name}", None), incident=id, status=RunStatus.RECOVERED)
    step = samples.order(f"order-{name}", began)
    incident = replace(
        samples.incident(id, began),
        episode=episode,
        status=Status.RESOLVED,
        updated_at=ended_at,
        resolved_at=ended_at,
        previous=before and Incident.id_of(before),
    )
    told = Notice(
        id=f"notice-{name}",
        incident=id,
        edge=Edge.OPENED,
        severity=Severity.SEV3,
        title="t",
        text="x",
        at=began,
    )
    return [
        Episode(
            id=episode,
            group=group,
            started_at=began,
            last_at=ended_at,
            ended_at=ended_at,
            previous=before,
        ),
        incident,
        samples.finding(f"first-{name}", began, FindingState.CLEARED),
        samples.finding(f"last-{name}", ended_at, FindingState.CLEARED),
        Insight(
            id=f"insight-{name}",
            episode=episode,
            type=InsightType.REPORTED,
            risk=80,
            causes=(),
            advice="a",
            source=InsightSource.RULES,
            at=began,
        ),
        run,
        replace(step, run=run.id, order=replace(step.order, run=run.id)),
        Approval(id=run.id, incident=id, plan="p", requested_at=began, expires_at=began),
        Lease(id=f"target-{name}", run=run.id, expires_at=began),
        Decision(
            id=f"decision-{name}",
            incident=id,
            run=run.id,
            answer=Answered.ALLOW,
            results=(),
            plan="p",
            at=began,
        ),
        Outcome(id=f"outcome-{name}", incident=id, kind=OutcomeKind.BENIGN, by="ada", at=began),
        told,
        Delivery(
            id=f"delivery-{name}",
            notice=told.id,
            receiver="webhook",
            status=DeliveryStatus.DELIVERED,
            tries=1,
            due_at=None,
        ),
        Command(id=f"command-{name}", kind="k", subject=id, actor="ada", at=began, done_at=NOW),
    ]


async def past(store: Store, rows: list[object]) -> None:
    await store.write(lambda tx: tx.add(*rows))


async def all_of_it(store: Store, keep: Keep = KEEP) -> list[Entry]:
    """Forget turn by turn until that was all; what the journal says of it."""
    clock = ManualClock(NOW)
    parts = Parts(
        store=store,
        clock=clock,
        prober=FakeProber(clock),
        workflows=InlineWorkflows(store, clock),
        signer=PlainSigner(),
        knowledge=Knowledge(),
    )
    place: Place | None = Place()
    for _ in range(100):
        place = await forget.turn(parts, MemoryTelemetry(), keep, place)
        if place is None:
            return await store.read(lambda tx: tx.find(Entry))
    raise AssertionError("it comes to no end")


async def left(store: Store) -> set[str]:
    """The ids of everything that is kept, the journal aside."""
    kinds = [record.kind for record in records.RECORDS if record.droppable]
    return {
        row.id for kind in kinds for row in await store.read(lambda tx, kind=kind: tx.find(kind))
    }


def ids(rows: list[object]) -> set[str]:
    return {row.id for row in rows}  # type: ignore[attr-defined]


async def an_incident_goes_with_all_that_hangs_on_it(store: Store) -> None:
    """What ended 401 days ago goes whole; a day later or still firing stays whole."""
    gone, young = over("gone", OLD), over("young", OLD + 2 * DAY)
    stuck = over("stuck", OLD - 9 * DAY)
    stuck[3] = replace(stuck[3], state=FindingState.FIRING)  # type: ignore[type-var]
    await past(store, gone + young + stuck)

    entries = await all_of_it(store)

    assert await left(store) == ids(young) | ids(stuck)
    (entry,) = entries
    assert (entry.kind, entry.subject) == ("incident.forgotten", gone[1].id)  # type: ignore[attr-defined]
    counts = {"findings": 2, "insights": 1, "orders": 1, "leases": 1, "deliveries": 1}
    counts |= {"commands": 1, "runs": 1, "approvals": 1, "decisions": 1, "outcomes": 1}
    assert entry.body["gone"] == counts | {"notices": 1}


async def nothing_names_what_is_gone(store: Store) -> None:
    """The next incident stays and no longer names the one that went; while the next one is
    open, neither goes."""
    first, second = over("a", OLD), over("b", OLD + 2 * DAY, previous="a")
    long_ago = OLD - 40 * DAY
    third, fourth = over("c", long_ago), over("d", NOW, previous="c")
    fourth[0] = replace(fourth[0], ended_at=None, started_at=long_ago + HOUR)  # type: ignore[type-var]
    await past(store, first + second + third + fourth)

    await all_of_it(store)

    assert await left(store) == ids(second) | ids(third) | ids(fourth)
    kept = await store.read(lambda tx: tx.get(Episode, "episode-b"))
    its = await store.read(lambda tx: tx.get(Incident, Incident.id_of("episode-b")))
    assert kept is not None
    assert its is not None
    assert (kept.previous, its.previous) == (None, None)
    named = await store.read(lambda tx: tx.get(Episode, "episode-d"))
    assert named is not None
    assert named.previous == "episode-c"


async def nobodys_streams_are_told_apart(store: Store) -> None:
    """Findings without a service are of many groups: one group's episode takes its own only."""
    nobody = Identity("prod", "")
    mine, other = (
        replace(samples.finding(name, OLD, state), identity=nobody, stream=name)
        for name, state in (("mine", FindingState.CLEARED), ("other", FindingState.FIRING))
    )
    episode = Episode(
        id="e", group=correlate.group_of(mine), started_at=OLD, last_at=OLD, ended_at=OLD
    )
    await past(store, [mine, other, episode])

    entries = await all_of_it(store)

    assert await left(store) == {"other"}
    assert [entry.kind for entry in entries] == ["episode.forgotten"]


async def a_storm_goes_piece_by_piece(store: Store) -> None:
    """Many that ended in the same instant all go, those in between that must stay stay, and a
    turn never takes more than its piece."""
    storm = [over(f"{number:03d}", OLD) for number in range(70)]
    for rows in storm[:30]:
        rows[1] = replace(rows[1], updated_at=NOW)  # type: ignore[type-var]
    for number, rows in enumerate(storm):
        place = Group("prod", f"service-{number}")
        rows[0] = replace(rows[0], group=place)  # type: ignore[type-var]
        for at in (2, 3):
            rows[at] = replace(rows[at], identity=Identity("prod", place.service))  # type: ignore[type-var]
    await past(store, [row for rows in storm for row in rows])

    entries = await all_of_it(store)

    assert len(entries) == 40
    assert await left(store) == {id for rows in storm[:30] for id in ids(rows)}


async def what_is_of_no_use_any_more_goes_by_its_age(store: Store) -> None:
    """After 30 days: what happened, what was quarantined, commands that were done, tokens that
    have expired.
    What waits, and what still holds, stays; so does a revoked token that has no end, or its
    secret, which may still lie in a file, would be new to the next start and be let in."""
    then = NOW - 30 * DAY
    late = Rejected(id="late", at=then, wire="metrics", reason="r", item="{}")
    done = Command(id="done", kind="k", subject="s", actor="ada", at=then, done_at=then)
    token = Token(id="expired", name="a", roles=(), created_at=then, expires_at=then)
    told = Event(
        id="1",
        source="ci",
        type="job.finished",
        subject="",
        identity=Identity("prod", "orders"),
        severity=None,
        at=then,
        received_at=then,
    )
    event = StoredEvent.of(told)
    stays = [
        StoredEvent.of(replace(told, received_at=then + 1)),
        replace(late, id="new", at=then + 1),
        replace(done, id="waits", done_at=None),
        replace(token, id="holds", expires_at=NOW + DAY),
        replace(token, id="for-ever", expires_at=None),
        replace(token, id="revoked", expires_at=None, revoked_at=then),
    ]
    await past(store, [event, late, done, token, *stays])

    (entry,) = await all_of_it(store)

    assert await left(store) == ids(stays)
    assert (entry.kind, entry.subject) == ("records.forgotten", "retention")
    assert entry.body["gone"] == {
        "StoredEvent.event.received_at": 1,
        "Rejected.at": 1,
        "Command.done_at": 1,
        "Token.expires_at": 1,
    }


async def what_hangs_on_nothing_goes_when_it_is_long_over(store: Store) -> None:
    """A finding that a silence held until it was over is in no episode: it goes by its age. What
    an episode has that stays, stays; so does what was over later, or is not."""
    old = samples.finding("old", OLD, FindingState.CLEARED)
    held = replace(old, identity=Identity("prod", "held"))
    stays = [
        replace(held, id="late", at=NOW - 399 * DAY),
        replace(held, id="fires", state=FindingState.FIRING),
    ]
    whole = over("open", OLD)
    whole[1] = replace(whole[1], updated_at=NOW)  # type: ignore[type-var]
    await past(store, [held, *stays, *whole])

    (entry,) = await all_of_it(store)

    assert await left(store) == ids(stays) | ids(whole)
    assert (entry.kind, entry.body["gone"]) == ("findings.forgotten", {"findings": 1})


async def predictions_go_with_their_notices_when_their_time_is_long_over(store: Store) -> None:
    """After as long as incidents; one that is open stays whatever its time."""
    old, young = samples.prediction("old", OLD, Withdrawn.EXPIRED), samples.prediction("new", NOW)
    stray = samples.prediction("stray", OLD)
    told, other = edges.predicted(old), edges.predicted(young)
    sent = Delivery(
        id="sent",
        notice=told.id,
        receiver="w",
        status=DeliveryStatus.DELIVERED,
        tries=1,
        due_at=None,
    )
    await past(store, [old, young, stray, told, other, sent])

    (entry,) = await all_of_it(store)

    assert await left(store) == ids([young, stray, other])
    assert entry.kind == "predictions.forgotten"
    assert entry.body["gone"] == {"predictions": 1, "deliveries": 1, "notices": 1}


CHECKS = (
    an_incident_goes_with_all_that_hangs_on_it,
    nothing_names_what_is_gone,
    nobodys_streams_are_told_apart,
    a_storm_goes_piece_by_piece,
    what_is_of_no_use_any_more_goes_by_its_age,
    what_hangs_on_nothing_goes_when_it_is_long_over,
    predictions_go_with_their_notices_when_their_time_is_long_over,
)
every_check = pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
Check = Callable[[Store], Awaitable[None]]


@every_check
def test_in_memory(check: Check) -> None:
    """Each of the sentences above, on the fake."""
    asyncio.run(check(MemoryStore()))


@every_check
def test_on_sqlite(check: Check, tmp_path: Path) -> None:
    """Each of the sentences above, on SQLite."""

    async def main() -> None:
        url = f"sqlite:///{tmp_path}/opx.db"
        migrate(url)
        store = SqlStore(url)
        try:
            await check(store)
        finally:
            await store.close()

    asyncio.run(main())


def test_points_go_by_the_day_and_the_journal_says_so() -> None:
    """Days that were over 30 days ago are forgotten; a turn that forgot none says nothing."""

    async def main() -> list[Entry]:
        store, clock, telemetry = MemoryStore(), ManualClock(NOW), MemoryTelemetry()
        telemetry.add(1, [series(0, a="b")], points((0, -31 * DAY, 1.0), (0, -30 * DAY, 2.0)))
        parts = Parts(
            store=store,
            clock=clock,
            prober=FakeProber(clock),
            workflows=InlineWorkflows(store, clock),
            signer=PlainSigner(),
            knowledge=Knowledge(),
        )
        for _ in range(2):
            assert await forget.turn(parts, telemetry, KEEP, Place()) is None
        return await store.read(lambda tx: tx.find(Entry))

    (entry,) = asyncio.run(main())
    assert (entry.kind, entry.body) == ("telemetry.forgotten", {"days": 1})
