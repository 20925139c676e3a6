# SPDX-License-Identifier: Apache-2.0

"""How often the true cause is ranked first, and among the first three, with 95 % intervals.

``python bench/causes.py [--seeds N] [--first SEED] [--data DIR]``. On the simulator's cases,
apart by what the ranking's constants were chosen with (some cells, seeds before 16) and what
was kept out of that; and, with ``--data``, on recorded ones in
the layout of the PetShop data set. Beside it a simple rule: of all nodes that the target can
reach, the one whose own metric moved most, callees before their callers.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from opx.bench.detect import causes as petshop
from opx.bench.detect import intervals
from opx.core.analyse.causes import ranking, reading, shifts
from opx.core.analyse.causes.case import Case, Target
from opx.playground.simulator import cases, faults
from opx.playground.simulator.faults import Cause, Cell, Shape

TUNED_BEFORE = 16
KEPT_OUT = Cause.CHATTY
"""A whole cause."""


def _origin(cell: Cell) -> str:
    """Kept out too: of each other cause one shape, a different one each time."""
    if cell.cause is KEPT_OUT:
        return "cause kept out"
    place = list(Cause).index(cell.cause) + list(Shape).index(cell.shape)
    return "shapes kept out" if place % len(Shape) == 0 else "cells tuned on"


Rule = Callable[[Case], list[str]]
Hits = dict[str, list[tuple[bool, bool]]]


def ours(case: Case) -> list[str]:
    return [cause.node for cause in ranking.rank(case)]


def simple(case: Case) -> list[str]:
    """Nodes that moved by more than three scales, those without such callees first."""
    tracks = reading.tracks(case)
    everything = np.ones(reading.steps_of(case), dtype=np.bool_)
    kind = reading.kind_of(case.target.metric)
    proof = dict.fromkeys(reading.nodes_of(case), 0.0)
    for (node, of), track in tracks.items():
        moved = shifts.shift(track, of, everything)
        if of is kind and moved is not None:
            proof[node] = moved.proof
    reach = {case.target.node}
    for _ in proof:
        reach |= {callee for node in reach for callee in case.graph.get(node, ())}
    ill = {node for node in reach if proof[node] > 9 / (9 + shifts.HALF**2)}

    def key(node: str) -> tuple[bool, bool, float, str]:
        leaf = not any(callee in ill for callee in case.graph.get(node, ()))
        return node not in ill, not leaf, -proof[node], node

    return sorted(reach, key=key)


RULES: dict[str, Rule] = {"ours": ours, "simple rule": simple}


def recorded(data: Path) -> Iterator[tuple[str, Case, str]]:
    """(scenario, case, cause) of every case under ``data``."""
    for one in petshop.read(data):
        target = Target(**{name: one.body["target"][name] for name in ("node", "metric", "agg")})
        case = Case(**{**one.body, "target": target})
        yield one.name, case, one.cause


def simulated(seeds: range) -> Iterator[tuple[list[str], Case, str]]:
    """(groups, case, cause)."""
    for made in cases.cases(faults.cells(), seeds):
        groups = [_origin(made.cell), f"cause {made.cell.cause}", f"overlap {made.overlap}"]
        groups += [f"with {confounder}" for confounder in sorted(made.confounders)]
        yield groups, made.case, made.cause


def add(hits: Hits, groups: list[str], ranked: list[str], cause: str) -> None:
    for group in groups:
        hits[group].append((ranked[:1] == [cause], cause in ranked[:3]))


def show(title: str, hits: Hits) -> None:
    """A line a group: the shares, and their intervals by the bootstrap over cases."""
    print(title)
    for group, found in hits.items():
        drawn = intervals.draws(len(found), 0)
        measured = [intervals.mean(hit, drawn) for hit in np.array(found, dtype=float).T]
        top1, top3 = (f"{one.value:.3f} [{one.low:.2f}, {one.high:.2f}]" for one in measured)
        print(f"  {group:28s} {len(found):4d} cases   top-1 {top1}   top-3 {top3}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="recorded cases, in PetShop's layout")
    parser.add_argument("--seeds", type=int, default=10, help="of each simulated cell")
    parser.add_argument("--first", type=int, default=1_000, help="the first of these seeds")
    given = parser.parse_args()
    for name, rule in RULES.items():
        if given.data:
            hits: Hits = defaultdict(list)
            for scenario, case, cause in recorded(given.data):
                add(hits, [scenario, "all"], rule(case), cause)
            show(f"{name}, recorded cases in {given.data.name}", hits)
        if given.seeds:
            hits = defaultdict(list)
            for groups, case, cause in simulated(range(given.first, given.first + given.seeds)):
                add(hits, ["all", *groups], rule(case), cause)
            fresh = "unseen seeds" if given.first >= TUNED_BEFORE else "seeds tuned on"
            show(f"{name}, simulated cases, {fresh}", dict(sorted(hits.items())))


if __name__ == "__main__":
    main()
