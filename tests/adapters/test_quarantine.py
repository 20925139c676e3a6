# SPDX-License-Identifier: Apache-2.0

"""What was refused, seen and sent again over HTTP, and what came and is nobody's: the real
application, wires and intake on a store and a log in memory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from opx.adapters.durable.inline import InlineWorkflows
from opx.adapters.wires import alertmanager, alerts, events, logs, metrics
from opx.api import ingest
from opx.api.create import create
from opx.api.front import Front
from opx.app import documents
from opx.core.decide.roles import Role
from opx.core.ingest import unmapped
from opx.core.ingest.signals import Alert, Event, LogLine, Rejected
from opx.engine import access, quarantine
from opx.engine.access import Access
from opx.engine.beats.case import Knowledge
from opx.engine.beats.parts import Parts
from opx.engine.beats.sense import Sense
from opx.engine.intake import Intake
from opx.engine.ports import Entry, Saved, Token
from opx.engine.quarantine import Quarantine
from opx.errors import Unavailable
from opx.testing.memory import ManualClock, MemoryLog, MemoryStore, MemoryTelemetry
from opx.testing.world import FakeProber, PlainSigner

NOW = 1_767_225_600_000
HOUR = 3_600_000
TOKENS = {"agent": Role.INGEST, "orders-agent": Role.INGEST, "ann": Role.VIEWER, "root": Role.ADMIN}
POINT = {"metric": "up", "value": 1, "labels": {"team": "shop"}}
ALERT = {"labels": {"alertname": "Down", "team": "shop"}}


async def _nothing() -> bytes:
    return b""


class NoBrain:
    async def query(self, query: object) -> Any:
        raise Unavailable

    async def state(self) -> None:
        return None


@dataclass
class World:
    clock: ManualClock = field(default_factory=lambda: ManualClock(NOW))
    store: MemoryStore = field(default_factory=MemoryStore)
    log: MemoryLog = field(init=False)
    app: FastAPI = field(init=False)
    client: httpx.AsyncClient = field(init=False)
    read: int = 0

    def __post_init__(self) -> None:
        self.log = MemoryLog(self.clock)
        self.start()

    def start(self) -> None:
        """``front`` starts, with the log and the store as they are."""
        index = metrics.SeriesIndex(self.log.series())
        self.intake = Intake(
            appender=self.log,
            clock=self.clock,
            catalogue=lambda: self.front.catalogue(),
            index=index,
            wires={
                "metrics": metrics.parser(index),
                "events": events.parse,
                "alerts": alerts.parse,
                "alertmanager": alertmanager.parse,
                "logs": logs.parse,
            },
        )
        self.front = Front(
            store=self.store, clock=self.clock, access=Access(self.store, self.clock),
            brain=NoBrain(), check=documents.check, bind=documents.bind, anchors=list,
            would=documents.would, exposition=_nothing, hands_alive=lambda: True,
        )  # fmt: skip
        again = Quarantine(intake=self.intake, store=self.store)
        self.app = create(self.front, ingest.routes(self.intake), again)
        transport = httpx.ASGITransport(app=self.app)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080")

    async def log_in(self) -> None:
        await self.front.access.refresh()

    async def later(self, span: int) -> None:
        await self.clock.advance(span)
        await self.log_in()

    async def be_brain(self) -> None:
        """Read the log to its end and keep what ``brain`` keeps of the quarantine."""
        chunks = self.log.read(self.read, 1_000)
        found = [item for chunk in chunks for item in chunk.items if isinstance(item, Rejected)]
        self.read = chunks[-1].seq if chunks else self.read

        def keep(tx: Any) -> None:
            tx.add(*found)
            tx.set(*(item for item in found if item.replayed_at is not None))
            tx.set(Saved(id="sense", seq=self.read))

        await self.store.write(keep)

    async def brains(self) -> None:
        """A ``brain`` that goes on reading."""
        while True:
            await self.be_brain()
            await asyncio.sleep(0)

    async def send(self, path: str, body: Any, token: str = "agent") -> httpx.Response:
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
        content = body if isinstance(body, bytes) else json.dumps(body)
        return await self.client.post(path, content=content, headers=headers)

    async def get(self, path: str, token: str = "root") -> httpx.Response:
        return await self.client.get(f"/api/v1{path}", headers={"Authorization": f"Bearer {token}"})

    async def apply(self, kind: str, name: str, spec: str) -> httpx.Response:
        text = f"apiVersion: opx/v1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}\n"
        headers = {"Authorization": "Bearer root"}
        return await self.client.post("/api/v1/documents", content=text, headers=headers)

    async def replay(self, id: str, token: str = "root") -> httpx.Response:
        return await self.client.post(
            f"/api/v1/quarantine/{id}/replay", headers={"Authorization": f"Bearer {token}"}
        )

    async def refused(self) -> list[str]:
        """Ids of what is kept."""
        rows = await self.store.read(lambda tx: tx.find(Rejected, order="id"))
        return [row.id for row in rows]

    def taken(self) -> list[object]:
        """Every item of telemetry in the log."""
        chunks = self.log.read(0, 1_000)
        items = [item for chunk in chunks for item in chunk.items]
        points = [1 for chunk in chunks if chunk.points for _ in range(len(chunk.points))]
        return [item for item in items if isinstance(item, Alert | Event | LogLine)] + points


def run(check: Callable[[World], Awaitable[None]], brain: bool = True) -> None:
    async def whole() -> None:
        world = World()
        tokens = [
            Token(
                id=access.id_of(name),
                name=name,
                roles=(role.value,),
                created_at=NOW,
                services=("orders",) if name == "orders-agent" else (),
            )
            for name, role in TOKENS.items()
        ]
        await world.store.write(lambda tx: tx.save(*tokens))
        await world.log_in()
        reading = asyncio.create_task(world.brains()) if brain else None
        await check(world)
        if reading:
            reading.cancel()

    asyncio.run(whole())


async def kept(world: World, path: str, body: Any, token: str = "orders-agent") -> list[str]:
    """Ids of the items of ``body`` that were refused and are kept."""
    before = await world.refused()
    answer = await world.send(path, body, token)
    assert answer.status_code == 422
    await world.be_brain()
    return [id for id in await world.refused() if id not in before]


# ---------------------------------------------------------------- one item


def test_one_item_can_be_seen() -> None:
    """By its id or the beginning of it: what is kept, masked, and why; nobody replayed it."""

    async def check(world: World) -> None:
        [id] = await kept(world, "/metrics", {**POINT, "labels": {"password": "hunter2"}})
        for name in (id, id[:13]):
            item = (await world.get(f"/quarantine/{name}", "ann")).json()
            assert item["id"] == id
            assert (item["wire"], item["reason"]) == ("metrics", "out_of_scope")
            assert (item["source"], item["at"]) == ("orders-agent", "2026-01-01T00:00:00.000Z")
            assert (item["replayed_at"], item["replayed_by"], item["result"]) == (None, "", "")
            assert "hunter2" not in item["item"]
        assert (await world.get("/quarantine/0000000")).status_code == 404

    run(check)


@pytest.mark.parametrize(
    ("path", "item"),
    [
        ("/metrics", POINT),
        ("/metrics", {"metric": "m", "timestamps": [NOW], "values": [2], "labels": {"a": "b"}}),
        ("/metrics", {"nodeId": "n", "iops": 5}),
        ("/events", {"specversion": "1.0", "id": "1", "source": "/ci", "type": "deploy"}),
        ("/api/v2/alerts", ALERT),
        ("/hooks/alertmanager", {**ALERT, "status": "firing"}),
        ("/logs", {"msg": "m", "level": "error"}),
    ],
)
def test_a_refused_item_of_every_wire_can_be_taken_later(path: str, item: Any) -> None:
    """It is the item that it would have been, taken now, by who may; it is marked with who,
    when and the result, and the journal has a line of it."""

    async def check(world: World) -> None:
        [id] = await kept(world, path, [item])
        await world.later(HOUR)
        answer = await world.replay(id)

        assert answer.status_code == 200
        expected = (id, "accepted", "root", "2026-01-01T01:00:00.000Z")
        for told in (answer.json(), (await world.get(f"/quarantine/{id}")).json()):
            shown = (told["id"], told["result"], told["replayed_by"], told["replayed_at"])
            assert shown == expected
        assert len(world.taken()) == 1
        entries = await world.store.read(lambda tx: tx.find(Entry))
        [line] = [entry for entry in entries if entry.kind == "item.replayed"]
        assert (line.actor, line.body["id"], line.body["result"]) == ("root", id, "accepted")

    run(check)


def test_an_item_is_read_by_the_rules_of_now() -> None:
    """What no rule mapped is somebody's once a rule does."""

    async def check(world: World) -> None:
        [id] = await kept(world, "/api/v2/alerts", [ALERT])
        await world.apply("Mapping", "ours", "{service: [team]}")
        assert (await world.replay(id)).json()["result"] == "accepted"

        [alert] = world.taken()
        assert isinstance(alert, Alert)
        assert alert.identity.service == "shop"

    run(check)


def test_what_is_sent_is_mapped_by_the_documents_applied_before() -> None:
    """From the answer on, also when front starts anew; as before once the document is gone."""

    async def check(world: World) -> None:
        async def service() -> str:
            assert (await world.send("/api/v2/alerts", [ALERT], "root")).status_code == 200
            alert = world.taken()[-1]
            assert isinstance(alert, Alert)
            return alert.identity.service

        assert await service() == ""
        await world.apply("Mapping", "ours", "{service: [team]}")
        assert await service() == "shop"
        world.start()
        async with world.app.router.lifespan_context(world.app):
            assert await service() == "shop"
        gone = await world.client.delete(
            "/api/v1/documents/Mapping/ours", headers={"Authorization": "Bearer root"}
        )
        assert gone.status_code == 200
        assert await service() == ""

    run(check, brain=False)


def test_what_is_refused_again_stays_and_says_why() -> None:
    """It is marked with the reason of now, nothing is taken, and it can be tried again; no
    second item of it is kept."""

    async def check(world: World) -> None:
        late = {**POINT, "timestamp": NOW + 11 * 60_000}
        [id] = await kept(world, "/metrics", [late], "agent")
        again = (await world.replay(id)).json()
        assert (again["reason"], again["result"]) == ("in_future", "in_future")
        assert (world.taken(), len(await world.refused())) == ([], 1)

        await world.later(60_000)
        assert (await world.replay(id)).json()["result"] == "accepted"
        assert len(world.taken()) == 1

    run(check)


def test_what_was_cut_is_malformed_and_what_was_counted_is_refused() -> None:
    """Only the beginning of a long item is kept; of what was only counted nothing is."""

    async def check(world: World) -> None:
        [cut] = await kept(world, "/logs", [{"msg": "x" * 9_000}])
        assert (await world.replay(cut)).json()["result"] == "malformed"
        await kept(world, "/logs", [{}] * 102)
        rows = await world.store.read(lambda tx: tx.find(Rejected))
        [more] = [row for row in rows if row.reason == "and_more"]
        answer = await world.replay(more.id)
        assert (answer.status_code, answer.json()["code"]) == (409, "refused")
        assert world.taken() == []

    run(check)


def test_what_could_not_be_kept_as_it_was_is_not_sent_again() -> None:
    """Bytes that are no text are lost: what would be taken is another item than was sent."""

    async def check(world: World) -> None:
        body = b'[{"metric": "up", "value": 1, "labels": {"service": "orders", "x": "caf\xe9"}}]'
        [id] = await kept(world, "/metrics", body)
        answer = await world.replay(id)
        assert (answer.status_code, answer.json()["code"]) == (409, "refused")
        assert world.taken() == []

    run(check)


# ---------------------------------------------------------------- who may


def test_sending_again_takes_what_sending_takes() -> None:
    """Who may only read gets 403, nobody 401; a scoped sender is refused again by their own
    scope, and so cannot reach beyond it."""

    async def check(world: World) -> None:
        [id] = await kept(world, "/metrics", [POINT])
        assert (await world.replay(id, "ann")).status_code == 403
        assert (await world.replay(id, "nobody")).status_code == 401
        assert (await world.replay(id, "orders-agent")).json()["result"] == "out_of_scope"
        assert world.taken() == []
        assert (await world.replay(id, "agent")).json()["result"] == "accepted"

    run(check)


# ---------------------------------------------------------------- once


def test_an_item_is_taken_once_however_often_it_is_asked() -> None:
    """Five at once and one later: one is taken, and all are told the same."""

    async def check(world: World) -> None:
        [id] = await kept(world, "/metrics", [POINT])
        answers = await asyncio.gather(*(world.replay(id) for _ in range(5)))
        await world.later(HOUR)
        answers.append(await world.replay(id))

        assert len({answer.text for answer in answers}) == 1
        assert len(world.taken()) == 1

    run(check)


@pytest.mark.parametrize("restart", [True, False])
def test_what_broke_off_before_it_was_marked_is_not_taken_twice(restart: bool) -> None:
    """The log took it, the mark was not kept, and perhaps front died: the next asking finds
    in the store what brain has read in the log."""

    async def check(world: World) -> None:
        [id] = await kept(world, "/metrics", [POINT])
        write = world.store.write

        async def broken(fn: Any) -> Any:
            if "_mark" in getattr(fn, "__code__", check.__code__).co_names:
                raise Unavailable("the store cannot be written")
            return await write(fn)

        world.store.write = broken  # type: ignore[method-assign]
        assert (await world.replay(id)).status_code == 503
        assert len(world.taken()) == 1
        world.store.write = write  # type: ignore[method-assign]
        if restart:
            world.start()
            await world.log_in()
        assert (await world.replay(id)).json()["result"] == "accepted"
        assert len(world.taken()) == 1

    run(check)


def test_what_the_log_did_not_take_is_not_marked() -> None:
    """503 and as it was; once the disk has room it is taken."""

    async def check(world: World) -> None:
        first, second = await kept(world, "/metrics", [POINT, {**POINT, "metric": "down"}])
        await world.replay(first)
        world.log.full = True
        assert (await world.replay(second)).status_code == 503
        assert (await world.get(f"/quarantine/{second}")).json()["result"] == ""
        world.log.full = False
        assert (await world.replay(second)).json()["result"] == "accepted"
        assert len(world.taken()) == 2

    run(check)


def test_without_brain_nothing_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a start it is not certain what the log holds: 503 until brain has read it."""
    monkeypatch.setattr(quarantine, "PATIENCE", 0)

    async def check(world: World) -> None:
        [id] = await kept(world, "/metrics", [POINT])
        assert (await world.replay(id)).status_code == 503
        assert world.taken() == []

    run(check, brain=False)


# ---------------------------------------------------------------- nobody's


def test_what_is_nobodys_is_listed() -> None:
    """Of each wire: what came, how often, when last, and the labels of the last; what is
    somebody's is not, and neither is what was refused."""

    async def check(world: World) -> None:
        await world.send("/metrics", [POINT, {**POINT, "value": 2}, {**POINT, "value": "x"}])
        await world.send("/metrics", [{**POINT, "labels": {"service": "orders", "team": "shop"}}])
        await world.later(1_000)
        await world.send("/metrics", [{**POINT, "labels": {"team": "other"}}])
        await world.later(1)
        await world.send("/api/v2/alerts", [ALERT])
        await world.later(1)
        await world.send("/logs", [{"msg": "m", "pod": "p"}, {"msg": "m", "app": "orders"}])
        listed = (await world.get("/unmapped", "ann")).json()

        assert (listed["since_at"], listed["forgotten"]) == ("2026-01-01T00:00:00.000Z", 0)
        assert [(r["wire"], r["name"], r["count"], r["labels"]) for r in listed["items"]] == [
            ("logs", "log line", 1, {"pod": "p"}),
            ("alerts", "Down", 1, {"alertname": "Down", "team": "shop"}),
            ("metrics", "up", 3, {"team": "other"}),
        ]
        assert listed["items"][2]["last_at"] == "2026-01-01T00:00:01.000Z"
        assert len((await world.get("/unmapped?limit=1")).json()["items"]) == 1

    run(check)


def test_a_series_that_a_restart_knew_is_still_nobodys() -> None:
    """The index made from the log knows whose its series are; the counts begin anew."""

    async def check(world: World) -> None:
        await world.send("/metrics", [POINT])
        world.start()
        await world.log_in()
        assert (await world.get("/unmapped")).json()["items"] == []
        await world.send("/metrics", [POINT])
        [row] = (await world.get("/unmapped")).json()["items"]
        assert (row["name"], row["count"]) == ("up", 1)

    run(check)


def test_a_flood_of_what_is_nobodys_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest rows stay, and it is said how many had to make room."""
    monkeypatch.setattr(unmapped, "MOST_ROWS", 3)

    async def check(world: World) -> None:
        for number in range(5):
            await world.send("/metrics", [{"metric": f"m{number}", "value": 1}])
            await world.later(1)
        listed = (await world.get("/unmapped")).json()
        assert [row["name"] for row in listed["items"]] == ["m4", "m3", "m2"]
        assert listed["forgotten"] == 2

    run(check)


def test_what_is_nobodys_is_joined_with_nothing() -> None:
    """Two unmapped alerts of one moment are two incidents over the API, each alone; two of one
    service are one."""

    async def check(world: World) -> None:
        for alertname in ("Down", "Slow"):
            for labels in ({"team": "shop"}, {"service": "orders"}):
                await world.send("/api/v2/alerts", [{"labels": {"alertname": alertname, **labels}}])
        parts = Parts(
            store=world.store, clock=world.clock, prober=FakeProber(world.clock),
            workflows=InlineWorkflows(world.store, world.clock), signer=PlainSigner(),
            knowledge=Knowledge(),
        )  # fmt: skip
        await Sense(parts, world.log, MemoryTelemetry()).take()

        found = (await world.get("/incidents")).json()["items"]
        groups = [one["group"]["service"] for one in found]
        assert groups.count("orders") == 1
        assert len(groups) == len(set(groups)) == 3
        listed = (await world.get("/unmapped")).json()["items"]
        assert {row["name"] for row in listed} == {"Slow", "Down"}

    run(check, brain=False)
