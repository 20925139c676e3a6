# SPDX-License-Identifier: Apache-2.0

"""How often the true cause is ranked first on the simulator's cases, confounders and all.

On seeds that no constant was chosen with, apart by what was kept out of the choice: a whole
cause, and of each other cause one shape. Beside it, on the same cases, a simple rule: of all
nodes that the target can reach, the one whose own metric moved most, callees before callers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from opx.bench.detect import intervals
from opx.bench.figures import Figure, Tell
from opx.core.analyse.causes import ranking, reading, shifts
from opx.core.analyse.causes.case import Case
from opx.core.base import circles
from opx.playground.simulator import cases, faults
from opx.playground.simulator.faults import Cause, Cell, Shape

SEEDS = 5
"""Of each cell."""
FIRST = 1_000
"""The constants were chosen with seeds below 16."""
KEPT_OUT = Cause.CHATTY
"""A whole cause: a caller that asks far more often."""
MOVED = 9 / (9 + shifts.HALF**2)
"""The proof of a shift of three scales."""
BOUNDS = {"": ("0.60", "0.80")}
"""Must and aim."""
GROUPS = {"": "all cells", "shapes": "shapes kept out", "cause": "a whole cause kept out"}


def measure(seed: int, tell: Tell) -> list[Figure]:
    """``seed``: draws the intervals."""
    cells = faults.cells()
    tell(f"causes, simulated: {len(cells)} cells with {SEEDS} seeds each")
    hits: dict[str, list[tuple[bool, bool]]] = defaultdict(list)
    for made in cases.cases(cells, range(FIRST, FIRST + SEEDS)):
        ours, simple = ranking.rank(made.case)[0].node, deepest(made.case)
        for group in {"", origin(made.cell)} & GROUPS.keys():
            hits[group].append((ours == made.cause, simple == made.cause))
    return [_figure(group, hits[group], seed) for group in GROUPS]


def origin(cell: Cell) -> str:
    """``cause`` or ``shapes`` for what was kept out of all choices, ``tuned`` for the rest."""
    if cell.cause is KEPT_OUT:
        return "cause"
    place = list(Cause).index(cell.cause) + list(Shape).index(cell.shape)
    return "shapes" if place % len(Shape) == 0 else "tuned"


def deepest(case: Case) -> str:
    """The simple rule: who moved by more than three scales, first who has no such callee."""
    everything = np.ones(reading.steps_of(case), dtype=np.bool_)
    kind = reading.kind_of(case.target.metric)
    proof = dict.fromkeys(reading.nodes_of(case), 0.0)
    for (node, of), track in reading.tracks(case).items():
        moved = shifts.shift(track, of, everything)
        if of is kind and moved is not None:
            proof[node] = moved.proof
    reach = circles.reached([case.target.node], lambda node: case.graph.get(node, ()))
    ill = {node for node in reach if proof[node] > MOVED}

    def key(node: str) -> tuple[bool, bool, float, str]:
        leaf = not any(callee in ill for callee in case.graph.get(node, ()))
        return node not in ill, not leaf, -proof[node], node

    return min(reach, key=key)


def _figure(group: str, hits: Sequence[tuple[bool, bool]], seed: int) -> Figure:
    drawn = intervals.draws(len(hits), seed)
    ours, simple = (intervals.mean(one, drawn) for one in np.array(hits, np.float64).T)
    must, aim = BOUNDS.get(group, ("", ""))
    return replace(
        ours.figure(f"causes on simulated cases, {GROUPS[group]}: the true one first", digits=2),
        anchor=f"simple rule {simple.value:.2f}",
        must=must,
        aim=aim,
        note=f"{len(hits)} cases with confounders, unseen seeds; theirs: on the same"
        f" [{simple.low:.2f} to {simple.high:.2f}]",
    )
