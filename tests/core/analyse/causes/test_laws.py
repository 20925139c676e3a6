# SPDX-License-Identifier: Apache-2.0

"""What holds for the ranking of causes whatever the case is."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from opx.core.analyse.causes import ranking
from opx.core.analyse.causes.case import Case, Target

NODES = ("a", "b", "c", "d", "e")
METRICS = ("latency/Average", "availability/Average", "requests/Sum")
LEVELS = st.one_of(st.none(), st.integers(0, 1_000).map(lambda n: n / 8))


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Up to five nodes that call each other at will, with few values and gaps."""

    def measured() -> dict[str, dict[str, list[float | None]]]:
        return {
            node: {metric: draw(st.lists(LEVELS, max_size=5)) for metric in METRICS}
            for node in draw(st.sets(st.sampled_from(NODES)))
        }

    graph = draw(
        st.dictionaries(st.sampled_from(NODES), st.lists(st.sampled_from(NODES), unique=True))
    )
    metric, _, agg = draw(st.sampled_from(METRICS)).partition("/")
    return Case(
        target=Target(node=draw(st.sampled_from(NODES)), metric=metric, agg=agg),
        graph=graph,
        baseline=measured(),
        incident=measured(),
        period_s=60,
    )


def turned(mapping: Any) -> Any:
    """The same, with every key and every list of nodes the other way round."""
    if isinstance(mapping, dict):
        return {key: turned(value) for key, value in reversed(mapping.items())}
    if mapping and all(isinstance(one, str) for one in mapping):
        return mapping[::-1]
    return mapping


def scaled(measured: Any, metric: str, by: float) -> Any:
    """``metric`` in another unit at every node."""
    return {
        node: {
            name: [None if v is None else v * by for v in values] if name == metric else values
            for name, values in metrics.items()
        }
        for node, metrics in measured.items()
    }


def like(case: Case, **other: Any) -> Case:
    fields = ("target", "graph", "baseline", "incident", "period_s")
    return Case(**{name: other.get(name, getattr(case, name)) for name in fields})


@given(cases())
def test_scores_are_shares(case: Case) -> None:
    """Each is from 0 to 1, all together are at most 1, best first, every node once."""
    causes = ranking.rank(case)
    scores = [cause.score for cause in causes]

    assert all(0 <= score <= 1 for score in scores)
    assert sum(scores) <= 1 + 1e-9
    assert scores == sorted(scores, reverse=True)
    assert len({cause.node for cause in causes}) == len(causes)


@given(cases())
def test_order_means_nothing(case: Case) -> None:
    """Nodes, metrics and callees in any order give the same causes with the same evidence."""
    other = like(
        case,
        graph=turned(case.graph),
        baseline=turned(case.baseline),
        incident=turned(case.incident),
    )

    assert ranking.rank(other) == ranking.rank(case)


@given(cases(), st.sampled_from(METRICS), st.sampled_from((2.0**-10, 0.5, 4.0, 2.0**10)))
def test_units_mean_nothing(case: Case, metric: str, by: float) -> None:
    """Seconds or milliseconds, percent or share, a minute or a second: the scores are the same.
    (By powers of two, which floating point scales without loss.)"""
    other = like(
        case,
        baseline=scaled(case.baseline, metric, by),
        incident=scaled(case.incident, metric, by),
    )

    def scores(of: Case) -> list[tuple[str, float]]:
        return [(cause.node, cause.score) for cause in ranking.rank(of)]

    assert scores(other) == scores(case)


@given(cases(), st.text(min_size=1).filter(lambda name: name not in NODES))
def test_an_unrelated_healthy_node_changes_nothing(case: Case, name: str) -> None:
    """A node that nobody calls and that is as ever has no score, and the others keep theirs."""
    steps = max((len(v) for m in case.incident.values() for v in m.values()), default=0)
    well = {"latency/Average": [5.0] * steps, "requests/Sum": [50.0] * steps}
    other = like(
        case,
        graph={**case.graph, name: []},
        baseline={**case.baseline, name: well},
        incident={**case.incident, name: well},
    )

    before = {cause.node: cause.score for cause in ranking.rank(case)}
    after = {cause.node: cause.score for cause in ranking.rank(other)}

    assert after == {**before, name: 0.0}
