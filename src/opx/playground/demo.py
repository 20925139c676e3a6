# SPDX-License-Identifier: Apache-2.0

"""The tour: a playground and an opx side by side, faults in order, and the report of it.

Uses opx as a stranger would: its command, its API, its administrator's token. It opens
with a fresh install, which only suggests; then a person raises the severity ceiling and
grants probation, and opx repairs by itself. The report says what was measured, in times
of one machine's clock. Everything it starts, it ends.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

from opx.core.base.time import Ms
from opx.errors import Conflict, OpxError, Unavailable
from opx.playground import documents, layout, processes, trials
from opx.playground.client import Product
from opx.playground.system import Playground
from opx.playground.timeline import Beat
from opx.playground.trials import Bench, Fault, Line, Mark, Tell, Trial

PROBATION_S = 3_600
LEARN_S = 1.5
"""opx reads documents anew every second."""
FOLLOW_EVERY_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """``trials``: of each fault. ``seed`` picks the targets and the moments of injection."""

    faults: Sequence[Fault] = tuple(Fault)
    trials: int = 1
    seed: int = 0


@dataclass(slots=True, kw_only=True)
class Report:
    """``started``: when the tour began. ``problem``: why it could not go on, if so."""

    started: Ms
    address: str = ""
    seed: int = 0
    trials: list[Trial] = field(default_factory=list)
    problem: str = ""

    @property
    def ok(self) -> bool:
        """Whether the judge agrees with every verdict, and nothing was done needlessly."""
        return bool(self.trials) and not self.problem and all(trial.ok for trial in self.trials)

    def plain(self) -> dict[str, object]:
        """The report as JSON.

        ``ok, problem, address, seed, started``; ``faults``: for each trial ``fault, service,
        injected, detected, incident, decided, acted, verified, hurt, healthy`` (RFC 3339 or
        null), ``verdict, guards, orders, starts, agrees, problem``; ``totals``: ``trials``,
        ``repairs`` (trials with something to repair), ``verified_success`` (repairs that opx
        verified and the load generator confirms), ``false_actions`` (orders nothing called
        for), ``mttd_s`` (mean, injected to detected), ``mttr_s`` (mean, injected to users
        well, by the load generator), ``first_verified_s`` (since the tour started).
        """
        return {
            "ok": self.ok,
            "problem": self.problem,
            "address": self.address,
            "seed": self.seed,
            "started": trials.wire(self.started),
            "faults": [_plain(trial) for trial in self.trials],
            "totals": self.totals(),
        }

    def totals(self) -> dict[str, float | int | None]:
        good = [trial for trial in self.trials if trial.verified]
        detected = [_span(t, t.story.at(Beat.DETECTED)) for t in self.trials if t.repair]
        verified = [at for t in good if (at := t.story.at(Beat.VERIFIED)) is not None]
        first = min(verified, default=None)
        return {
            "trials": len(self.trials),
            "repairs": sum(trial.repair for trial in self.trials),
            "verified_success": len(good),
            "false_actions": sum(trial.needless for trial in self.trials),
            "mttd_s": _mean(detected),
            "mttr_s": _mean([_span(trial, trial.healthy) for trial in good]),
            "first_verified_s": None if first is None else processes.seconds(first - self.started),
        }


@dataclass(slots=True, kw_only=True)
class Tour:
    """Both systems, up; ``bench`` is what trials work with."""

    bench: Bench
    address: str


@contextmanager
def side_by_side(folder: Path, tell: Tell) -> Iterator[Tour]:
    """A playground and an opx in ``folder``; both are ended on the way out, come what may.

    ``Conflict`` when an opx has lived there before: the tour begins with a fresh install.
    """
    if (folder / "opx").exists():
        raise Conflict(f"{folder} is not empty: the tour needs a folder of its own")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    log = folder / "opx.log"
    try:
        with ExitStack() as ending:
            tell(Line(processes.now(), Mark.STEP, "Starting five services, their users, and opx"))
            playground = Playground.up(folder / "playground")
            ending.callback(playground.down)
            product = Product(folder / "opx", processes.free_ports(1)[0], log)
            ending.callback(product.stop)
            playground.attach(product.data)
            bench = Bench(
                playground=playground, client=ending.enter_context(product.client()), tell=tell
            )
            bench.say(Mark.NOTE, f"opx is at {product.address}, the shop at {_shop(playground)}")
            yield Tour(bench=bench, address=product.address)
    except OpxError as error:
        raise OpxError(f"{error}\n--- the end of {log}:\n{processes.tail(log)}") from error


def take(tour: Tour, plan: Plan, report: Report) -> None:
    """The opening, then every fault of the plan; ``report`` is filled in as it goes."""
    chance = random.Random(plan.seed)
    services = list(layout.SERVICES)
    chance.shuffle(services)
    report.address, report.seed = tour.address, plan.seed
    bench = tour.bench
    _open(bench, services[-1])
    planned = [fault for _ in range(plan.trials) for fault in plan.faults]
    for number, fault in enumerate(planned):
        service = services[number % len(services)]
        bench.say(Mark.STEP, f"Fault {number + 1} of {len(planned)}: {fault} {service}")
        time.sleep(chance.random())
        report.trials.append(trials.run(bench, fault, service))


def follow(tour: Tour) -> None:
    """Tell what opx writes into its journal, until interrupted."""
    last = tour.bench.client.newest()
    while True:
        time.sleep(FOLLOW_EVERY_S)
        try:
            entries = tour.bench.client.journal(last)
        except Unavailable:
            continue
        for entry in entries:
            last = max(last, int(entry["seq"]))
            tour.bench.say(Mark.NOTE, f"{entry['kind']} {str(entry['subject'])[:24]}")


def _open(bench: Bench, service: str) -> None:
    """A fresh install, and the person who lets it act."""
    bench.say(Mark.STEP, "A fresh install only suggests")
    bench.client.apply(documents.services(bench.playground.layout))
    bench.client.apply(documents.policy(documents.CEILING_FRESH))
    bench.say(Mark.PERSON, f"applies {len(layout.SERVICES)} Service documents and a Policy")
    time.sleep(LEARN_S)
    story = trials.suggest(bench, service)
    bench.say(Mark.STEP, "A person lets opx act")
    if story.answer == "ask":
        bench.client.reject(story.run, "done by hand")
        bench.say(Mark.PERSON, "rejects the suggestion: it was done by hand")
    bench.client.apply(documents.policy(documents.CEILING_RAISED))
    bench.say(Mark.PERSON, f"raises the severity ceiling to {documents.CEILING_RAISED}")
    for name in layout.SERVICES:
        bench.client.grant_probation(story.runbook, name, PROBATION_S)
    bench.say(Mark.PERSON, f"grants {story.runbook} probation for an hour (uncalibrated, n = 0)")
    time.sleep(LEARN_S)


def _shop(playground: Playground) -> str:
    return playground.layout.address(layout.ENTRANCE)


def _plain(trial: Trial) -> dict[str, object]:
    times = {beat.value: trials.wire(trial.story.at(beat)) for beat in Beat}
    return {
        "fault": trial.fault.value,
        "service": trial.service,
        "injected": trials.wire(trial.injected),
        **times,
        "hurt": trials.wire(trial.hurt),
        "healthy": trials.wire(trial.healthy),
        "verdict": trial.story.verdict,
        "guards": list(trial.story.guards),
        "orders": trial.story.orders,
        "starts": trial.starts,
        "agrees": trial.agrees,
        "problem": trial.problem,
    }


def _span(trial: Trial, at: Ms | None) -> float | None:
    return None if at is None else processes.seconds(at - trial.injected)


def _mean(spans: Sequence[float | None]) -> float | None:
    known = [span for span in spans if span is not None]
    return round(fmean(known), 3) if known else None
