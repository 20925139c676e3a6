# SPDX-License-Identifier: Apache-2.0

"""How soon a metric that is too high is an incident, while opx answers many requests.

Services with one threshold between them; a sender posts single points of other series. For
one service after the other the metric begins to breach the limit and is sent five times a
second; it counts from the first of these points until the incident stands in the store, where
anybody could see it. The window of the rule, a second, is part of it.
"""

from __future__ import annotations

import json
import sqlite3
import time
from contextlib import closing

import httpx

from opx.bench import rig
from opx.bench.figures import Figure, Tell, share
from opx.bench.rig import Rig
from opx.bench.sender import Plan, Sent
from opx.errors import OpxError, Unavailable
from opx.playground import demo

RATE = 2_000
"""Requests a second, of a point each."""
TOKENS = 4
METRIC = "queue_length"
EVERY_S = 0.13
"""Between two breaches: no divisor of the window, so that they fall anywhere in it."""
SENT_EVERY_S = 0.2
LOOK_S = 0.005
WITHIN_S = 60.0
WARM_S = 3.0
LONGEST_S = 900.0
_RULE = f"""\
apiVersion: opx/v1
kind: DetectionRule
metadata: {{name: queue}}
spec:
  threshold: {{metric: {METRIC}, stat: max, window: 1s, above: 100}}
  severity: sev3
  justification: what is to be measured breaches it, and nothing else
"""


def measure(times: int, tell: Tell) -> list[Figure]:
    """``times``: breaches, each of a service of its own."""
    with rig.fresh("latency", tokens=TOKENS + 1) as made:
        made.client.apply(_RULE)
        time.sleep(demo.LEARN_S)
        *tokens, own = made.tokens
        plan = Plan(
            port=made.port, tokens=tokens, wire="metrics", batch=1, rate=RATE, seconds=LONGEST_S
        )
        sender = rig.sender(plan)
        try:
            tell(f"latency: {RATE:,} requests/s, and {times} metrics that are too high")
            time.sleep(WARM_S)
            took = _breaches(made, own, times)
            lag = int(made.client.status()["lag_ms"] or 0)
            return _figures(took, sender.stop(), lag)
        finally:
            sender.kill()


def _breaches(made: Rig, token: str, times: int) -> list[float]:
    """Seconds from each breach to its incident."""
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    address = f"file:{made.product.data / 'opx.db'}?mode=ro"
    with (
        httpx.Client(base_url=made.product.address, headers=headers, timeout=30) as client,
        closing(sqlite3.connect(address, uri=True)) as store,
    ):
        breaching = _Breaching(client, store)
        for number in range(times):
            breaching.begin(f"late-{number:04d}")
            breaching.look(EVERY_S)
        ends = time.perf_counter() + WITHIN_S
        while breaching.waiting and time.perf_counter() < ends:
            breaching.look(EVERY_S)
    if breaching.waiting:
        raise Unavailable(f"{len(breaching.waiting)} of {times} metrics came to no incident")
    return sorted(breaching.took)


class _Breaching:
    """Services whose metric is too high: it is sent again and again, as metrics are."""

    def __init__(self, client: httpx.Client, store: sqlite3.Connection) -> None:
        self._client, self._store = client, store
        self._sent = 0.0
        self.waiting: dict[str, float] = {}
        self.took: list[float] = []

    def begin(self, service: str) -> None:
        """From now on it is too high."""
        self.waiting[service] = time.perf_counter()
        self._send([service])

    def look(self, seconds: float) -> None:
        """For which of them there is an incident by now, for so long."""
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            found = self._store.execute("SELECT group_service FROM incidents").fetchall()
            now = time.perf_counter()
            for (service,) in found:
                if service in self.waiting:
                    self.took.append(now - self.waiting.pop(service))
            if self.waiting and now - self._sent > SENT_EVERY_S:
                self._sent = now
                self._send(list(self.waiting))
            time.sleep(LOOK_S)

    def _send(self, services: list[str]) -> None:
        body = [{"metric": METRIC, "value": 1_000.0, "labels": {"service": s}} for s in services]
        if not self._client.post("/metrics", content=json.dumps(body)).is_success:
            raise OpxError("a point was not accepted")


def _figures(took: list[float], sent: Sent, lag: int) -> list[Figure]:
    return [
        Figure(
            name="metric to incident, p99",
            unit="s",
            measured=round(share(took, 0.99), 2),
            anchor="seed 30 s",
            must="2 s",
            aim="0.5 s",
            note=f"p50 {share(took, 0.5):.2f}, worst {took[-1]:.2f} of {len(took)}, a window of 1 s"
            f" in it, at {sent.rate:,.0f} requests/s (p99 {sent.p99_ms} ms,"
            f" {sum(sent.refused.values())} refused); {lag} ms behind at the end",
        )
    ]
