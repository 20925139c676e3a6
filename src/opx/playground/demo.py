# SPDX-License-Identifier: Apache-2.0

"""The tour: a playground and an opx side by side, faults in order, and the report of it.

Uses opx as a stranger would: its command, its API, its administrator's token. It opens
with a fresh install, which only suggests; then a person raises the severity ceiling and
grants probation, and opx repairs by itself, or calls for people. The report says what was
measured, in times of one machine's clock. Everything it starts, it ends.
"""

from __future__ import annotations

import itertools
import math
import random
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

from opx.core.base.time import Ms, Window
from opx.errors import Conflict, OpxError
from opx.playground import documents, layout, processes, trials
from opx.playground.client import Product
from opx.playground.faults import ROWS, Fault
from opx.playground.judging import false_findings
from opx.playground.system import Playground
from opx.playground.timeline import Beat, Line, Mark, Tell
from opx.playground.trials import Trial
from opx.playground.watch import Bench, Watch

PROBATION_S = 3_600
LEARN_S = 1.5
"""opx reads documents anew every second."""
FOLLOW_EVERY_S = 0.5
QUIET_S = 60.0
"""Longer than any runbook of the tour waits for its verdict."""
SURE = 0.95
"""How sure the bound of false actions is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """``trials``: of each fault. ``seed`` picks the targets and the moments of injection."""

    faults: Sequence[Fault] = tuple(Fault)
    trials: int = 1
    seed: int = 0


@dataclass(slots=True, kw_only=True)
class Report:
    """``started``: when the tour began. ``troubles``: when something was wrong in it.
    ``false_findings``: see ``totals``. ``problem``: why it could not go on, if so."""

    started: Ms
    address: str = ""
    seed: int = 0
    trials: list[Trial] = field(default_factory=list)
    troubles: list[Window] = field(default_factory=list)
    false_findings: dict[str, int] | None = None
    problem: str = ""

    @property
    def ok(self) -> bool:
        """Whether the judge agrees with every verdict, and nothing was done needlessly."""
        return bool(self.trials) and not self.problem and all(trial.ok for trial in self.trials)

    def plain(self) -> dict[str, object]:
        """The report as JSON.

        ``ok, problem, address, seed, started``; ``faults``: for each trial ``fault, service,
        injected, detected, incident, explained, decided, acted, verified, hurt, healthy``
        (RFC 3339 or null), ``verdict, verdicts, runbook, guards, orders, starts, by_hand,
        elsewhere, false_alarms, paged, agrees, problem``; ``totals``: see there.
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

    def totals(self) -> dict[str, float | int | dict[str, int] | None]:
        """``trials``; ``repairs``: those with something that opx can repair;
        ``verified_success``: repairs that opx verified and the load generator confirms;
        ``pages``: trials in which people were called; ``false_actions``: orders that nothing
        called for, and ``false_actions_at_most``: the share of trials that have one, which it
        is ``SURE`` not to exceed; ``false_alarms``: incidents of services that were well and call
        none that was not; ``false_findings``: what began to be odd while nothing was wrong, to
        ``opx`` by itself and to the ``plain_rule``, None where it was not counted; ``mttd_s`` and
        ``mttd_p90_s``: injected to detected; ``mttr_s`` and ``mttr_p90_s``: injected to users
        well, by the load generator; ``first_verified_s``: since the tour started."""
        good = [trial for trial in self.trials if trial.verified]
        detected = _spans((t, t.story.at(Beat.DETECTED)) for t in self.trials if t.repair)
        recovered = _spans((trial, trial.healthy) for trial in good)
        verified = [at for t in good if (at := t.story.at(Beat.VERIFIED)) is not None]
        first = min(verified, default=None)
        false = sum(bool(trial.needless) for trial in self.trials)
        return {
            "trials": len(self.trials),
            "repairs": sum(trial.repair for trial in self.trials),
            "verified_success": len(good),
            "pages": sum(trial.paged for trial in self.trials),
            "false_actions": sum(trial.needless for trial in self.trials),
            "false_actions_at_most": at_most(false, len(self.trials)),
            "false_alarms": sum(trial.false_alarms for trial in self.trials),
            "false_findings": self.false_findings,
            "mttd_s": _mean(detected),
            "mttd_p90_s": _p90(detected),
            "mttr_s": _mean(recovered),
            "mttr_p90_s": _p90(recovered),
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
            tell(Line(processes.now(), Mark.STEP, "Starting six services, their users, and opx"))
            playground = Playground.up(folder / "playground")
            ending.callback(playground.down)
            roots = [playground.layout.shop]
            product = Product(folder / "opx", processes.free_ports(1)[0], log, roots)
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
    _open(tour, services[-1])
    report.troubles.append(Window(report.started, processes.now()))  # it has a fault of its own
    planned = [fault for _ in range(plan.trials) for fault in plan.faults]
    turn = itertools.cycle(services)
    for number, fault in enumerate(planned, 1):
        service = "" if ROWS[fault].at else next(turn)
        bench.say(Mark.STEP, f"{number} of {len(planned)}: {ROWS[fault].title} ({fault})")
        time.sleep(chance.random())
        found = trials.run_all(bench, fault, service)
        trouble = trials.trouble(found, processes.now())
        report.trials += found
        report.troubles += [trouble] if trouble else []
    seen, data = Window(report.started, processes.now()), Path(bench.playground.layout.opx_data)
    report.false_findings = false_findings.count(bench.client, data, seen, report.troubles)


def follow(tour: Tour) -> None:
    """Tell what opx does, until interrupted. After a quiet while, what comes is a new story."""
    while True:
        watch, told = Watch(tour.bench), time.monotonic()
        while time.monotonic() - told < QUIET_S or not watch.told:
            time.sleep(FOLLOW_EVERY_S)
            before = watch.told
            watch.look()
            told = told if watch.told == before else time.monotonic()


def _open(tour: Tour, service: str) -> None:
    """A fresh install, and the person who lets it act."""
    bench = tour.bench
    bench.say(Mark.STEP, "A fresh install only suggests")
    bench.client.apply(documents.services(bench.playground.layout))
    bench.client.apply(documents.rules())
    bench.client.apply(documents.runbooks())
    bench.client.apply(documents.policy(documents.CEILING_FRESH))
    bench.say(
        Mark.PERSON, f"applies {len(layout.EVERY)} Service documents, rules, a Runbook and a Policy"
    )
    token = bench.client.make_token("collector", "ingest", layout.EVERY)
    bench.playground.watch(tour.address, token)
    bench.say(Mark.PERSON, "starts a collector, which may send for these services only")
    time.sleep(LEARN_S)
    story = trials.suggest(bench, service)
    bench.say(Mark.STEP, "A person lets opx act")
    if story.answer == "ask":
        bench.client.reject(story.run, "done by hand")
        bench.say(Mark.PERSON, "rejects the suggestion: it was done by hand")
    bench.client.apply(documents.policy(documents.CEILING_RAISED))
    bench.say(Mark.PERSON, f"raises the severity ceiling to {documents.CEILING_RAISED}")
    runbooks = bench.client.runbooks()
    for runbook, name in itertools.product(runbooks, layout.SERVICES):
        bench.client.grant_probation(runbook, name, PROBATION_S)
    granted = ", ".join(runbooks)
    bench.say(Mark.PERSON, f"grants probation for an hour (uncalibrated, n = 0): {granted}")
    time.sleep(LEARN_S)


def _shop(playground: Playground) -> str:
    return playground.layout.address(layout.ENTRANCE)


def at_most(hits: int, trials: int) -> float | None:
    """The share that is ``SURE`` not to be exceeded, having seen ``hits`` in ``trials``; None
    without trials. One-sided and exact, by Clopper and Pearson (1934): the share at which so
    few hits are as rare as 1 - ``SURE``. Without hits about 3 / trials, the rule of three."""
    if not trials:
        return None
    if hits >= trials:
        return 1.0
    low, high = hits / trials, 1.0
    for _ in range(50):
        share = (low + high) / 2
        low, high = (share, high) if _chance(hits, trials, share) > 1 - SURE else (low, share)
    return round(high, 4)


def _chance(hits: int, trials: int, share: float) -> float:
    """Of at most so many hits in so many trials, each with the chance ``share``, within 0 to 1."""
    ways = (
        math.lgamma(trials + 1) - math.lgamma(count + 1) - math.lgamma(trials - count + 1)
        + count * math.log(share) + (trials - count) * math.log1p(-share)
        for count in range(hits + 1)
    )  # fmt: skip
    return sum(math.exp(way) for way in ways)


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
        "verdicts": list(trial.story.verdicts),
        "runbook": trial.story.runbook,
        "guards": list(trial.story.guards),
        "orders": trial.story.orders,
        "starts": trial.starts,
        "by_hand": trial.by_hand,
        "elsewhere": trial.elsewhere,
        "false_alarms": trial.false_alarms,
        "paged": trial.paged,
        "agrees": trial.agrees,
        "problem": trial.problem,
    }


def _spans(times: Iterable[tuple[Trial, Ms | None]]) -> list[float]:
    """Seconds from the injection to each, where there was one."""
    return [processes.seconds(at - trial.injected) for trial, at in times if at is not None]


def _mean(spans: Sequence[float]) -> float | None:
    return round(fmean(spans), 3) if spans else None


def _p90(spans: Sequence[float]) -> float | None:
    """The smallest that nine of ten do not exceed."""
    return sorted(spans)[math.ceil(0.9 * len(spans)) - 1] if spans else None
