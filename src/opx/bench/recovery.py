# SPDX-License-Identifier: Apache-2.0

"""How long users are hurt when a service dies, while opx is busy taking in telemetry.

A playground and an opx side by side; a sender posts a thousand points a second; services
are killed one after the other. Recovery is taken twice: from the kill until opx has verified
its repair, and until the users are well by the load generator, which opx cannot read.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from statistics import fmean

from opx.bench import rig
from opx.bench.figures import Figure, Tell
from opx.bench.sender import Plan, Sent
from opx.playground import demo, documents, layout, processes, trials
from opx.playground.demo import Tour
from opx.playground.timeline import Beat
from opx.playground.trials import Fault, Mark, Trial

RUNBOOK = "restart-process"
POINTS = 1_000
"""A second, while services are killed."""
LONGEST_S = 120.0
"""Of one trial: how long the sender is asked to go on for each."""


def measure(times: int, seed: int, tell: Tell) -> list[Figure]:
    """Kill ``times`` services, not the same twice in a row."""
    with (
        rig.scratch("recovery") as folder,
        demo.side_by_side(folder / "tour", lambda line: tell(f"recovery: {line.text}")) as tour,
    ):
        prepare(tour)
        return _figures(*_under_load(tour, times, random.Random(seed)))


def prepare(tour: Tour) -> None:
    """The playground's documents, and probation for every service: opx may act."""
    bench = tour.bench
    bench.client.apply(documents.services(bench.playground.layout))
    bench.client.apply(documents.policy(documents.CEILING_RAISED))
    grant(tour)
    bench.say(Mark.PERSON, "applies documents and grants probation")
    time.sleep(demo.LEARN_S)


def grant(tour: Tour) -> None:
    """Probation of an hour for every service."""
    for name in layout.SERVICES:
        tour.bench.client.grant_probation(RUNBOOK, name, demo.PROBATION_S)


def _under_load(tour: Tour, times: int, chance: random.Random) -> tuple[list[Trial], Sent]:
    """Kill one service after the other while points come in."""
    port = int(tour.address.rpartition(":")[2])
    token = rig.ingest_token(tour.bench.client, "bench")
    plan = Plan(
        port=port, tokens=[token], wire="metrics", batch=20, rate=POINTS, seconds=times * LONGEST_S
    )
    sender = rig.sender(plan)
    try:
        services = chance.sample(layout.SERVICES, len(layout.SERVICES))
        found = []
        for number in range(times):
            time.sleep(chance.random())
            service = services[number % len(services)]
            found.append(trials.run(tour.bench, Fault.KILL, service))
        return found, sender.stop()
    finally:
        sender.kill()


def _figures(found: Sequence[Trial], sent: Sent) -> list[Figure]:
    good = [trial for trial in found if trial.verified]
    verified = [t for one in good if (t := one.story.at(Beat.VERIFIED)) is not None]
    opx = [processes.seconds(at - one.injected) for one, at in zip(good, verified, strict=True)]
    users = [processes.seconds(one.healthy - one.injected) for one in good if one.healthy]
    said = f"{len(good)} of {len(found)} verified by opx and confirmed by the load generator"
    return [
        Figure(
            name="kill to verified, mean",
            unit="s",
            measured=_mean(opx),
            anchor="seed 28 s",
            must="10 s",
            aim="3 s",
            note=f"{said}; each: {_each(opx)}",
        ),
        Figure(
            name="kill to users well, mean",
            unit="s",
            measured=_mean(users),
            anchor="seed 28 s",
            must="10 s",
            aim="3 s",
            note=f"by the load generator; each: {_each(users)}",
        ),
        Figure(
            name="false actions",
            unit="",
            measured=sum(trial.needless for trial in found),
            must="0",
            note=f"in {len(found)} trials, while {sent.rate:,.0f} points/s came in",
        ),
    ]


def _mean(spans: Sequence[float]) -> float | None:
    return round(fmean(spans), 2) if spans else None


def _each(spans: Sequence[float]) -> str:
    return ", ".join(f"{span:.1f}" for span in spans) or "none"
