# SPDX-License-Identifier: Apache-2.0

"""The kinds of trouble that the tour shows, and what ought to come of each.

One table: how a fault is brought about, where, and which verdict, how many orders, how many
starts and whether a page it calls for. What is not called for is a false action. Only the
playground is touched here, never opx: whoever runs the trial does that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from opx.core.verify.verdict import VerdictKind
from opx.playground import layout
from opx.playground.shop.breaking import Done, How
from opx.playground.system import COLLECTOR, USERS, Playground


class Fault(StrEnum):
    KILL = "kill"
    HANG = "hang"
    TAMPER = "tamper"
    BAD_RELEASE = "bad-release"
    SLOW_STORE = "slow-store"
    BROKEN_START = "broken-start"
    KILL_BRAIN = "kill-brain"
    KILL_HANDS = "kill-hands"
    LOAD_SPIKE = "load-spike"
    BENIGN_CONFIG = "benign-config"
    BENIGN_RESTART = "benign-restart"
    TELEMETRY_LOSS = "telemetry-loss"
    NO_RUNBOOK = "no-runbook"
    TWO_AT_ONCE = "two-at-once"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One fault. ``how``: what is done to each victim. ``at``: the victims; none: any service.
    ``meanwhile``: the process of opx that is killed in the middle of the repair.

    What ought to come of it, for each victim: ``verdicts`` of the runs, ``orders`` at most, and
    how often opx starts it. ``page``: whether people must be called.
    """

    title: str
    how: tuple[How, ...]
    at: tuple[str, ...] = ()
    meanwhile: str = ""
    verdicts: tuple[VerdictKind, ...] = ()
    orders: int = 0
    starts: int = 0
    page: bool = False

    @property
    def repair(self) -> bool:
        """Whether opx can put it right."""
        return VerdictKind.RECOVERED in self.verdicts


_ONCE = (VerdictKind.RECOVERED,)
_IN_VAIN = (VerdictKind.NO_EFFECT,) * 3

ROWS: dict[Fault, Row] = {
    Fault.KILL: Row(title="a process dies", how=(How.KILL,), verdicts=_ONCE, orders=1, starts=1),
    Fault.HANG: Row(title="a process hangs", how=(How.HANG,), verdicts=_ONCE, orders=1, starts=1),
    Fault.TAMPER: Row(
        title="somebody spoils a configuration",
        how=(How.TAMPER,),
        verdicts=_ONCE,
        orders=2,
        starts=1,
    ),
    Fault.BAD_RELEASE: Row(
        title="a bad release is deployed",
        how=(How.BAD_RELEASE,),
        verdicts=_ONCE,
        orders=2,
        starts=1,
    ),
    Fault.SLOW_STORE: Row(
        title="the store gets slow, and everybody who calls it looks guilty",
        how=(How.SLOW,),
        at=(layout.STORE,),
        verdicts=_ONCE,
        orders=1,
        starts=1,
    ),
    Fault.BROKEN_START: Row(
        title="a restart cannot help",
        how=(How.BROKEN_START,),
        verdicts=_IN_VAIN,
        orders=3,
        starts=3,
        page=True,
    ),
    Fault.KILL_BRAIN: Row(
        title="opx loses its brain in the middle of a repair",
        how=(How.KILL,),
        meanwhile="brain",
        verdicts=_ONCE,
        orders=1,
        starts=1,
    ),
    Fault.KILL_HANDS: Row(
        title="opx loses its hands in the middle of a step",
        how=(How.HANG,),
        meanwhile="hands",
        verdicts=_ONCE,
        orders=2,  # the step that was cut short is looked at, and given again
        starts=1,
    ),
    Fault.LOAD_SPIKE: Row(
        title="many users come: nothing is wrong", how=(How.LOAD_SPIKE,), at=(USERS,)
    ),
    Fault.BENIGN_CONFIG: Row(
        title="a person changes a setting: nothing is wrong", how=(How.BENIGN_CONFIG,)
    ),
    Fault.BENIGN_RESTART: Row(
        title="a person restarts a service: nothing is wrong", how=(How.BENIGN_RESTART,)
    ),
    Fault.TELEMETRY_LOSS: Row(
        title="opx's own eyes fail", how=(How.KILL,), at=(COLLECTOR,), page=True
    ),
    Fault.NO_RUNBOOK: Row(title="no runbook fits", how=(How.KILL,), at=(layout.MAILER,), page=True),
    Fault.TWO_AT_ONCE: Row(
        title="two faults at once that have nothing to do with each other",
        how=(How.KILL, How.HANG),
        at=("worker", "orders"),
        verdicts=_ONCE,
        orders=1,
        starts=1,
    ),
}


def victims(fault: Fault, service: str) -> tuple[str, ...]:
    """What the fault is done to, where it may be done to any service."""
    return ROWS[fault].at or (service,)


def inject(playground: Playground, fault: Fault, targets: Sequence[str]) -> list[Done]:
    """Do it, to each of the targets at once."""
    ways = zip(targets, ROWS[fault].how, strict=True)
    return [playground.broken(target, how) for target, how in ways]
