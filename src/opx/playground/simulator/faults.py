# SPDX-License-Identifier: Apache-2.0

"""The grammar of faults: cause x shape, and what a fault does to a node over time.

A ``Cell`` is one pair of it; whoever tunes something keeps whole cells out and is judged on
those. ``Strain`` is what the flow (``flow.py``) is computed under.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from itertools import product

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from opx.playground.simulator.graphs import Role, System

Floats = NDArray[np.float64]


class Cause(StrEnum):
    """SLOW: its own work takes longer. ERRORS: it fails requests by itself. CRASH: it is gone
    and reports nothing any more. SATURATION: it has lost capacity. OVERLOAD: users of an entry
    send far more. MISROUTE: it calls a wrong address instead of one of its callees. HANG: it
    takes requests and finishes none, so that it has neither latency nor failures to report.
    CHATTY: it calls one of its callees many times as often for each request."""

    SLOW = "slow"
    ERRORS = "errors"
    CRASH = "crash"
    SATURATION = "saturation"
    OVERLOAD = "overload"
    MISROUTE = "misroute"
    HANG = "hang"
    CHATTY = "chatty"


class Shape(StrEnum):
    """How strong a fault is over time."""

    STEP = "step"
    RAMP = "ramp"
    BURSTS = "bursts"
    FADING = "fading"


@dataclass(frozen=True, slots=True)
class Cell:
    cause: Cause
    shape: Shape


def cells() -> tuple[Cell, ...]:
    """Every cause in every shape."""
    return tuple(Cell(cause, shape) for cause, shape in product(Cause, Shape))


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """``strength`` over 0: what it means depends on the cause, more is always worse.
    ``callee``: of MISROUTE the one that is called no more, of CHATTY the one called more."""

    cell: Cell
    node: int
    strength: float
    callee: int = -1


@dataclass(slots=True, kw_only=True)
class Strain:
    """Arrays (nodes, steps): own work times ``slow``, own failures ``fail`` (0 to 1), capacity
    times ``capacity``, ``down`` where nothing is left, ``mute`` where nothing is finished, users'
    demand times ``demand``. By (caller, callee): the share of calls (0 to 1) that goes ``astray``
    to a wrong address, and calls a request times ``often``."""

    slow: Floats
    fail: Floats
    capacity: Floats
    down: NDArray[np.bool_]
    mute: NDArray[np.bool_]
    demand: Floats
    astray: dict[tuple[int, int], Floats]
    often: dict[tuple[int, int], Floats]


def calm(nodes: int, steps: int) -> Strain:
    """No fault at all."""
    shape = (nodes, steps)
    return Strain(
        slow=np.ones(shape),
        fail=np.zeros(shape),
        capacity=np.ones(shape),
        down=np.zeros(shape, dtype=bool),
        mute=np.zeros(shape, dtype=bool),
        demand=np.ones(shape),
        astray={},
        often={},
    )


def places(system: System, cause: Cause, reach: set[int]) -> list[int]:
    """Where a fault of this cause can be. ``reach``: what the one who complains depends on."""
    roles = [node.role for node in system.nodes]
    callers = {call.caller for call in system.calls}
    if cause is Cause.OVERLOAD:
        return [i for i, role in enumerate(roles) if role is Role.ENTRY and system.reach(i) & reach]
    if cause in (Cause.MISROUTE, Cause.CHATTY):
        return [i for i in sorted(reach) if i in callers]
    # whoever complains has to be there to complain
    gone = cause in (Cause.CRASH, Cause.HANG)
    return [i for i in sorted(reach) if not (gone and roles[i] is Role.ENTRY)]


def profile(rng: Generator, shape: Shape, steps: int, start: int) -> Floats:
    """Strength over time, 0 to 1: nothing before ``start``."""
    after = np.arange(steps) - start
    length = max(1, steps - start)
    on = (after >= 0).astype(float)
    if shape is Shape.RAMP:
        return on * np.clip((after + 1) / max(1.0, 0.6 * length), 0, 1)
    if shape is Shape.BURSTS:
        bursts = rng.random(steps) < 0.6
        bursts[start : start + 1] = True
        return on * bursts
    if shape is Shape.FADING:
        return on * np.maximum(0.3, 1 - np.maximum(after, 0) / length)
    return on


def apply(strain: Strain, fault: Fault, profile: Floats) -> None:
    """Add the fault to ``strain``, in place."""
    at, much = fault.node, fault.strength * profile
    match fault.cell.cause:
        case Cause.SLOW:
            strain.slow[at] *= 1 + 4 * much
        case Cause.ERRORS:
            strain.fail[at] = 1 - (1 - strain.fail[at]) * (1 - np.clip(0.1 * much, 0, 0.95))
        case Cause.CRASH:
            strain.down[at] |= profile > 0
        case Cause.SATURATION:
            strain.capacity[at] /= 1 + 1.5 * much
        case Cause.OVERLOAD:
            strain.demand[at] *= 1 + 1.5 * much
        case Cause.MISROUTE:
            strain.astray[at, fault.callee] = np.clip(0.3 * much, 0, 1)
        case Cause.HANG:
            strain.mute[at] |= profile > 0
            strain.slow[at] *= np.where(profile > 0, 1e4, 1.0)
        case Cause.CHATTY:
            strain.often[at, fault.callee] = 1 + 2 * much
