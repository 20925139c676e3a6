# SPDX-License-Identifier: Apache-2.0

"""Labelled cases: a fault of a given cell somewhere in a system, as monitoring shows it.

``case(cell, seed)`` is the same for the same arguments. The label is true by construction: it
is where the fault was put, the one who complains suffers from it, and whatever else is wrong
would hurt less than a third as much. It must never look at what an analysis would say.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from opx.core.analyse.causes.case import Case, Target
from opx.playground.simulator import faults, flow, graphs, metering
from opx.playground.simulator.faults import Cause, Cell, Fault, Shape
from opx.playground.simulator.graphs import Role, System

Floats = NDArray[np.float64]
_Wrong = tuple[Fault, Floats]
"""A fault and how strong it is, step by step."""

SLOWER, FAILING = 0.5, 0.03
"""Who complains is at least this much slower (as a share) or fails this share more."""
TRIES = 40
ELSEWHERE = 0.9
"""How often the fault is not at the one who complains, where there is a choice."""
DAY_S = 86_400


class Confounder(StrEnum):
    """What makes a case hard. SHARED: nodes with many callers. RETRIES: most calls are tried
    again. LATE: the fault begins in the second half of the incident. MISSING: nodes that
    nobody measures, and gaps. SEASON: it happens at a peak that the baseline hardly has.
    DEPLOY: another node is released just then, and is a little slower since."""

    SHARED = "shared"
    RETRIES = "retries"
    LATE = "late"
    MISSING = "missing"
    SEASON = "season"
    DEPLOY = "deploy"


class Overlap(StrEnum):
    """What else is wrong: nothing, something the one who complains does not depend on, or
    something that it does depend on and hardly feels."""

    ALONE = "alone"
    APART = "apart"
    MINOR = "minor"


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """``cause``: the node where the fault is. ``start``: its first step in the incident."""

    case: Case
    cause: str
    cell: Cell
    role: Role
    confounders: frozenset[Confounder]
    overlap: Overlap
    start: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scene:
    """A system and its timetable: ``before`` healthy steps, then the incident's, in which the
    fault begins at ``start`` (a step of the whole)."""

    system: System
    demand: Floats
    before: int
    start: int
    period_s: float

    @property
    def steps(self) -> int:
        return len(self.demand[0])


def cases(cells: Sequence[Cell], seeds: Sequence[int]) -> Iterator[Labelled]:
    """Each cell with each seed."""
    for seed in seeds:
        for cell in cells:
            yield case(cell, seed)


def case(cell: Cell, seed: int) -> Labelled:
    """One case. Draws again (the draws are part of the same seed) until the fault is felt."""
    number = faults.cells().index(cell)
    rng = np.random.default_rng([seed, number])
    while True:
        confounders = frozenset(c for c in Confounder if rng.random() < 0.35)
        scene = _scene(rng, confounders)
        found = _fault(rng, scene, cell)
        if found is not None:
            main, metric = found
            return _labelled(rng, scene, confounders, main, metric)


def _scene(rng: Generator, confounders: frozenset[Confounder]) -> _Scene:
    system = graphs.draw(
        rng,
        retrying=Confounder.RETRIES in confounders,
        shared=Confounder.SHARED in confounders,
    )
    period_s = float(rng.choice((60.0, 300.0)))
    before, during = (480, 15) if period_s == 60 else (288, 8)
    during += int(rng.integers(-3, 6))
    late = Confounder.LATE in confounders
    start = before + (during // 2 + int(rng.integers(0, 2)) if late else int(rng.integers(0, 3)))
    at = np.arange(before + during) * period_s
    peak = (before + during / 2) * period_s + DAY_S * rng.uniform(0.2, 0.8)
    if Confounder.SEASON in confounders:
        peak = (before + during / 2) * period_s
    season = 1 + rng.uniform(0.1, 0.5) * np.cos(2 * np.pi * (at - peak) / DAY_S)
    demand = np.array(system.demand)[:, None] * season
    demand = demand * np.exp(0.05 * rng.standard_normal(demand.shape))
    return _Scene(system=system, demand=demand, before=before, start=start, period_s=period_s)


def _fault(rng: Generator, scene: _Scene, cell: Cell) -> tuple[_Wrong, str] | None:
    """A fault of this cell that entry 0 feels, its profile, and the metric that shows it."""
    places = faults.places(scene.system, cell.cause, scene.system.reach(0))
    elsewhere = [node for node in places if node != 0]
    if elsewhere and rng.random() < ELSEWHERE:
        places = elsewhere
    if not places:
        return None
    for _ in range(TRIES):
        node = int(rng.choice(places))
        callees = [c.callee for c in scene.system.calls if c.caller == node]
        callee = int(rng.choice(callees)) if cell.cause in (Cause.MISROUTE, Cause.CHATTY) else -1
        strength = float(np.exp(rng.uniform(np.log(0.5), np.log(8))))
        fault = Fault(cell=cell, node=node, strength=strength, callee=callee)
        profile = faults.profile(rng, cell.shape, scene.steps, scene.start)
        slower, failing = _felt(scene, [(fault, profile)])
        if slower >= SLOWER or failing >= FAILING:
            metric = "latency" if slower / SLOWER >= failing / FAILING else "availability"
            return (fault, profile), metric
    return None


def _felt(scene: _Scene, wrong: Sequence[_Wrong]) -> tuple[float, float]:
    """How much slower (share) entry 0 is, and how much more it fails, where the first of what
    is wrong is at least half as strong as it gets."""
    profile = wrong[0][1]
    at = profile >= profile.max() / 2
    wrong = [(fault, profile[at]) for fault, profile in wrong]
    demand = scene.demand[:, at]
    well = flow.run(scene.system, demand, _strain(scene, (), demand.shape[1]))
    ill = flow.run(scene.system, demand, _strain(scene, wrong, demand.shape[1]))
    slower = np.median(ill.latency[0] / well.latency[0]) - 1
    return float(slower), float(np.median(ill.failed[0] - well.failed[0]))


def _strain(scene: _Scene, wrong: Sequence[_Wrong], steps: int) -> faults.Strain:
    strain = faults.calm(len(scene.system.nodes), steps)
    for fault, profile in wrong:
        faults.apply(strain, fault, profile)
    return strain


def _labelled(
    rng: Generator,
    scene: _Scene,
    confounders: frozenset[Confounder],
    main: _Wrong,
    metric: str,
) -> Labelled:
    overlap = Overlap(rng.choice(list(Overlap), p=(0.5, 0.25, 0.25)))
    other = _other(rng, scene, main, overlap)
    wrong = [main] if other is None else [main, other]
    strain = _strain(scene, wrong, scene.steps)
    fault, node = main[0], scene.system.nodes[main[0].node]
    if Confounder.DEPLOY in confounders:
        released = int(rng.integers(len(scene.system.nodes)))
        if released != fault.node:
            strain.slow[released, scene.start :] *= 1.1
    shown = flow.run(scene.system, scene.demand, strain)
    scheme = _scheme(rng, scene.system, Confounder.MISSING in confounders)
    seen = metering.measure(rng, scene.system, shown, scheme, scene.period_s)
    graph = scene.system.graph()
    if metering.GHOST in seen:
        graph[node.name].append(metering.GHOST)
    counted = metric == "availability" and scheme.counts_errors
    metric, agg = ("errors", "Sum") if counted else (metric, "Average")
    return Labelled(
        case=Case(
            target=Target(node=scene.system.nodes[0].name, metric=metric, agg=agg),
            graph=graph,
            baseline=_cut(seen, slice(0, scene.before)),
            incident=_cut(seen, slice(scene.before, None)),
            period_s=scene.period_s,
        ),
        cause=node.name,
        cell=fault.cell,
        role=node.role,
        confounders=confounders,
        overlap=Overlap.ALONE if other is None else overlap,
        start=scene.start - scene.before,
    )


def _other(rng: Generator, scene: _Scene, main: _Wrong, overlap: Overlap) -> _Wrong | None:
    """A second fault, felt by entry 0 less than a third as much as the main one."""
    reach = scene.system.reach(0)
    apart = set(range(len(scene.system.nodes))) - reach
    places = sorted((apart if overlap is Overlap.APART else reach) - {main[0].node})
    if overlap is Overlap.ALONE or not places:
        return None
    cause = Cause(rng.choice([Cause.SLOW, Cause.ERRORS]))
    much = _hurt(scene, [main])
    for _ in range(TRIES):
        fault = Fault(
            cell=Cell(cause, Shape.STEP),
            node=int(rng.choice(places)),
            strength=float(rng.uniform(0.5, 3)),
        )
        start = scene.start + int(rng.integers(-2, 3))
        profile = faults.profile(rng, Shape.STEP, scene.steps, max(scene.before, start))
        if _hurt(scene, [(fault, profile)]) < much / 3:
            return fault, profile
    return None


def _hurt(scene: _Scene, wrong: Sequence[_Wrong]) -> float:
    slower, failing = _felt(scene, wrong)
    return max(slower / SLOWER, failing / FAILING)


def _scheme(rng: Generator, system: System, missing: bool) -> metering.Scheme:
    """Entry 0 is always measured: it complains."""
    unseen = [
        i
        for i, node in enumerate(system.nodes)
        if i and missing and rng.random() < (0.4 if node.role is Role.EXTERNAL else 0.1)
    ]
    return metering.Scheme(
        counts_errors=bool(rng.random() < 0.3),
        processors=bool(rng.random() < 0.5),
        unseen=frozenset(unseen),
        gaps=0.1 if missing else 0.005,
    )


def _cut(seen: dict[str, metering.Metrics], steps: slice) -> dict[str, metering.Metrics]:
    """These steps, of whoever reported at all in them."""
    cut = {
        node: {name: values[steps] for name, values in metrics.items()}
        for node, metrics in seen.items()
    }
    return {
        node: metrics
        for node, metrics in cut.items()
        if not all(np.isnan(values).all() for values in metrics.values())
    }
