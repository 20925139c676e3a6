# SPDX-License-Identifier: Apache-2.0

"""How long people wait for a page of incidents, and to acknowledge one, when there are many.

A hundred thousand incidents of the past are put into the store as rows; some more are opened
by alerts, as they would be. Then points come in by batches while a person turns pages and
acknowledges one incident after the other. A request counts from its first byte to the end of
its answer, as the client sees it.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections import defaultdict
from collections.abc import Iterator

import httpx

from opx.adapters.stores.sql import SqlStore
from opx.bench import rig
from opx.bench.figures import Figure, Tell, share
from opx.bench.rig import Rig
from opx.bench.sender import SERVICES, Plan, Sent
from opx.core.base import ids
from opx.core.base.time import DAY, MINUTE, Ms
from opx.core.correlate.episode import Episode, Group
from opx.core.incident.incident import Incident, Priority, Status
from opx.core.ingest.signals import Severity
from opx.engine.ports import WriteTx
from opx.errors import OpxError
from opx.playground import processes

PAST = 100_000
AT_ONCE = 5_000
"""Rows of one commit, when they are put there."""
PAGE = 20
RATE, BATCH = 100_000, 1_000
"""Points a second, and in a request."""
TURNS = 4
"""Pages that are looked at before one incident is acknowledged."""
READING_S = 0.05
WARM_S = 3.0
OPEN_WITHIN_S = 60.0
LONGEST_S = 600.0
PAGES: tuple[tuple[str, dict[str, str]], ...] = (
    ("newest", {}),
    ("the next", {"cursor": ""}),
    ("open", {"status": "open"}),
    ("of a service", {"service": "shop-07"}),
)
"""What is turned to, in turn."""

Took = dict[str, list[float]]


def measure(times: int, tell: Tell) -> list[Figure]:
    """``times``: incidents that are acknowledged."""
    with rig.fresh("page", tokens=2) as made:
        tell(f"page: putting {PAST:,} incidents into the store")
        asyncio.run(_fill(f"sqlite:///{made.product.data / 'opx.db'}", processes.now()))
        waiting = _open(made, times)
        tell(f"page: {len(waiting)} are open; points come in")
        plan = Plan(
            port=made.port,
            tokens=[made.tokens[0]],
            wire="metrics",
            batch=BATCH,
            rate=RATE,
            seconds=LONGEST_S,
        )
        sender = rig.sender(plan)
        try:
            time.sleep(WARM_S)
            took = _work(made, waiting)
            lag = int(made.client.status()["lag_ms"] or 0)
            return _figures(took, sender.stop(), lag)
        finally:
            sender.kill()


async def _fill(url: str, now: Ms) -> None:
    """Closed incidents of the last month, with the episodes they come from."""
    store = SqlStore(url)
    for first in range(0, PAST, AT_ONCE):
        rows = list(
            itertools.chain.from_iterable(
                _past(number, now) for number in range(first, first + AT_ONCE)
            )
        )

        def put(tx: WriteTx, rows: list[object] = rows) -> None:
            tx.add(*rows)

        await store.write(put)
    await store.close()


def _past(number: int, now: Ms) -> Iterator[object]:
    """Number 0 is a month old, the last a day."""
    at = now - DAY - (PAST - number) * (29 * DAY // PAST)
    group = Group("default", f"shop-{number % SERVICES:02d}")
    episode = Episode(
        id=ids.derived("bench", number),
        group=group,
        started_at=at,
        last_at=at + MINUTE,
        quiet_since=at + MINUTE,
        ended_at=at + 6 * MINUTE,
        severity=Severity.SEV3,
    )
    yield episode
    yield Incident(
        id=Incident.id_of(episode.id),
        episode=episode.id,
        group=group,
        status=Status.CLOSED if number % 3 else Status.RESOLVED,
        severity=Severity.SEV3,
        priority=Priority.P2,
        title=f"{group.service} is slow",
        opened_at=at,
        updated_at=at + 6 * MINUTE,
        symptoms=1,
        resolved_at=at + 6 * MINUTE,
    )


def _open(made: Rig, count: int) -> list[str]:
    """Have an alert of each of ``count`` services; the incidents they open."""
    alerts = [
        {"labels": {"alertname": "Slow", "service": f"busy-{n:04d}", "severity": "warning"}}
        for n in range(count)
    ]
    headers = {"Authorization": f"Bearer {made.tokens[1]}", "Content-Type": "application/json"}
    answer = httpx.post(
        f"{made.product.address}/api/v2/alerts", content=json.dumps(alerts), headers=headers
    )
    if not answer.is_success:
        raise OpxError(f"opx answered the alerts with {answer.status_code}")
    there = f"SELECT id FROM incidents WHERE status = '{Status.OPEN}'"

    def opened() -> list[str]:
        found = [str(id) for (id,) in rig.rows(made.product.data, there)]
        return found if len(found) == count else []

    return processes.wait_for(opened, OPEN_WITHIN_S, f"{count} open incidents")


def _work(made: Rig, waiting: list[str]) -> Took:
    """Turn pages and acknowledge; how long each took, in ms."""
    took: Took = defaultdict(list)
    token = (made.product.data / "admin.token").read_text().strip()
    headers = {"Authorization": f"Bearer {token}"}
    turning = itertools.cycle(PAGES)
    with httpx.Client(base_url=made.product.address, headers=headers, timeout=60) as client:

        def ask(kind: str, method: str, path: str, **what: dict[str, str | int]) -> httpx.Response:
            began = time.perf_counter()
            answer = client.request(method, f"/api/v1/incidents{path}", **what)  # type: ignore[arg-type]
            took[kind].append((time.perf_counter() - began) * 1000)
            if not answer.is_success:
                raise OpxError(f"opx answered {method} {path} with {answer.status_code}")
            time.sleep(READING_S)
            return answer

        first = ask("newest", "GET", "", params={"limit": PAGE}).json()
        for incident in waiting:
            for kind, narrow in itertools.islice(turning, TURNS):
                narrowed = {**narrow, "cursor": first["next"]} if "cursor" in narrow else narrow
                ask(kind, "GET", "", params={"limit": PAGE, **narrowed})
            ask("acknowledge", "POST", f"/{incident}/acknowledge")
    return took


def _figures(took: Took, sent: Sent, lag: Ms) -> list[Figure]:
    acks = sorted(took.pop("acknowledge"))
    pages = sorted(itertools.chain.from_iterable(took.values()))
    worst = ", ".join(f"{kind} {max(of):.0f}" for kind, of in took.items())
    load = f"while {sent.rate:,.0f} points/s came in; opx was {lag} ms behind at the end"
    return [
        Figure(
            name=f"page of {PAGE} from {PAST:,} incidents, p99",
            unit="ms",
            measured=round(share(pages, 0.99), 1),
            anchor="Keep 10-13 s at 15,000",
            must="100 ms",
            aim="20 ms",
            note=f"p50 {share(pages, 0.5):.1f} of {len(pages)}, the worst: {worst} ms; {load}",
        ),
        Figure(
            name="acknowledge one, p99",
            unit="ms",
            measured=round(share(acks, 0.99), 1),
            must="100 ms",
            aim="20 ms",
            note=f"p50 {share(acks, 0.5):.1f} of {len(acks)}; {load}",
        ),
    ]
