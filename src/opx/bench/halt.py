# SPDX-License-Identifier: Apache-2.0

"""How soon a halt is acknowledged while opx repairs under load, and whether anything begins
after it.

A service of the playground is killed, and a person halts everything: at a random moment, or,
every other time, just when its repair is about to begin. From the acknowledgement on nothing
may begin; what was begun may end. The services count their own starts: one more than there
were steps begun by then is a step that was started after it. Then opx may go on, and the next
halt finds it at the same repair, or at that of the next service, which is killed as soon as
the last is well. What is counted begins where the count before ended, so nothing falls between.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from opx.bench import recovery, rig
from opx.bench.figures import Figure, Tell, share
from opx.bench.sender import Plan, Sent
from opx.core.act.run import OrderStatus
from opx.core.base.time import Ms
from opx.errors import Unavailable
from opx.playground import demo, layout, processes
from opx.playground.demo import Tour
from opx.playground.system import How

REASON = "bench"
RATE, BATCH = 2_000, 20
"""Points a second, and in a request, while people halt."""
WITHIN_S = 3.0
"""The halt comes at any time until then: a repair takes a little longer."""
ABOUT_S = 0.1
"""Or so long after the step was ordered: it is begun and done in about that time."""
LOOK_S = 0.02
ORDERED_WITHIN_S = 30.0
SETTLED_WITHIN_S = 30.0
SETTLE_S = 1.0
"""So long after the last step that was under way has ended, what it started is there."""
LONGEST_S = 60.0
"""Of one try: how long the sender is asked to go on for each."""
GRANT_EVERY = 50
"""Tries after which a person grants probation anew: it lasts an hour."""
_ORDERED = "SELECT count(*) FROM orders WHERE json_extract(body, '$.order.issued_at') >= {at}"
_BEGUN = (
    "SELECT json_extract(body, '$.claimed_at'), status FROM orders"
    " WHERE json_extract(body, '$.claimed_at') >= {at}"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Try:
    """``took_ms``: from the request to its acknowledgement. ``before`` and ``after`` it, opx
    began so many steps, by its own books; one was ``under_way`` when it came. ``starts``: of
    services, by their own."""

    took_ms: float
    before: int
    after: int
    under_way: bool
    starts: int

    @property
    def begun(self) -> int:
        """Steps started after the halt."""
        return max(self.starts - self.before, self.after, 0)


def measure(times: int, seed: int, tell: Tell) -> list[Figure]:
    """``times``: halts."""
    with (
        rig.scratch("halt") as folder,
        demo.side_by_side(folder / "tour", lambda line: tell(f"halt: {line.text}")) as tour,
    ):
        recovery.prepare(tour)
        with _load(tour, times) as sender:
            halts = _Halts(tour, random.Random(seed))
            tries = []
            for number in range(times):
                if number % GRANT_EVERY == 0:
                    recovery.grant(tour)
                tries.append(halts.once(aimed=number % 2 == 1))
                tell(f"halt: {number + 1} of {times}: {tries[-1]}")
            return _figures(tries, sender.stop())


@contextmanager
def _load(tour: Tour, times: int) -> Iterator[rig.Worker[Plan, Sent]]:
    plan = Plan(
        port=int(tour.address.rpartition(":")[2]),
        tokens=[rig.ingest_token(tour.bench.client, "bench")],
        wire="metrics",
        batch=BATCH,
        rate=RATE,
        seconds=times * LONGEST_S,
    )
    sender = rig.sender(plan)
    try:
        yield sender
    finally:
        sender.kill()


class _Halts:
    """One after the other, on a tour that is halted at first."""

    def __init__(self, tour: Tour, chance: random.Random) -> None:
        self._tour, self._chance = tour, chance
        self._client = tour.bench.client
        self._data = _data(tour)
        self._ill, self._at_kill = "", 0
        self._client.switch("halt", REASON)
        self._starts, self._since = self._settled()

    def once(self, aimed: bool) -> Try:
        """Let opx go on, halt it, and count what began since the last count."""
        self._client.switch("resume", REASON)
        began = processes.now()
        self._something_is_ill()
        if aimed:
            ordered = _ORDERED.format(at=began)
            processes.wait_for(
                lambda: rig.rows(self._data, ordered)[0][0] or self._something_is_ill(),
                ORDERED_WITHIN_S,
                "an order",
                LOOK_S,
            )
        time.sleep(self._chance.uniform(0, ABOUT_S if aimed else WITHIN_S))

        asked = time.perf_counter()
        self._client.switch("halt", REASON)
        took, at = time.perf_counter() - asked, processes.now()
        begun = rig.rows(self._data, _BEGUN.format(at=self._since))
        starts, settled = self._settled()
        since = rig.rows(self._data, _BEGUN.format(at=max(at, self._since) + 1))
        done = starts - self._starts
        self._starts, self._since = starts, settled
        return Try(
            took_ms=round(took * 1000, 1),
            before=sum(int(claimed) <= at for claimed, _ in begun),
            after=len(since),
            under_way=any(status == OrderStatus.CLAIMED for _, status in begun),
            starts=done,
        )

    def _settled(self) -> tuple[int, Ms]:
        """The services' starts once nothing is under way, and when that was."""
        processes.wait_for(
            lambda: not rig.orders(self._data, OrderStatus.CLAIMED),
            SETTLED_WITHIN_S,
            "the step to end",
            LOOK_S,
        )
        time.sleep(SETTLE_S)
        processes.wait_for(
            self._tour.bench.playground.counted, SETTLED_WITHIN_S, "starts to be counted", LOOK_S
        )
        return _starts(self._tour), processes.now()

    def _something_is_ill(self) -> bool:
        """Kill another service where the last one is well again. Always False."""
        playground = self._tour.bench.playground
        if not self._ill or (
            playground.starts(self._ill) > self._at_kill and _is_over(self._tour, self._ill)
        ):
            self._ill = self._chance.choice(layout.SERVICES)
            self._at_kill = playground.starts(self._ill)
            playground.break_(self._ill, How.KILL)
        return False


def _is_over(tour: Tour, service: str) -> bool:
    try:
        found = tour.bench.client.incidents(service)
    except Unavailable:
        return False
    return bool(found) and found[0]["status"] in ("mitigated", "resolved", "closed")


def _starts(tour: Tour) -> int:
    return sum(tour.bench.playground.starts(service) for service in layout.SERVICES)


def _data(tour: Tour) -> Path:
    return Path(tour.bench.playground.layout.opx_data)


def _figures(tries: list[Try], sent: Sent) -> list[Figure]:
    took = sorted(one.took_ms / 1000 for one in tries)
    under_way = sum(one.under_way for one in tries)
    free = sum(not one.before for one in tries)
    return [
        Figure(
            name="halt requested to acknowledged, p99",
            unit="s",
            measured=round(share(took, 0.99), 3),
            must="1 s",
            aim="0.1 s",
            note=f"p50 {share(took, 0.5):.3f}, worst {took[-1]:.3f} of {len(took)},"
            f" while {sent.rate:,.0f} points/s came in",
        ),
        Figure(
            name="steps started after a halt",
            unit="",
            measured=sum(one.begun for one in tries) if free else None,
            must="0",
            note=("" if free else "nothing measured: no halt came before a step; ")
            + f"in {len(tries)} tries: the halt came before the step in {free}, while it was"
            f" under way in {under_way}; starts by the services' own count",
        ),
    ]
