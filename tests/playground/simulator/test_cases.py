# SPDX-License-Identifier: Apache-2.0

"""Labelled cases: the same for the same seed, true to their cell, and felt by the target."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from opx.core.analyse.causes.case import Case
from opx.playground.simulator import cases, faults, graphs, metering
from opx.playground.simulator.cases import Confounder, Labelled
from opx.playground.simulator.faults import Cause, Cell, Shape


def finite(case: Case, node: str, metric: str) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    return np.isfinite(np.asarray(case.incident.get(node, {}).get(metric, ()), dtype=float))


@pytest.fixture(scope="module")
def drawn() -> list[Labelled]:
    return list(cases.cases(faults.cells(), range(500, 502)))


def test_every_cause_has_every_shape() -> None:
    """The grammar is their product, each pair once."""
    assert set(faults.cells()) == {Cell(c, s) for c, s in product(Cause, Shape)}
    assert len(faults.cells()) == len(Cause) * len(Shape)


def test_a_case_depends_on_its_cell_and_seed_alone(drawn: list[Labelled]) -> None:
    """Whatever was drawn before it, the same again; another seed, another case."""
    cell = faults.cells()[9]
    again, other = cases.case(cell, 500), cases.case(cell, 502)

    assert repr(again) == repr(drawn[9])
    assert repr(again) != repr(other)


def test_graphs_are_of_five_to_forty_nodes_that_the_target_reaches_into() -> None:
    """Each node but the entries has a caller; calls go down; names tell nothing."""
    for seed in range(200):
        rng = np.random.default_rng(seed)
        system = graphs.draw(rng, retrying=seed % 2 == 0, shared=seed % 3 == 0)
        names = [node.name for node in system.nodes]

        assert graphs.LEAST <= len(names) <= graphs.MOST
        assert len(set(names)) == len(names)
        assert all(call.caller < call.callee for call in system.calls)
        assert len(system.reach(0)) > 1
        for i, node in enumerate(system.nodes):
            assert (node.role is graphs.Role.ENTRY) != bool(system.callers(i))


def test_the_cause_is_a_node_of_the_graph_and_the_target_is_measured(
    drawn: list[Labelled],
) -> None:
    """Who complains has its metric before and during the incident."""
    for one in drawn:
        target = one.case.target
        assert one.cause in one.case.graph
        for measured in (one.case.baseline, one.case.incident):
            values = np.asarray(measured[target.node][f"{target.metric}/{target.agg}"], dtype=float)
            assert np.isfinite(values).mean() > 0.5


def test_the_target_suffers_from_its_fault(drawn: list[Labelled]) -> None:
    """At its worst it is well beyond what it was on average before."""
    for one in drawn:
        name = f"{one.case.target.metric}/{one.case.target.agg}"
        before, during = (
            np.asarray(measured[one.case.target.node][name], dtype=float)
            for measured in (one.case.baseline, one.case.incident)
        )
        good = one.case.target.metric == "availability"
        worst = np.nanmin(during[one.start :]) if good else np.nanmax(during[one.start :])
        change = worst - np.nanmedian(before)
        assert change < 0 if good else change > 0


def test_a_crash_ends_every_metric_of_its_node() -> None:
    """From its first step on, of a crash that lasts."""
    for seed in range(5):
        one = cases.case(Cell(Cause.CRASH, Shape.STEP), seed)
        for metric in one.case.incident.get(one.cause, {}):
            assert not finite(one.case, one.cause, metric)[one.start :].any()


def test_what_hangs_still_counts_requests() -> None:
    """It has no latency to report."""
    measured = [cases.case(Cell(Cause.HANG, Shape.STEP), seed) for seed in range(8)]
    seen = [one for one in measured if one.cause in one.case.incident]

    assert seen
    for one in seen:
        assert not finite(one.case, one.cause, "latency/Average")[one.start :].any()
        assert finite(one.case, one.cause, "requests/Sum")[one.start :].any()


def test_a_wrong_address_is_new_and_called_by_the_cause() -> None:
    """It stands in the graph and in the incident, and not in the baseline."""
    for seed in range(5):
        one = cases.case(Cell(Cause.MISROUTE, Shape.STEP), seed)
        assert metering.GHOST in one.case.graph[one.cause]
        assert metering.GHOST in one.case.incident
        assert metering.GHOST not in one.case.baseline


def test_missing_is_missing_and_late_is_late(drawn: list[Labelled]) -> None:
    """Nodes are unmeasured only where the case says so; a late fault leaves a healthy half."""
    for one in drawn:
        length = len(next(iter(one.case.incident[one.case.target.node].values())))
        if Confounder.MISSING not in one.confounders:
            assert set(one.case.graph) == set(one.case.baseline)
        if Confounder.LATE in one.confounders:
            assert one.start >= length // 2
        else:
            assert one.start <= 2


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        (Shape.STEP, [0, 0, 1, 1, 1, 1, 1]),
        (Shape.RAMP, [0, 0, 1 / 3, 2 / 3, 1, 1, 1]),
        (Shape.FADING, [0, 0, 1, 0.8, 0.6, 0.4, 0.3]),
    ],
)
def test_shapes_are_what_they_are_called(shape: Shape, expected: list[float]) -> None:
    """Seven steps, from the third on."""
    strength = faults.profile(np.random.default_rng(0), shape, 7, 2)

    np.testing.assert_allclose(strength, expected)
