# SPDX-License-Identifier: Apache-2.0

"""How many alerts a second opx takes in for good, and how soon they are in an incident.

Distinct alerts of 20 services over 8 connections from another process of this machine. A
rate counts only if opx kept up: a second after the last acknowledgement every alert is a
finding and every service has its one incident. Where it did not keep up, it is tried again
at a share of the best rate at which they became visible so far.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from opx.bench import rig
from opx.bench.figures import Figure, Tell
from opx.bench.rig import Rig
from opx.bench.sender import SERVICES, Plan, Sent
from opx.core.base.time import SECOND, Ms
from opx.errors import Unavailable
from opx.playground import processes

TOKENS = 8
KEEPS_UP: Ms = SECOND
VISIBLE_WITHIN_S = 300.0
LOOK_S = 0.02
STATUS_EVERY_S = 0.5
EASIER = (0.9, 0.8, 0.7)
"""The next tries go at these shares of the best rate at which alerts became visible so far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What is tried, and what it is held against."""

    name: str
    batch: int
    anchor: str
    must: str
    aim: str


GOALS = (
    Goal(name="single alerts", batch=1, anchor="Keep 25/s", must="2,000/s", aim="6,000/s"),
    Goal(name="alerts by 100", batch=100, anchor="Keep 53/s", must="20,000/s", aim="60,000/s"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """``behind``: from the last acknowledgement until everything was visible. ``lag``: the
    worst that opx said of itself meanwhile. ``incidents``: there must be ``SERVICES``."""

    sent: Sent
    behind: Ms
    lag: Ms
    incidents: int

    @property
    def kept_up(self) -> bool:
        return self.behind <= KEEPS_UP and self.incidents == SERVICES

    @property
    def visible_rate(self) -> float:
        """Alerts a second from the first one sent until the last was in its incident."""
        return self.sent.accepted / ((self.sent.ended + self.behind - self.sent.began) / SECOND)


def measure(seconds: float, tell: Tell) -> list[Figure]:
    """Single alerts, then batches."""
    return [figure for goal in GOALS for figure in figures(goal, list(_tries(goal, seconds, tell)))]


def _tries(goal: Goal, seconds: float, tell: Tell) -> Iterator[Run]:
    rate, best = 0, 0.0
    for share in (*EASIER, 0):
        pace = f"{rate:,}/s" if rate else "as fast as it answers"
        tell(f"{goal.name}: {pace}, for {seconds:g} s")
        run = once(Plan(port=0, tokens=[], batch=goal.batch, rate=rate, seconds=seconds))
        tell(
            f"{goal.name}: {run.sent.rate:,.0f}/s accepted, the last visible after {run.behind} ms"
        )
        yield run
        if run.kept_up:
            return
        best = max(best, run.visible_rate)
        rate = int(best * share)


def once(plan: Plan) -> Run:
    """One run of ``plan`` against a fresh install; port and tokens are filled in."""
    with rig.fresh("alerts", TOKENS) as made:
        plan.port, plan.tokens = made.port, list(made.tokens)
        lag = 0
        sender = rig.sender(plan)
        while sender.running():
            time.sleep(STATUS_EVERY_S)
            lag = max(lag, _lag(made))
        sent = sender.result()
        processes.wait_for(
            lambda: _visible(made, sent.accepted), VISIBLE_WITHIN_S, "every alert", LOOK_S
        )
        behind = max(0, processes.now() - sent.ended)
        incidents = rig.count(made.product.data, "incidents")
        return Run(sent=sent, behind=behind, lag=lag, incidents=incidents)


def _lag(made: Rig) -> Ms:
    try:
        return int(made.client.status()["lag_ms"] or 0)
    except Unavailable:
        return 0


def _visible(made: Rig, accepted: int) -> bool:
    return rig.count(made.product.data, "findings") >= accepted


def figures(goal: Goal, runs: list[Run]) -> list[Figure]:
    """The rate at which opx kept up, then what else the same run showed."""
    fastest, run = runs[0], runs[-1]
    note = f"as fast as it answered: {fastest.sent.rate:,.0f}/s, {fastest.behind} ms behind"
    refused = sum(run.sent.refused.values())
    rate = round(run.sent.rate) if run.kept_up else None
    return [
        Figure(
            name=goal.name,
            unit="/s",
            measured=rate,
            anchor=goal.anchor,
            must=goal.must,
            aim=goal.aim,
            note=f"{note}; {refused} requests refused",
        ),
        Figure(
            name=f"{goal.name}: all in their incident, first to last",
            unit="/s",
            measured=round(max(one.visible_rate for one in runs)),
        ),
        Figure(name=f"{goal.name}: p50", unit="ms", measured=run.sent.p50_ms),
        Figure(name=f"{goal.name}: p99", unit="ms", measured=run.sent.p99_ms),
        Figure(
            name=f"{goal.name}: visible after the last",
            unit="ms",
            measured=run.behind,
            must=f"{KEEPS_UP:,} ms",
            note=f"opx's own word for the lag meanwhile: at most {run.lag} ms",
        ),
        Figure(
            name=f"{goal.name}: incidents",
            unit="",
            measured=run.incidents,
            anchor="Keep 24",
            must=f"{SERVICES}",
        ),
    ]
