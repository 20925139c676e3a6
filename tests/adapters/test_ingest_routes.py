# SPDX-License-Identifier: Apache-2.0

"""Telemetry over HTTP: the real routes, parsers and access, on a log in memory."""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from opx.adapters.wires import alertmanager, alerts, events, logs, metrics
from opx.api import ingest
from opx.core.decide.roles import Role
from opx.core.ingest.mapping import MappingRule
from opx.core.ingest.quota import Quota
from opx.core.ingest.services import Catalogue
from opx.core.ingest.signals import Alert, Event, LogLine, Rejected
from opx.engine import access
from opx.engine.access import Access, Refusals
from opx.engine.intake import Incoming, Intake, Limits, Parsed
from opx.engine.ports import Batch, Entry, Token
from opx.errors import Unavailable
from opx.testing.memory import ManualClock, MemoryLog, MemoryStore

NOW = 1_767_225_600_000
ROLES = {"agent": Role.INGEST, "orders-agent": Role.INGEST, "ann": Role.VIEWER, "root": Role.ADMIN}
POINT = {"metric": "up", "value": 1, "labels": {"service": "orders"}}
EVENT = {"specversion": "1.0", "id": "1", "source": "/ci", "type": "deploy", "service": "orders"}
ALERT = {"labels": {"alertname": "Down", "service": "orders"}}
TOLD = {**ALERT, "status": "firing", "endsAt": "0001-01-01T00:00:00Z"}
LINE = {"level": "error", "msg": "failed", "service": "orders"}
COLUMN = {
    "metric": "up", "timestamps": [NOW - 1, NOW], "values": [1, 0], "labels": {"service": "orders"}
}  # fmt: skip
SAMPLE = {"nodeId": "n", "iops": 9, "latency": 1.5, "service": "orders"}


@dataclass
class Door:
    """``front``'s ingest side in this process, and what it wrote."""

    client: httpx.AsyncClient
    intake: Intake
    log: MemoryLog
    store: MemoryStore

    async def post(self, path: str, body: Any, token: str = "agent", **more: Any) -> httpx.Response:
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
        headers |= more.pop("headers", {})
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.client.post(path, content=content, headers=headers, **more)

    def items(self) -> list[object]:
        return [item for chunk in self.log.read(0, 1_000) for item in chunk.items]

    def quarantined(self) -> list[Rejected]:
        return [item for item in self.items() if isinstance(item, Rejected)]


async def open_door(limits: Limits) -> Door:
    clock, store = ManualClock(NOW), MemoryStore()
    tokens = [
        Token(
            id=access.id_of(name),
            name=name,
            roles=(role.value,),
            created_at=NOW,
            services=("orders",) if name == "orders-agent" else (),
        )
        for name, role in ROLES.items()
    ]
    await store.write(lambda tx: tx.save(*tokens))
    log = MemoryLog(clock)
    index = metrics.SeriesIndex(log.series())
    intake = Intake(
        appender=log,
        clock=clock,
        catalogue=lambda: Catalogue(mapping=MappingRule(default_environment="lab")),
        index=index,
        wires={
            "metrics": metrics.parser(index),
            "events": events.parse,
            "alerts": alerts.parse,
            "alertmanager": alertmanager.parse,
            "logs": logs.parse,
        },
        limits=limits,
    )
    app = Starlette(routes=ingest.routes(intake))
    app.state.access = Access(store, clock)
    app.state.refusals = Refusals(store, clock)
    await app.state.access.refresh()
    transport = httpx.ASGITransport(app=app)
    client = httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080")
    return Door(client, intake, log, store)


def run(check: Callable[[Door], Awaitable[None]], limits: Limits | None = None) -> None:
    async def whole() -> None:
        door = await open_door(limits or Limits())
        async with door.client:
            await check(door)

    asyncio.run(whole())


def code(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == answer.status_code
    return answer.status_code, problem["code"]


def test_points_are_acknowledged_once_they_are_in_the_log() -> None:
    """202 with the count; the series travels with its first points and never again."""

    async def check(door: Door) -> None:
        for _ in range(2):
            answer = await door.post("/metrics", [POINT, {**POINT, "value": 2}])
            assert (answer.status_code, answer.json()) == (202, {"accepted": 2})

        first, second = door.log.read(0, 10)
        assert [(s.sid, s.metric, s.identity.environment) for s in first.series] == [
            (0, "up", "lab")
        ]
        assert second.series == ()
        assert second.points is not None
        assert second.points.value.tolist() == [1.0, 2.0]
        assert door.intake.counts == {("metrics", "accepted"): 4}

    run(check)


def test_events_and_alerts_are_taken() -> None:
    """Events: 202 in each of their media types. Alerts: 200 and nothing, as from an
    Alertmanager."""

    async def check(door: Door) -> None:
        for kind in (
            "application/json",
            "application/cloudevents+json; charset=utf-8",
            "application/cloudevents-batch+json",
        ):
            headers = {"Content-Type": kind}
            answer = await door.post("/events", [EVENT], headers=headers)
            assert (answer.status_code, answer.json()) == (202, {"accepted": 1})
        answer = await door.post("/api/v2/alerts", [ALERT, ALERT])
        assert (answer.status_code, answer.content) == (200, b"")

        kinds = [type(item) for item in door.items()]
        assert kinds == [Event, Event, Event, Alert, Alert]

    run(check)


def test_a_webhook_and_log_lines_are_taken() -> None:
    """A webhook's alerts with or without their envelope; lines as NDJSON or JSON: 202."""

    async def check(door: Door) -> None:
        for body in ({"version": "4", "alerts": [TOLD, TOLD]}, [TOLD, TOLD]):
            answer = await door.post("/hooks/alertmanager", body)
            assert (answer.status_code, answer.json()) == (202, {"accepted": 2})
        line = json.dumps(LINE).encode()
        for kind, body in (
            ("application/x-ndjson", line + b"\n" + line + b"\n"),
            ("application/json", b"[" + line + b"," + line + b"]"),
            ("application/json; charset=utf-8", line + b"\n" + line),
        ):
            answer = await door.post("/logs", body, headers={"Content-Type": kind})
            assert (answer.status_code, answer.json()) == (202, {"accepted": 2})

        assert [type(item) for item in door.items()] == [Alert] * 4 + [LogLine] * 6

    run(check)


def test_every_form_of_points_is_taken() -> None:
    """A point, a column and a sample in one body: 202 with the number of points."""

    async def check(door: Door) -> None:
        answer = await door.post("/metrics", [POINT, COLUMN, SAMPLE])

        assert (answer.status_code, answer.json()) == (202, {"accepted": 5})
        [chunk] = door.log.read(0, 10)
        assert chunk.points is not None
        assert chunk.points.value.tolist() == [1.0, 1.0, 0.0, 9.0, 1.5]
        assert [one.metric for one in chunk.series] == ["up", "iops", "latency_ms"]

    run(check)


def test_an_alert_told_both_ways_has_one_fingerprint() -> None:
    """By the API and by the webhook: two items in the log, one identity."""

    async def check(door: Door) -> None:
        await door.post("/api/v2/alerts", [ALERT])
        await door.post("/hooks/alertmanager", {"version": "4", "alerts": [TOLD]})

        one, two = [item for item in door.items() if isinstance(item, Alert)]
        assert (one.fingerprint, one.identity) == (two.fingerprint, two.identity)

    run(check)


def test_good_items_are_kept_and_bad_ones_named_and_quarantined() -> None:
    """422 names each refused item; it lies in the quarantine, its neighbours in the log."""

    async def check(door: Door) -> None:
        bad = {"metric": "m", "value": 1, "timestamp": 5, "labels": {"password": "hunter2"}}
        answer = await door.post("/metrics", [POINT, bad, {"metric": 1}, POINT])

        assert code(answer) == (422, "items_refused")
        problem = answer.json()
        assert (problem["accepted"], problem["rejected"]) == (2, 2)
        assert [(e["index"], e["reason"]) for e in problem["errors"]] == [
            (1, "too_old"),
            (2, "malformed"),
        ]
        assert all(error["detail"] for error in problem["errors"])
        [chunk] = door.log.read(0, 10)
        assert chunk.points is not None
        assert len(chunk.points) == 2
        kept = door.quarantined()
        assert [(r.wire, r.reason, r.source, r.at) for r in kept] == [
            ("metrics", "too_old", "agent", NOW),
            ("metrics", "malformed", "agent", NOW),
        ]
        assert "hunter2" not in kept[0].item
        assert json.loads(kept[1].item) == {"metric": 1}
        assert len({r.id for r in kept}) == 2
        assert door.intake.counts["metrics", "too_old"] == 1

    run(check)


def test_many_bad_items_do_not_fill_the_quarantine() -> None:
    """A hundred are named, the rest are counted, in the answer and in the quarantine."""

    async def check(door: Door) -> None:
        answer = await door.post("/api/v2/alerts", [{}] * 250 + [ALERT])

        problem = answer.json()
        assert (problem["accepted"], problem["rejected"]) == (1, 250)
        assert len(problem["errors"]) == 100
        kept = door.quarantined()
        assert len(kept) == 101
        assert (kept[-1].reason, kept[-1].item) == (
            "and_more",
            "150 more items of the same request",
        )

    run(check)


@pytest.mark.parametrize(
    ("token", "expected"),
    [("", (401, "not_logged_in")), ("x", (401, "not_logged_in")), ("ann", (403, "not_allowed"))],
)
def test_who_may_not_send_is_told_apart_and_journalled(
    token: str, expected: tuple[int, str]
) -> None:
    """Nobody known is 401, somebody without the permission is 403; both are in the journal."""

    async def check(door: Door) -> None:
        answer = await door.post("/metrics", [POINT], token)

        assert code(answer) == expected
        assert ("www-authenticate" in answer.headers) == (expected[0] == 401)
        assert door.log.read(0, 10) == []
        [entry] = await door.store.read(lambda tx: tx.find(Entry))
        assert (entry.kind, entry.actor) == (
            "access.refused",
            "ann" if token == "ann" else "nobody",
        )

    run(check)


def test_admin_may_send_too() -> None:
    """The first token of a fresh install is enough to try it."""

    async def check(door: Door) -> None:
        assert (await door.post("/metrics", POINT, "root")).status_code == 202

    run(check)


@pytest.mark.parametrize(
    ("path", "mine", "other"),
    [
        ("/metrics", POINT, {**POINT, "labels": {"service": "store"}}),
        ("/events", EVENT, {**EVENT, "service": "store"}),
        ("/metrics", {**COLUMN, "timestamps": [NOW], "values": [1]}, {**SAMPLE, "service": "x"}),
        ("/api/v2/alerts", ALERT, {"labels": {"alertname": "Down"}}),
        ("/hooks/alertmanager", TOLD, {**TOLD, "labels": {"alertname": "Down"}}),
        ("/logs", LINE, {**LINE, "service": "store"}),
    ],
)
def test_a_scoped_token_sends_for_its_services_only(path: str, mine: Any, other: Any) -> None:
    """Its own items are kept; another service's are refused one by one."""

    async def check(door: Door) -> None:
        answer = await door.post(path, [other, mine], "orders-agent")

        assert answer.json()["accepted"] == 1
        errors = [(e["index"], e["reason"]) for e in answer.json()["errors"]]
        points = 2 if "iops" in other else 1
        assert errors == [(place, "out_of_scope") for place in range(points)]

    run(check)


GOOD = {
    "/metrics": POINT,
    "/events": EVENT,
    "/api/v2/alerts": ALERT,
    "/hooks/alertmanager": TOLD,
    "/logs": LINE,
}
PATHS = list(GOOD)
ENVELOPES = {
    "/metrics": b'{"metrics": %s}',
    "/hooks/alertmanager": b'{"version": "4", "alerts": %s, "status": "firing"}',
}


def test_every_ingest_route_is_in_these_tables() -> None:
    """None is left out of the tests below."""
    assert sorted(PATHS) == sorted(ingest.PATHS)
    assert set(ingest.PATHS.values()) == set(ingest.MEDIA_TYPES)


def nested(opening: str, depth: int) -> bytes:
    closing = {"[": "]", '{"a": ': "}"}[opening]
    return (opening * depth + "1" + closing * depth).encode()


@pytest.mark.parametrize("depth", [1_500, 2_000, 100_000])
@pytest.mark.parametrize("opening", ["[", '{"a": '])
@pytest.mark.parametrize("path", PATHS)
def test_a_deep_item_costs_itself_alone(path: str, opening: str, depth: int) -> None:
    """Its neighbours are kept; it is refused with its place and lies in the quarantine. So it is
    in the envelope of a wire that has one, on a line of its own, and alone."""
    good, deep = json.dumps(GOOD[path]).encode(), nested(opening, depth)
    listed = b"[" + good + b", " + deep + b", " + good + b"]"
    bodies = [(listed, 2)]
    if path in ENVELOPES:
        bodies.append((ENVELOPES[path] % listed, 2))
    if path == "/logs":
        bodies.append((b"\n".join([good, deep, good]), 2))
    bodies.append((b"[" + deep + b"]" if opening == "[" else deep, 0))

    async def check(door: Door) -> None:
        for body, kept in bodies:
            answer = await door.post(path, body)
            assert code(answer) == (422, "items_refused")
            problem = answer.json()
            assert (problem["accepted"], problem["rejected"]) == (kept, 1)
            errors = [(e["index"], e["reason"]) for e in problem["errors"]]
            assert errors == [(kept // 2, "too_deep")]
        refused = [(r.reason, r.item) for r in door.quarantined()]
        assert refused == [("too_deep", deep[:4_096].decode())] * len(bodies)
        wire = ingest.PATHS[path]
        assert door.intake.counts[wire, "accepted"] == sum(kept for _, kept in bodies)

    run(check)


@pytest.mark.parametrize(
    "deep",
    [
        b"[" * 2_000 + b"]" * 1_999,
        b"[" * 2_000 + b"]" * 2_001,
        b"[" * 2_000 + b"}" * 2_000,
        nested("[", 2_000) + b" 1",
        nested("[", 2_000) * 2,
        nested("[", 2_000) + b", nonsense",
        b'"' + nested("[", 2_000),
    ],
)
@pytest.mark.parametrize("path", PATHS)
def test_what_is_deep_and_no_json_is_400(path: str, deep: bytes) -> None:
    """Where brackets and quotes do not match, nobody can say where an item ends."""
    good = json.dumps(GOOD[path]).encode()

    async def check(door: Door) -> None:
        answer = await door.post(path, b"[" + good + b"," + deep + b"," + good + b"]")
        assert code(answer) == (400, "bad_input")
        assert door.log.read(0, 10) == []

    run(check)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xff", b"[" * 100_000, b"[1] 2"])
@pytest.mark.parametrize("path", PATHS)
def test_what_is_not_json_is_400(path: str, body: bytes) -> None:
    """Nothing of it is kept."""

    async def check(door: Door) -> None:
        assert code(await door.post(path, body)) == (400, "bad_input")
        assert door.log.read(0, 10) == []

    run(check)


def test_the_kind_of_body_must_be_said() -> None:
    """415 for another media type, for none, and for another compression."""

    async def check(door: Door) -> None:
        for headers in (
            {"Content-Type": "text/plain"},
            {"Content-Type": ""},
            {"Content-Type": "application/cloudevents+json"},
            {"Content-Encoding": "br"},
        ):
            answer = await door.post("/metrics", [POINT], headers=headers)
            assert code(answer) == (415, "unsupported_type")

    run(check)


def test_a_body_is_bounded_however_long_it_says_it_is() -> None:
    """By its announced length, while it streams, and after decompression."""
    limit = Limits(body=1_000)

    async def stream(size: int) -> AsyncIterator[bytes]:
        for _ in range(size // 100):
            yield b" " * 100

    async def check(door: Door) -> None:
        zipped = {"Content-Encoding": "gzip"}
        answers = [
            await door.post("/metrics", b" " * 1_001),
            await door.client.post(
                "/metrics",
                content=stream(1_100),
                headers={"Content-Type": "application/json", "Authorization": "Bearer agent"},
            ),
            await door.post("/metrics", gzip.compress(b" " * 1_001), headers=zipped),
            await door.post("/metrics", gzip.compress(b"\0" * 500_000), headers=zipped),
            await door.post("/metrics", b"[]", headers={"Content-Length": "9" * 5_000}),
        ]
        assert [code(answer) for answer in answers] == [(413, "too_large")] * 5

    run(check, limit)


def test_bodies_that_do_not_end_fill_no_memory() -> None:
    """Of one token, and of all, so many bytes are kept that were not taken in yet; the next ones
    are told to come back, and once room is made they are taken."""
    goes_on, waiting = asyncio.Event(), asyncio.Semaphore(0)

    async def body() -> AsyncIterator[bytes]:
        yield b" " * 900
        waiting.release()
        await goes_on.wait()
        yield json.dumps([POINT]).encode()

    async def check(door: Door) -> None:
        def begin(token: str) -> asyncio.Task[httpx.Response]:
            headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
            return asyncio.create_task(
                door.client.post("/metrics", content=body(), headers=headers)
            )

        begun = []
        for token in ("agent", "agent", "orders-agent", "orders-agent"):
            begun.append(begin(token))
            await waiting.acquire()
            if len(begun) == 2:
                refused = await begin("agent")
                assert code(refused) == (503, "unavailable")
                assert refused.headers["retry-after"] == "1"
        assert code(await begin("root")) == (503, "unavailable")
        goes_on.set()
        assert [(await one).status_code for one in begun] == [202] * 4
        assert (await begin("root")).status_code == 202

    run(check, Limits(body=1_000, unfinished=2_500, all_unfinished=4_400))


def test_what_is_decompressed_takes_room_too() -> None:
    """A small body that becomes a large one counts as what it becomes."""
    body = gzip.compress(json.dumps([POINT]).encode().ljust(1_000))

    async def check(door: Door) -> None:
        answer = await door.post("/metrics", body, headers={"Content-Encoding": "gzip"})
        assert code(answer) == (503, "unavailable")
        assert (await door.post("/metrics", [POINT])).status_code == 202

    run(check, Limits(body=1_000, unfinished=900))


def test_gzip_is_read_up_to_the_limit() -> None:
    """A body of exactly the limit passes, compressed or not; a broken one is 400."""
    body = json.dumps([POINT]).encode().ljust(1_000)
    zipped = {"Content-Encoding": "gzip"}

    async def check(door: Door) -> None:
        assert (await door.post("/metrics", body)).status_code == 202
        answer = await door.post("/metrics", gzip.compress(body), headers=zipped)
        assert (answer.status_code, answer.json()) == (202, {"accepted": 1})
        for broken in (b"nope", gzip.compress(body)[:-9], gzip.compress(body) + b"more"):
            assert code(await door.post("/metrics", broken, headers=zipped)) == (400, "bad_input")

    run(check, Limits(body=1_000))


def test_a_batch_that_was_refused_is_told_of_until_one_is_kept() -> None:
    """Nothing else tells of it where the ticks still fit. It is not told for ever: whoever was
    sent elsewhere by it would never come back."""

    async def check(door: Door) -> None:
        assert door.intake.keeping()
        door.log.full = True
        assert code(await door.post("/metrics", [POINT])) == (503, "unavailable")
        assert not door.intake.keeping()
        await door.post("/metrics", b"nothing of it is kept")
        assert not door.intake.keeping()
        door.log.full = False
        assert (await door.post("/metrics", [POINT])).status_code == 202
        assert door.intake.keeping()

        door.log.full = True
        await door.post("/metrics", [POINT])
        clock = door.intake.clock
        assert isinstance(clock, ManualClock)
        await clock.advance(59_999)
        assert not door.intake.keeping()
        await clock.advance(1)
        assert door.intake.keeping()

    run(check)


def test_nobody_waits_for_a_large_body() -> None:
    """While one is read, small ones are taken and answered; large ones are read one by one, and
    each is answered with what was in it."""
    read_on, reading, most = threading.Event(), [0], [0]

    def slow(body: bytes, incoming: Incoming) -> Parsed:
        reading[0] += 1
        most[0] = max(most[0], reading[0])
        assert read_on.wait(30), "whoever would let this go on waits for it"
        parsed = alerts.parse(body, incoming)
        reading[0] -= 1
        return parsed

    async def check(door: Door) -> None:
        door.intake.wires = {**door.intake.wires, "alerts": slow}
        many = [{"labels": {**ALERT["labels"], "n": str(n)}} for n in range(1_000)]
        large = json.dumps([*many, {"labels": {}}]).encode()
        taking = [
            asyncio.create_task(door.intake.take("alerts", large, "agent", frozenset()))
            for _ in range(3)
        ]
        while not reading[0]:
            await asyncio.sleep(0.001)
        assert (await door.post("/events", EVENT)).status_code == 202
        read_on.set()
        receipts = [await one for one in taking]
        assert [(one.accepted, one.rejected) for one in receipts] == [(1_000, 1)] * 3
        assert most == [1]
        assert len(door.quarantined()) == 3

    run(check)


def test_each_caller_has_its_own_limit() -> None:
    """429 with the wait, for the caller that is too fast and nobody else, until time passes."""

    async def check(door: Door) -> None:
        assert (await door.post("/metrics", POINT)).status_code == 202
        answer = await door.post("/metrics", POINT)
        assert code(answer) == (429, "too_fast")
        assert answer.headers["retry-after"] == "1"
        assert (await door.post("/metrics", POINT, "root")).status_code == 202
        clock = door.intake.clock
        assert isinstance(clock, ManualClock)
        await clock.advance(1_000)
        assert (await door.post("/metrics", POINT)).status_code == 202

    run(check, Limits(quota=Quota(rate=1, burst=1)))


def test_a_log_that_cannot_be_written_is_503_and_nothing_is_lost_after() -> None:
    """503 with Retry-After; the series of the lost batch travels with the next one."""

    async def check(door: Door) -> None:
        door.log.full = True
        answer = await door.post("/metrics", POINT)
        assert code(answer) == (503, "unavailable")
        assert answer.headers["retry-after"] == "1"
        assert door.intake.counts == {}

        door.log.full = False
        assert (await door.post("/metrics", POINT)).status_code == 202
        [chunk] = door.log.read(0, 10)
        assert [series.metric for series in chunk.series] == ["up"]

    run(check)


def test_a_restart_goes_on_with_the_same_series() -> None:
    """An index made from the log's series gives a known series its old number."""

    async def check(door: Door) -> None:
        await door.post("/metrics", [POINT, {**POINT, "metric": "down"}])
        index = metrics.SeriesIndex(door.log.series())
        door.intake.index = index
        door.intake.wires = {"metrics": metrics.parser(index)}

        await door.post("/metrics", [{**POINT, "metric": "down"}, {**POINT, "metric": "new"}])
        chunk = door.log.read(0, 10)[-1]
        assert chunk.points is not None
        assert chunk.points.sid.tolist() == [1, 2]
        assert [series.sid for series in chunk.series] == [2]

    run(check)


class FlakyLog(MemoryLog):
    """Takes its time, finishes out of order, and cannot write every fourth batch."""

    calls = 0

    async def append(self, batch: Batch) -> int:
        self.calls += 1
        call = self.calls
        for _ in range(call % 5):
            await asyncio.sleep(0)
        if call % 4 == 0:
            raise Unavailable("the disk is full")
        return await super().append(batch)


def test_many_at_once_never_use_a_series_the_log_does_not_know() -> None:
    """Requests that meet the same new series at once each bring it along until it is kept,
    so a batch that fails takes no other with it."""

    async def check(door: Door) -> None:
        door.log = FlakyLog(door.intake.clock)
        door.intake.appender = door.log
        bodies = [
            [{"metric": metric, "value": n} for metric in (f"m{n % 7}", f"n{n}")] for n in range(40)
        ]
        answers = await asyncio.gather(*(door.post("/metrics", body) for body in bodies))

        assert [answer.status_code for answer in answers].count(503) == 10
        assert [answer.status_code for answer in answers].count(202) == 30
        known: set[int] = set()
        for chunk in door.log.read(0, 1_000):
            known |= {series.sid for series in chunk.series}
            assert chunk.points is not None
            assert known.issuperset(chunk.points.sid.tolist())
        assert len(door.log.series()) == 7 + 30

    run(check)


def test_an_empty_list_is_nothing() -> None:
    """It is acknowledged and leaves no trace in the log."""

    async def check(door: Door) -> None:
        assert (await door.post("/metrics", [])).json() == {"accepted": 0}
        assert door.log.read(0, 10) == []

    run(check)
