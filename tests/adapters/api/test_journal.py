# SPDX-License-Identifier: Apache-2.0

"""The journal over HTTP: pages, the live stream, the proof of its chain, what was kept."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Iterator
from random import Random
from typing import Any

import httpx
import pytest

from opx.core.base.time import SECOND
from opx.core.decide.roles import Role
from opx.core.ingest.signals import Rejected, Severity
from opx.core.notify.notice import Edge, Notice
from opx.engine import journal
from opx.engine.journal import audit
from opx.engine.ports import Entry, Seal

NOW = 1_767_225_600_000


def lines(n: int, subject: str = "incident-1") -> list[Entry]:
    return [journal.entry(NOW + k, subject, "thing.happened", "brain", n=k) for k in range(n)]


def test_the_journal_comes_in_pages(client: httpx.Client, world: Any) -> None:
    """Newest first, or from an entry on, oldest first; ``next`` leads on until there is no
    more; a subject narrows it."""
    world.write_down(*lines(5), *lines(2, "incident-2"))

    def page(**params: Any) -> tuple[list[int], int | None]:
        answer = client.get("/api/v1/journal", headers=world.auth(), params=params).json()
        return [row["seq"] for row in answer["items"]], answer["next"]

    assert page(limit=3) == ([7, 6, 5], 5)
    assert page(limit=5, before=5) == ([4, 3, 2, 1], None)
    assert page(limit=3, after=0) == ([1, 2, 3], 3)
    assert page(limit=3, after=3) == ([4, 5, 6], 6)
    assert page(limit=3, after=6) == ([7], None)
    assert page(subject="incident-2") == ([7, 6], None)
    assert page(subject="incident-2", after=0) == ([6, 7], None)


def events(answer: httpx.Response) -> Iterator[tuple[str, dict[str, Any]]]:
    id = ""
    for line in answer.iter_lines():
        if line.startswith("id: "):
            id = line[4:]
        elif line.startswith("data: "):
            yield id, json.loads(line[6:])


def test_a_stream_shows_what_happens(client: httpx.Client, world: Any) -> None:
    """Without an id the stream begins now: what was before is not in it, what comes is."""
    world.write_down(*lines(3))
    with client.stream("GET", "/api/v1/stream", headers=world.auth(Role.VIEWER)) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        world.write_down(*lines(2))
        stream = events(answer)
        first, second = next(stream), next(stream)

    assert (first[0], second[0]) == ("4", "5")
    assert first[1]["kind"] == "thing.happened"
    assert first[1]["at"] == "2026-01-01T00:00:00.000Z"


def test_a_stream_resumes_where_it_broke_off(client: httpx.Client, world: Any) -> None:
    """The last id a client saw brings everything after it, however much, once each."""
    world.write_down(*lines(450))
    headers = {**world.auth(), "Last-Event-ID": "7"}
    with client.stream("GET", "/api/v1/stream", headers=headers) as answer:
        stream = events(answer)
        seen = [int(next(stream)[0]) for _ in range(443)]

    assert seen == list(range(8, 451))


def test_a_stream_loses_and_repeats_nothing(client: httpx.Client, world: Any) -> None:
    """A client that breaks off again and again, while others write, and says each time where
    it was, sees every entry once and in order; also when it broke off before the first."""
    writing = asyncio.run_coroutine_threadsafe(_busily(world, 300), world.loop)
    last, seen = "", []
    while len(seen) < 300:
        headers = {**world.auth(), **({"Last-Event-ID": last} if last else {})}
        with client.stream("GET", "/api/v1/stream", headers=headers) as answer:
            for taken, (id, row) in enumerate(places(answer)):
                last = id
                seen += [row["body"]["n"]] if row else []
                if taken == 7 or len(seen) == 300 or not last:
                    break
    writing.result(20)

    assert seen == list(range(300))


def test_a_stream_that_is_cut_anywhere_loses_and_repeats_nothing(
    client: httpx.Client, world: Any
) -> None:
    """The connection is cut after any number of bytes, mostly in the middle of an entry; a client
    that counts only what it has whole, and says which was the last, misses and repeats nothing."""
    random = Random(7)
    entries = [
        journal.entry(NOW + n, "x", "thing.happened", "brain", n=n, text="é" * random.randrange(90))
        for n in range(200)
    ]
    writing = asyncio.run_coroutine_threadsafe(_in_turn(world, entries), world.loop)
    last, seen, cuts = "0", list[int](), 0
    while len(seen) < 200:
        raw = _bytes(client, world, last, random.randrange(400, 4_000))
        cuts += 1
        for message in raw.split(b"\n\n")[:-1]:  # what follows the last is not whole
            fields = dict(line.split(b": ", 1) for line in message.split(b"\n"))
            last = fields[b"id"].decode()
            seen += [json.loads(fields[b"data"])["body"]["n"]] if b"data" in fields else []
    writing.result(20)

    assert seen == list(range(200))
    assert cuts > 20


def _bytes(client: httpx.Client, world: Any, last: str, most: int) -> bytes:
    """So many bytes of the stream, as they came; then the connection is cut."""
    raw = b""
    headers = {**world.auth(), "Last-Event-ID": last}
    with client.stream("GET", "/api/v1/stream", headers=headers) as answer:
        for some in answer.iter_raw():
            raw += some
            if len(raw) >= most or (b'"n":199,' in raw and raw.endswith(b"\n\n")):
                break
    return raw[:most]


async def _in_turn(world: Any, entries: list[Entry]) -> None:
    """Write them down, a few at a time."""
    for first in range(0, len(entries), 3):
        some = entries[first : first + 3]
        await world.store.write(lambda tx, some=some: tx.append(*some))
        await asyncio.sleep(0.001)


async def _busily(world: Any, count: int) -> None:
    """Write so many entries down in commits of one to three, once somebody listens."""
    while not world.front.streams:
        await asyncio.sleep(0.001)
    entries = lines(count)
    while entries:
        some = [entries.pop(0) for _ in range(min(len(entries), 1 + len(entries) % 3))]
        await world.store.write(lambda tx, some=some: tx.append(*some))
        await asyncio.sleep(0.001)


def places(answer: httpx.Response) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every message: its id, and its entry or {} where it only tells the place."""
    id, row = "", {}
    for line in answer.iter_lines():
        if line.startswith("id: "):
            id = line[4:]
        elif line.startswith("data: "):
            row = json.loads(line[6:])
        elif not line:
            yield id, row
            row = {}


def test_a_stream_has_a_heartbeat_that_tells_the_place(client: httpx.Client, world: Any) -> None:
    """Nothing happens, and still something comes, with the id to go on from: also past what
    this client may not see."""
    world.write_down(*lines(3))
    with client.stream("GET", "/api/v1/stream", headers=world.auth(Role.VIEWER)) as answer:
        stream = places(answer)
        assert next(stream) == ("3", {})
        client.get("/api/v1/tokens")
        assert next(stream) == ("3", {})
        assert next(stream) == ("4", {})


def test_an_id_of_a_journal_that_is_no_more_is_refused(client: httpx.Client, world: Any) -> None:
    """After a restore a client from before is told so, instead of hearing nothing for long."""
    world.write_down(*lines(3))

    answer = client.get("/api/v1/stream", headers={**world.auth(), "Last-Event-ID": "4"})

    assert (answer.status_code, answer.json()["code"]) == (400, "bad_input")


def test_a_stream_ends_with_its_token_in_the_middle_of_a_page(
    client: httpx.Client, world: Any
) -> None:
    """Revoking ends a stream that still has much to tell, not only one that waits."""
    made = client.post(
        "/api/v1/tokens", headers=world.auth(), json={"name": "w", "roles": ["viewer"]}
    ).json()
    # More than the buffers in between can hold.
    large = [journal.entry(NOW, "x", "thing.happened", "brain", text="a" * 10_000)] * 3_000
    world.write_down(*large)
    headers = {"Authorization": f"Bearer {made['token']}", "Last-Event-ID": "0"}
    with client.stream("GET", "/api/v1/stream", headers=headers) as answer:
        stream = events(answer)
        next(stream)
        client.delete(f"/api/v1/tokens/{made['id']}", headers=world.auth())
        rest = sum(1 for _ in stream)

    assert rest < 2_999


def test_what_was_suppressed_is_listed_with_its_reason(client: httpx.Client, world: Any) -> None:
    """Newest first, by pages, of one service or of any; nothing else of the journal."""
    told = [("orders", "told_again"), ("stock", "told_again"), ("orders", "late")]
    for n, (service, reason) in enumerate(told):
        what = {"finding": f"f{n}", "rule": "alert", "reason": reason}
        world.write_down(
            journal.entry(NOW + n, service, journal.SUPPRESSED, "brain", **what), *lines(1, service)
        )

    def page(**params: Any) -> tuple[list[tuple[str, str]], int | None]:
        answer = client.get("/api/v1/suppressed", headers=world.auth(Role.VIEWER), params=params)
        rows = answer.json()["items"]
        seen = [(row["body"]["finding"], row["body"]["reason"]) for row in rows]
        return seen, answer.json()["next"]

    assert page() == ([("f2", "late"), ("f1", "told_again"), ("f0", "told_again")], None)
    assert page(limit=2) == ([("f2", "late"), ("f1", "told_again")], 3)
    assert page(limit=2, before=3) == ([("f0", "told_again")], None)
    assert page(service="orders") == ([("f2", "late"), ("f0", "told_again")], None)


def test_a_stream_hides_what_is_about_access(client: httpx.Client, world: Any) -> None:
    """Who got in and who did not is for auditors, not for everybody who watches."""
    with client.stream("GET", "/api/v1/stream", headers=world.auth(Role.VIEWER)) as answer:
        client.get("/api/v1/tokens")
        world.write_down(*lines(1))
        first = next(events(answer))

    assert first == (first[0], {**first[1], "kind": "thing.happened"})
    assert first[0] == "2"


def test_a_stream_ends_with_the_right_to_it(client: httpx.Client, world: Any) -> None:
    """When the token is revoked the stream ends; so it does when opx stops."""
    made = client.post(
        "/api/v1/tokens", headers=world.auth(), json={"name": "w", "roles": ["viewer"]}
    ).json()
    headers = {"Authorization": f"Bearer {made['token']}"}
    with client.stream("GET", "/api/v1/stream", headers=headers) as answer:
        client.delete(f"/api/v1/tokens/{made['id']}", headers=world.auth())
        assert [row["kind"] for _, row in events(answer)] == []
    with client.stream("GET", "/api/v1/stream", headers=world.auth()) as answer:
        world.loop.call_soon_threadsafe(world.front.live.close)
        assert list(events(answer)) == []


def test_streams_are_bounded(client: httpx.Client, world: Any) -> None:
    """One more than fits is told to come back later."""
    world.front.streams.update({f"t{n}": 8 for n in range(8)})

    answer = client.get("/api/v1/stream", headers=world.auth())

    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")


def test_nobody_takes_the_places_of_all(client: httpx.Client, world: Any) -> None:
    """One token has eight streams; the ninth must wait, another's first need not, and a place
    that is given up is free again."""
    mine, other = world.auth(Role.VIEWER), world.auth(Role.ADMIN)
    reading: list[Iterator[str]] = []
    with contextlib.ExitStack() as open_ones:

        def begin(headers: dict[str, str]) -> int:
            answer = open_ones.enter_context(
                client.stream("GET", "/api/v1/stream", headers=headers)
            )
            if answer.status_code == 200:
                reading.append(answer.iter_lines())  # or it would be closed
                next(reading[-1])
            return answer.status_code

        assert [begin(mine) for _ in range(9)] == [200] * 8 + [503]
        assert begin(other) == 200
    while world.front.streams:
        time.sleep(0.001)
    with client.stream("GET", "/api/v1/stream", headers=mine) as again:
        assert again.status_code == 200


def test_an_odd_last_event_id_is_refused(client: httpx.Client, world: Any) -> None:
    """An id that no stream gave out is the caller's mistake."""
    headers = {**world.auth(), "Last-Event-ID": "-1"}
    assert client.get("/api/v1/stream", headers=headers).status_code == 422


def sealed(world: Any, entries: list[Entry], each: int) -> list[Seal]:
    """Write ``entries`` down and seal them in batches of ``each``; anchor every seal."""
    world.write_down(*entries)
    stored = world.call(world.store.read(lambda tx: tx.find(Entry)))
    seals: list[Seal] = []
    for start in range(0, len(stored), each):
        before = seals[-1] if seals else None
        seals.append(audit.seal(before, stored[start : start + each], NOW + SECOND))
    world.put(*seals)
    world.anchors += [audit.anchor(one) for one in seals]
    return seals


def verify(client: httpx.Client, world: Any, **params: Any) -> dict[str, Any]:
    auth = world.auth(Role.APPROVER)
    answer = client.get("/api/v1/audit/verify", params=params, headers=auth)
    return dict(answer.json())


def test_a_whole_journal_is_proven(client: httpx.Client, world: Any) -> None:
    """Sealed entries are vouched for; those not yet sealed are counted apart."""
    sealed(world, lines(2_500), 400)
    world.write_down(*lines(3))

    report = verify(client, world)

    assert (report["ok"], report["sealed"], report["waiting"]) == (True, 2_500, 3)
    assert (report["anchors"], report["bad"], report["detail"]) == (7, None, "")


def test_a_long_journal_is_proven_piece_by_piece(client: httpx.Client, world: Any) -> None:
    """A request checks some thousand entries and says where it got; the last one counts what
    waits. What is cut off between two requests is missed."""
    seals = sealed(world, lines(12_000), 1_000)
    world.write_down(*lines(3))

    reports = [verify(client, world)]
    while reports[-1]["more"]:
        last = reports[-1]
        reports.append(verify(client, world, after=last["sealed"], head=last["head"]))

    assert [one["sealed"] for one in reports] == [5_000, 10_000, 12_000]
    assert [one["head"] for one in reports] == [seals[n].hash for n in (4, 9, 11)]
    assert (reports[-1]["ok"], reports[-1]["waiting"]) == (True, 3)

    world.store._journal = world.store._journal[:11_000]
    cut = verify(client, world, after=10_000, head=reports[1]["head"])
    assert (cut["ok"], cut["bad"], cut["through"]) == (False, 11_001, 12_000)


@pytest.mark.parametrize(("after", "head"), [(10, "0" * 64), (9, ""), (0, "0" * 64), (20, "9th")])
def test_the_proof_goes_on_only_from_the_end_of_a_seal(
    client: httpx.Client, world: Any, after: int, head: str
) -> None:
    """Whoever names another place, or a seal that is not what it was, begins anew."""
    sealed(world, lines(20), 10)

    answer = client.get(
        "/api/v1/audit/verify", params={"after": after, "head": head}, headers=world.auth()
    )

    assert answer.status_code in (400, 422)


def test_a_changed_entry_is_found(client: httpx.Client, world: Any) -> None:
    """Somebody who edits one line under opx's feet is found to within its seal."""
    sealed(world, lines(30), 10)
    kept = list(world.store._journal)
    kept[14] = Entry(
        seq=15, at=kept[14].at, subject="incident-1", kind="thing.happened", actor="nobody"
    )
    world.store._journal = tuple(kept)

    report = verify(client, world)

    assert (report["ok"], report["bad"], report["through"]) == (False, 11, 20)
    assert report["sealed"] == 10


def test_quarantine_and_notices_are_newest_first(client: httpx.Client, world: Any) -> None:
    """What was not taken in has its reason; what people were told is there."""
    for n in range(3):
        world.put(
            Rejected(id=f"q{n}", at=NOW + n, wire="metrics", reason="too_old", item="{}"),
            Notice(
                id=f"n{n}",
                incident="incident-1",
                edge=Edge.OPENED,
                severity=Severity.SEV2,
                title=f"t{n}",
                text="",
                at=NOW + n,
            ),
        )

    headers = world.auth(Role.VIEWER)
    quarantine = client.get("/api/v1/quarantine", headers=headers, params={"limit": 2}).json()
    where = {"limit": 2, "before": quarantine["next"]}
    rest = client.get("/api/v1/quarantine", headers=headers, params=where).json()
    notices = client.get("/api/v1/notices", headers=headers).json()

    assert [row["id"] for row in quarantine["items"]] == ["q2", "q1"]
    assert quarantine["items"][0]["reason"] == "too_old"
    assert ([row["id"] for row in rest["items"]], rest["next"]) == (["q0"], None)
    assert [row["title"] for row in notices["items"]] == ["t2", "t1", "t0"]
    assert notices["items"][0]["undelivered"] == []
