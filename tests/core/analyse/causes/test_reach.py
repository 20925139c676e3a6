# SPDX-License-Identifier: Apache-2.0

"""Who explains how much, and whose traffic comes from above: as by asking node by node, at the
price of looking at each node and call a few times only."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from opx.core.analyse.causes import ranking, walk
from opx.core.analyse.causes.case import Case, Target
from opx.core.analyse.causes.reach import Reach
from opx.core.analyse.causes.reading import Kind
from opx.core.analyse.causes.shifts import Presence, Shift
from opx.core.analyse.causes.walk import Scene

NODES = tuple("abcdefg")
EIGHTHS = st.integers(0, 8).map(lambda n: n / 8)


class Counted(dict[str, list[str]]):
    """A mapping that knows how often it was asked."""

    asked = 0

    def __getitem__(self, key: str) -> list[str]:
        self.asked += 1
        return super().__getitem__(key)


def moved(proof: float, rise: float = 0.0) -> Shift:
    """By eighths: their sums are exact, in whatever order."""
    return Shift(metric="m", expected=1.0, came=1 + rise, delta=rise, proof=proof, onset=None)


def scene(callees: dict[str, list[str]], shifts: dict[tuple[str, Kind], Shift]) -> Scene:
    callers: dict[str, list[str]] = {node: [] for node in callees}
    for caller, called in callees.items():
        for callee in called:
            callers[callee].append(caller)
    return Scene(
        callees=Counted(callees),
        callers=Counted(callers),
        presence=dict.fromkeys(callees, Presence.HERE),
        shifts=shifts,
        traffic={},
        asked={},
    )


@st.composite
def scenes(draw: st.DrawFn) -> Scene:
    """Seven nodes that call each other at will, circles and all, some ill, some with traffic."""
    callees = {
        node: sorted(draw(st.sets(st.sampled_from(NODES), max_size=3)) - {node}) for node in NODES
    }
    shifts: dict[tuple[str, Kind], Shift] = {}
    for node in NODES:
        for kind in draw(st.sets(st.sampled_from((Kind.SLOW, Kind.FAILING)))):
            shifts[node, kind] = moved(draw(EIGHTHS))
        if draw(st.booleans()):
            shifts[node, Kind.LOAD] = moved(0.0, draw(EIGHTHS))
    return scene(callees, shifts)


def closure(edges: Any, start: set[str]) -> set[str]:
    found = set(start)
    for _ in NODES:
        found |= {other for node in found for other in edges[node]}
    return found


@given(scenes())
def test_covered_is_the_share_of_trouble_at_all_who_are_hit(of: Scene) -> None:
    """Those who depend on the node; with a surge, those who depend on what it calls."""
    ill = {
        node: max((s.proof for (n, k), s in of.shifts.items() if n == node and k is not Kind.LOAD),
                  default=0.0)
        for node in NODES
    }  # fmt: skip
    total, reach = sum(ill.values()), Reach(of)

    for node in NODES:
        for kind in (Kind.SLOW, Kind.LOAD):
            below = closure(of.callees, {node}) if kind is Kind.LOAD else {node}
            hit = closure(of.callers, below)
            share = sum(ill[one] for one in hit) / total if total else 1.0
            assert reach.covered(node, kind) == share


@given(scenes())
def test_demand_is_what_the_best_way_down_brings(of: Scene) -> None:
    """As many rounds as there are nodes, each from all callers, come to the same."""
    found = {node: 0.0 if of.callers[node] else 1.0 for node in NODES}
    for _ in NODES:
        found = {
            node: max((walk._sent(of, c, node) * found[c] for c in of.callers[node]), default=1.0)
            for node in NODES
        }

    assert walk.demand(of) == found


def test_each_node_is_looked_at_a_few_times_however_deep_they_lie() -> None:
    """A chain of a thousand, all ill: asking each for all above it would be half a million."""
    names = [f"n{n}" for n in range(1_000)]
    callees = {node: names[n + 1 : n + 2] for n, node in enumerate(names)}
    of = scene(callees, {(node, Kind.SLOW): moved(0.5) for node in names})
    looks: tuple[Any, Any] = (of.callers, of.callees)

    reach = Reach(of)
    covered = [reach.covered(node, kind) for node in names for kind in (Kind.SLOW, Kind.LOAD)]
    demands = walk.demand(of)

    assert covered == [share for n in range(1_000) for share in ((n + 1) / 1_000, 1.0)]
    assert demands["n0"] == 1.0
    assert demands["n1"] == walk.UNSEEN
    assert sum(one.asked for one in looks) <= 10 * len(names)


def test_two_thousand_nodes_are_ranked() -> None:
    """Ten layers of 200 in which each calls three of the next one: one at the bottom is slow and
    so is everything above it. It is first, and explains all of it."""
    width, layers = 200, 10
    graph = {
        f"{layer}.{n}": [f"{layer + 1}.{(3 * n + k) % width}" for k in range(3)]
        for layer in range(layers - 1)
        for n in range(width)
    }
    slow = closure_up(graph, f"{layers - 1}.7")
    nodes = [f"{layer}.{n}" for layer in range(layers) for n in range(width)]
    ranked = ranking.rank(
        Case(
            target=Target(node="0.0", metric="latency"),
            graph=graph,
            baseline={node: {"latency": [10.0, 11.0, 10.0, 11.0]} for node in nodes},
            incident={
                node: {"latency": [10.0, 50.0, 50.0] if node in slow else [10.0, 11.0, 10.0]}
                for node in nodes
            },
            period_s=60,
        )
    )

    assert "0.0" in slow
    assert len(ranked) == width * layers
    assert ranked[0].node == f"{layers - 1}.7"
    assert all(not one.kind.against for one in ranked[0].evidence)


def closure_up(graph: dict[str, list[str]], node: str) -> set[str]:
    found = {node}
    for _ in range(10):
        found |= {caller for caller, callees in graph.items() if found & set(callees)}
    return found
