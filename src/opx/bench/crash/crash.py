# SPDX-License-Identifier: Apache-2.0

"""Whether what was acknowledged is kept, once, and whether anything is done twice.

Runs an ``Ordeal`` while a witness sends numbered items, starts opx again, cleanly, and
counts: findings in the store, points by query, starts by the services' own books. At last
the end of the log is torn at every byte.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from opx.bench import recovery, rig
from opx.bench.crash import numbered, torn
from opx.bench.crash.numbered import Books
from opx.bench.crash.ordeal import Ordeal
from opx.bench.crash.torn import Cuts
from opx.bench.figures import Figure, Tell
from opx.core.base.time import HOUR, Window
from opx.playground import demo, layout, processes
from opx.playground.client import Client, Product
from opx.playground.demo import Tour
from opx.playground.system import Playground

THERE_WITHIN_S = 30.0
LOOK_S = 0.5
PAGE = 10_000
CUT_BYTES = 4_096
FULL = 4
"""Times that the disk fills up in the whole ordeal."""
_FOUND = {
    "alert": "SELECT json_extract(body, '$.evidence.labels.number') FROM findings"
    " WHERE json_extract(body, '$.rule') = 'alert'",
    "event": "SELECT json_extract(body, '$.evidence.id') FROM findings"
    " WHERE json_extract(body, '$.rule') = 'event'",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """Of one kind of item. ``open``: sent and never acknowledged; ``kept`` of them are there
    all the same. ``doubled``: there more than once, acknowledged or not."""

    acked: int
    lost: int
    doubled: int
    open: int
    kept: int


@dataclass(slots=True, kw_only=True)
class Outcome:
    """``starts``: of services, beyond the first of each; ``needed`` of them were called for.
    ``left``: faults that opx left to a person. ``kills``: by (process, how)."""

    kills: Counter[tuple[str, str]]
    items: dict[str, Count]
    tries: int
    faults: int
    left: int
    needed: int
    starts: int
    cuts: Cuts
    full: int

    @property
    def lost(self) -> int:
        return sum(count.lost for count in self.items.values()) + self.cuts.lost

    @property
    def doubled(self) -> int:
        return sum(count.doubled for count in self.items.values()) + self.cuts.doubled

    @property
    def repeated(self) -> int:
        """Effects that nothing called for."""
        return self.starts - self.needed


def measure(kills: int, seed: int, tell: Tell) -> list[Figure]:
    """``kills`` of opx's processes, half of them at failpoints."""
    with rig.scratch("crash") as folder:
        outcome = run(folder, kills, seed, tell, FULL)
        if outcome.lost or outcome.doubled or outcome.repeated:
            tell(f"crash: everything that was written is in {folder.rename(f'{folder}-kept')}")
        return figures(outcome)


def run(folder: Path, kills: int, seed: int, tell: Tell, full: int) -> Outcome:
    """The ordeal in ``folder``. ``full``: how often the disk is filled meanwhile."""
    chance = random.Random(seed)
    with demo.side_by_side(folder / "tour", lambda line: tell(f"crash: {line.text}")) as tour:
        recovery.prepare(tour)
        playground = tour.bench.playground
        before = _starts(playground)
        ordeal = Ordeal(
            tour=tour,
            log=folder / "tour" / "opx.log",
            chance=chance,
            tell=lambda text: tell(f"crash: {text}"),
        )
        books, base = _endure(ordeal, kills // 2, full)
        items = _restarted(tour, ordeal, books, base)
        starts = _starts(playground) - before
    return Outcome(
        kills=ordeal.kills,
        items=items,
        tries=books.tries,
        faults=ordeal.faults,
        left=ordeal.left,
        needed=ordeal.needed.total(),
        starts=starts,
        cuts=torn.cut(ordeal.data / "wal", CUT_BYTES, torn.recovered),
        full=ordeal.full,
    )


def figures(outcome: Outcome) -> list[Figure]:
    acked = sum(count.acked for count in outcome.items.values())
    ways = ", ".join(f"{role} {how} {n}" for (role, how), n in sorted(outcome.kills.items()))
    opened = ", ".join(
        f"{one.open} {name}s ({one.kept} of them there)" for name, one in outcome.items.items()
    )
    lost = ", ".join(f"{one.lost} {name}s" for name, one in outcome.items.items())
    cuts = outcome.cuts
    return [
        Figure(
            name="kills of opx's processes",
            unit="",
            measured=outcome.kills.total(),
            note=f"{ways}; disk full {outcome.full} times",
        ),
        Figure(
            name="acknowledged items lost",
            unit="",
            measured=outcome.lost,
            anchor="Keep 375 of 400",
            must="0",
            note=f"of {acked:,} ({lost}); {cuts.tried:,} cuts of the log: {cuts.lost} frames lost",
        ),
        Figure(
            name="items counted twice",
            unit="",
            measured=outcome.doubled,
            must="0",
            note=f"never acknowledged: {opened}; {outcome.tries} requests without a 2xx",
        ),
        Figure(
            name="effects done twice",
            unit="",
            measured=outcome.repeated,
            must="0",
            note=f"{outcome.faults} faults, {outcome.starts} starts by the services' own count, "
            f"{outcome.left} left to a person",
        ),
    ]


def _endure(ordeal: Ordeal, rounds: int, full: int) -> tuple[Books, int]:
    """All rounds while the witness sends; its books, and when point 0 was measured."""
    client = ordeal.tour.bench.client
    base = processes.now() - HOUR
    plan = numbered.Plan(
        port=int(ordeal.tour.address.rpartition(":")[2]),
        token=rig.ingest_token(client, "witness"),
        base=base,
    )
    witness = rig.Worker("opx.bench.crash.numbered", plan, Books)
    try:
        for number, point in enumerate(ordeal.plan(rounds)):
            ordeal.tell(f"round {number + 1} of {rounds}: {point.role} at {point.name}")
            ordeal.endure(point)
            if number < full:
                ordeal.fill(kill=number % 2 == 0)
        ordeal.finish()
        return witness.stop(), base
    finally:
        witness.kill()


def _restarted(tour: Tour, ordeal: Ordeal, books: Books, base: int) -> dict[str, Count]:
    """What is there after a clean restart, once it is all there or time is up."""
    ordeal.tell("everything sent; starting opx again, to count")
    processes.end(rig.members(ordeal.data)["watcher"], patience_s=20)
    port = int(tour.address.rpartition(":")[2])
    product = Product(ordeal.data, port, ordeal.log)
    try:
        with product.client() as client:
            ends = time.monotonic() + THERE_WITHIN_S
            while True:
                items = _count(ordeal.data, client, books, base)
                if not any(one.lost for one in items.values()) or time.monotonic() > ends:
                    return items
                time.sleep(LOOK_S)
    finally:
        product.stop()


def _count(data: Path, client: Client, books: Books, base: int) -> dict[str, Count]:
    found = {
        kind: Counter(int(number) for (number,) in rig.rows(data, statement))
        for kind, statement in _FOUND.items()
    }
    found["point"] = _points(client, books, base)
    return {kind: judged(books, kind, numbers) for kind, numbers in found.items()}


def judged(books: Books, kind: str, found: Counter[int]) -> Count:
    acked, opened = books.acked[kind], books.open[kind]
    return Count(
        acked=len(acked),
        lost=sum(found[number] == 0 for number in acked),
        doubled=sum(times > 1 for times in found.values()),
        open=len(opened),
        kept=sum(found[number] > 0 for number in opened),
    )


def _points(client: Client, books: Books, base: int) -> Counter[int]:
    """How often each numbered point is in telemetry."""
    sent = 1 + max((*books.acked["point"], *books.open["point"]), default=0)
    found: Counter[int] = Counter()
    for first in range(0, sent, PAGE):
        window = Window(base + first, base + min(sent, first + PAGE))
        counts = client.counts(numbered.METRIC, {"service": numbered.SERVICE}, window)
        found.update({first + place: times for place, times in enumerate(counts) if times})
    return found


def _starts(playground: Playground) -> int:
    return sum(playground.starts(service) for service in layout.SERVICES)
