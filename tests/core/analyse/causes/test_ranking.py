# SPDX-License-Identifier: Apache-2.0

"""Causes are ranked over the call graph: hand-made systems whose cause is known."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from opx.core.analyse.causes import ranking
from opx.core.analyse.causes.case import Case, Target
from opx.core.analyse.causes.ranking import Cause, EvidenceKind

CALM, ILL = 20, 6
"""Values of a baseline, and of an incident whose last four are bad."""
WOBBLE = (0.98, 1.0, 1.02, 1.0)

Node = dict[str, tuple[float, float | None]]
"""{metric: (usual, while it is bad)}. None: not reported while it is bad."""


def usual(level: float, count: int) -> list[float | None]:
    return [level * WOBBLE[i % len(WOBBLE)] for i in range(count)]


def case(
    nodes: Mapping[str, Node],
    graph: Mapping[str, Sequence[str]],
    metric: str = "latency",
    target: str = "web",
) -> Case:
    baseline = {n: {m: usual(a, CALM) for m, (a, _) in of.items()} for n, of in nodes.items()}
    incident = {
        n: {m: usual(a, 2) + [b] * (ILL - 2) for m, (a, b) in of.items()} for n, of in nodes.items()
    }
    return Case(
        target=Target(node=target, metric=metric),
        graph=graph,
        baseline=baseline,
        incident=incident,
        period_s=60,
    )


def node(
    latency: tuple[float, float | None] = (10, 10),
    errors: tuple[float, float | None] = (0, 0),
    requests: tuple[float, float | None] = (100, 100),
) -> Node:
    return {"latency": latency, "error_rate": errors, "requests": requests}


def best(of: Case) -> str:
    return ranking.rank(of)[0].node


def found(of: Case, name: str) -> Cause:
    return next(cause for cause in ranking.rank(of) if cause.node == name)


def kinds(cause: Cause) -> set[EvidenceKind]:
    return {one.kind for one in cause.evidence}


CHAIN = {"web": ["shop"], "shop": ["db"]}


def test_the_deepest_slow_callee_is_the_cause() -> None:
    """Latency that db adds is passed up unchanged: db explains shop and web, nothing explains
    db."""
    slow = {"web": node((50, 90)), "shop": node((30, 70)), "db": node((10, 50))}

    causes = ranking.rank(case(slow, CHAIN))

    assert causes[0].node == "db"
    assert causes[0].score > 0.8
    assert sum(cause.score for cause in causes) <= 1


def test_a_callee_that_moved_too_little_does_not_explain_its_caller() -> None:
    """db is ten times slower and adds 0.9 ms of the 40 ms that web lost: web itself is ill."""
    slow = {"web": node((50, 90)), "db": node((0.1, 1.0))}

    assert best(case(slow, {"web": ["db"]})) == "web"


def test_many_small_calls_explain_what_one_would_not() -> None:
    """20 calls a request, 2 ms slower each, are the 40 ms."""
    slow = {
        "web": node((50, 90)),
        "db": node((3, 5), requests=(2000, 2000)),
        "mail": node((10, 14)),
    }

    assert best(case(slow, {"web": ["db", "mail"]})) == "db"


def test_latency_and_failures_are_treated_apart() -> None:
    """web fails because auth fails; that mail became slow is another matter."""
    nodes = {
        "web": node(errors=(0, 0.2)),
        "auth": node(errors=(0, 0.2)),
        "mail": node(latency=(10, 40)),
    }

    assert best(case(nodes, {"web": ["auth", "mail"]}, metric="error_rate")) == "auth"


def test_what_was_different_before_the_trouble_is_no_explanation() -> None:
    """cache has been slow for the whole incident, web only since db is."""
    of = case(
        {"web": node((50, 90)), "cache": node((10, 50)), "db": node((10, 50))},
        {"web": ["cache", "db"]},
    )
    worn = {**of.incident["cache"], "latency": [50.0] * ILL}
    since = Case(
        target=of.target,
        graph=of.graph,
        baseline=of.baseline,
        incident={**of.incident, "cache": worn},
        period_s=60,
    )

    assert best(since) == "db"
    assert EvidenceKind.STEADY in kinds(found(since, "cache"))


def test_a_shared_node_explains_more_than_its_neighbour() -> None:
    """store and mail would explain web alike; only store explains the other shop too."""
    nodes = {
        "web": node((50, 90)),
        "other": node((50, 90)),
        "store": node((10, 50), requests=(200, 200)),
        "mail": node((10, 50)),
    }
    of = case(nodes, {"web": ["store", "mail"], "other": ["store"]})

    left = {
        name: next(e.came for e in found(of, name).evidence if e.kind is EvidenceKind.OTHERS)
        for name in ("store", "mail")
    }

    assert best(of) == "store"
    # four nodes are ill: store cannot explain mail, and mail neither store nor other
    assert left == {"store": pytest.approx(1 / 4, abs=0.02), "mail": pytest.approx(2 / 4, abs=0.02)}


def test_a_node_that_stopped_reporting_is_a_suspect() -> None:
    """All of db's metrics end when web begins to fail."""
    gone = node((10, None), (0, None), (100, None))
    nodes = {"web": node(errors=(0, 0.9)), "shop": node(errors=(0, 0.9)), "db": gone}
    of = case(nodes, CHAIN, metric="error_rate")

    assert best(of) == "db"
    assert EvidenceKind.SILENT in kinds(found(of, "db"))


def test_what_takes_requests_and_finishes_none_is_a_suspect() -> None:
    """db still counts requests; its latency is reported no more."""
    hangs = {"latency": (10.0, None), "requests": (100.0, 100.0)}
    nodes = {"web": node(errors=(0, 0.9)), "shop": node(errors=(0, 0.9)), "db": hangs}

    assert best(case(nodes, CHAIN, metric="error_rate")) == "db"


def test_who_gets_no_calls_because_its_caller_is_gone_is_no_suspect() -> None:
    """shop is gone, so nobody calls db any more."""
    nodes = {
        "web": node(errors=(0, 0.9)),
        "shop": node((10, None), (0, None), (100, None)),
        "db": node((10, None), (0, None), (100, 0)),
    }
    of = case(nodes, {"web": ["shop", "db"], "shop": ["db"]}, metric="error_rate")

    assert best(of) == "shop"


def test_a_node_that_never_reported_is_unknown() -> None:
    """Nothing speaks for cloud, so it takes less of the belief than web, which was seen ill;
    what is left unexplained may still be there."""
    of = case({"web": node((50, 90)), "db": node()}, {"web": ["cloud", "db"]})

    assert best(of) == "web"
    assert found(of, "web").score > found(of, "cloud").score > found(of, "db").score
    assert kinds(found(of, "cloud")) == {EvidenceKind.UNSEEN}


def test_belief_passes_through_a_node_that_never_reported() -> None:
    """web calls mesh, which nobody measures, and mesh calls db, which is slow."""
    of = case({"web": node((50, 90)), "db": node((10, 50))}, {"web": ["mesh"], "mesh": ["db"]})

    ranked = [cause.node for cause in ranking.rank(of)]

    assert ranked.index("db") < ranked.index("mesh")


def test_a_surge_is_followed_up_to_who_sends_it() -> None:
    """batch sends five times as much, db gets slow under it, and web suffers."""
    nodes = {
        "web": node((50, 90)),
        "batch": node((50, 90), requests=(100, 500)),
        "db": node((10, 50), requests=(200, 600)),
    }
    of = case(nodes, {"web": ["db"], "batch": ["db"]})

    assert best(of) == "batch"
    assert EvidenceKind.MORE_TRAFFIC in kinds(found(of, "batch"))
    assert EvidenceKind.OTHERS not in kinds(found(of, "batch"))


def test_a_retry_storm_is_not_taken_for_a_surge() -> None:
    """shop asks db three times as often because db fails, and so db asks disk, which is what
    fails; web's users ask no more than ever."""
    nodes = {
        "web": node(errors=(0, 0.5)),
        "shop": node(errors=(0, 0.5)),
        "db": node(errors=(0, 0.8), requests=(100, 300)),
        "disk": node(errors=(0, 0.8), requests=(100, 300)),
    }

    assert best(case(nodes, {**CHAIN, "db": ["disk"]}, metric="error_rate")) == "disk"


def test_who_calls_a_node_that_did_not_exist_has_changed() -> None:
    """shop calls other-db, where everything fails, instead of db, which is idle now."""
    of = case(
        {
            "web": node(errors=(0, 0.9)),
            "shop": node(errors=(0, 0.9)),
            "db": node((10, None), (0, None), (100, 0)),
        },
        {"web": ["shop"], "shop": ["db", "other-db"]},
        metric="error_rate",
    )
    ghost: dict[str, list[float | None]] = {
        "error_rate": [None] * 2 + [1.0] * 4,
        "requests": [None] * 2 + [100.0] * 4,
    }
    turned = Case(
        target=of.target,
        graph=of.graph,
        baseline=of.baseline,
        incident={**of.incident, "other-db": ghost},
        period_s=60,
    )

    assert best(turned) == "shop"
    assert EvidenceKind.NEW_CALLEE in kinds(found(turned, "shop"))


def test_a_cycle_does_no_harm() -> None:
    """shop and stock call each other, and db is slow below them."""
    nodes = {
        "web": node((90, 130)),
        "shop": node((60, 100)),
        "stock": node((30, 70)),
        "db": node((10, 50)),
    }
    graph = {"web": ["shop"], "shop": ["stock"], "stock": ["db", "shop"], "db": ["db"]}

    assert best(case(nodes, graph)) == "db"


def test_what_begins_later_explains_less() -> None:
    """Two callees slow alike; the one that began three steps after web is the less likely."""
    of = case(
        {"web": node((50, 90)), "a": node((10, 50)), "b": node((10, 50))}, {"web": ["a", "b"]}
    )
    late = {**of.incident["a"], "latency": [*usual(10, 5), *[90.0] * 5]}
    longer = {
        name: {m: [*values, *[values[-1]] * 4] for m, values in metrics.items()}
        for name, metrics in of.incident.items()
    }
    since = Case(
        target=of.target,
        graph=of.graph,
        baseline=of.baseline,
        incident={**longer, "a": {**longer["a"], **late}},
        period_s=60,
    )

    assert found(since, "b").score > found(since, "a").score
    assert EvidenceKind.LATER in kinds(found(since, "a"))


def test_evidence_says_what_was_expected_and_what_came() -> None:
    """db's median was 10 ms, and 50 ms from the third step on."""
    of = case({"web": node((50, 90)), "db": node((10, 50))}, {"web": ["db"]})

    (slower,) = [e for e in found(of, "db").evidence if e.kind is EvidenceKind.SLOWER]

    assert (slower.metric, slower.expected, slower.came, slower.onset) == ("latency", 10, 50, 2)
    assert not slower.kind.against


def test_availability_in_percent_is_a_share_of_failures() -> None:
    """99 % of availability is 0.01 of failures."""
    of = case(
        {"web": {"availability": (100.0, 98.0)}, "db": {"availability": (100.0, 98.0)}},
        {"web": ["db"]},
        metric="availability",
    )
    flat = {n: {"availability": [100.0] * CALM} for n in ("web", "db")}
    full = {n: {"availability": [100.0, 100.0, 98.0, 98.0, 98.0, 98.0]} for n in ("web", "db")}
    of = Case(target=of.target, graph=of.graph, baseline=flat, incident=full, period_s=60)

    (failing,) = [e for e in found(of, "db").evidence if e.kind is EvidenceKind.FAILS_MORE]

    assert best(of) == "db"
    assert (failing.expected, failing.came) == (0, pytest.approx(0.02))


def test_nodes_that_tell_neither_of_latency_nor_of_failures_are_judged_by_the_rest() -> None:
    """Only the processors of the two databases are known; one of them went from 20 to 95 %."""
    nodes: dict[str, Node] = {
        "web": node((50, 90)),
        "db": {"cpu": (20.0, 95.0)},
        "other": {"cpu": (20.0, 20.0)},
    }

    assert [c.node for c in ranking.rank(case(nodes, {"web": ["db", "other"]}))][:2] == [
        "db",
        "web",
    ]


def test_nothing_wrong_is_nothing_believed() -> None:
    """Where the target is as ever, no node has a score."""
    causes = ranking.rank(case({"web": node(), "db": node()}, {"web": ["db"]}))

    assert {cause.score for cause in causes} == {0.0}


@pytest.mark.parametrize(
    "values",
    [
        [],
        [None],
        [1.0],
        [0.0] * 5,
        [7.0] * 5,
        [math.nan] * 5,
        [math.inf, -math.inf],
        [None, 3.0],
        [-5.0] * 5,
        [1e308, -1e308, 5e-324],
    ],
    ids=str,
)
def test_it_never_raises(values: list[float | None]) -> None:
    """Empty, of one point, constant, no quantity at all: every node is answered for."""
    measured = {n: {"latency/p50": values, "requests": values} for n in ("web", "db")}
    for baseline in ({}, measured, {"db": {"errors": np.array(values, dtype=float)}}):
        for incident in ({}, measured, {"web": {"latency/p50": values, "errors": [1.0, 2.0]}}):
            for metric in ("latency", "errors", "requests", "cpu", ""):
                of = Case(
                    target=Target(node="gone", metric=metric),
                    graph={"web": ["db"]},
                    baseline=baseline,
                    incident=incident,
                    period_s=60,
                )
                causes = ranking.rank(of)
                assert {cause.node for cause in causes} == {"web", "db", "gone"}
                assert 0 <= sum(cause.score for cause in causes) <= 1 + 1e-9


def test_a_few_points_of_a_minute_are_enough() -> None:
    """Three calm minutes and three bad ones."""
    of = Case(
        target=Target(node="web", metric="latency"),
        graph={"web": ["db", "mail"]},
        baseline={n: {"latency": [10.0, 11.0, 10.0]} for n in ("web", "db", "mail")},
        incident={
            "web": {"latency": [40.0, 42.0, 41.0]},
            "db": {"latency": [39.0, 43.0, 40.0]},
            "mail": {"latency": [10.0, 11.0, 12.0]},
        },
        period_s=60,
    )

    assert best(of) == "db"


def test_an_empty_case_has_the_target_alone() -> None:
    """There is nothing to say, and that is said."""
    of = Case(
        target=Target(node="web", metric="m"), graph={}, baseline={}, incident={}, period_s=60
    )

    assert [(c.node, c.score) for c in ranking.rank(of)] == [("web", 0.0)]
