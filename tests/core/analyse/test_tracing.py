# SPDX-License-Identifier: Apache-2.0

"""Who is asked for numbers, and who is blamed by them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from opx.core.analyse import tracing
from opx.core.analyse.causes.ranking import Evidence, EvidenceKind
from opx.core.base.reads import Answer, Answers
from opx.core.base.time import HOUR, MINUTE, SECOND, Ms, Window
from opx.core.correlate.episode import Group
from opx.core.correlate.problems import Topology
from opx.core.detect.finding import Finding, FindingKind, FindingState
from opx.core.detect.rules import DetectionRule, Limit, Ratio, Selector, Side, Signal
from opx.core.ingest.services import Catalogue, Service
from opx.core.ingest.signals import Identity, Severity

T: Ms = 1_767_225_600_000
CALLS = {"gateway": ("orders",), "orders": ("store",), "store": (), "lonely": ()}
TOPOLOGY = Topology.of(
    Catalogue(
        services={
            ("shop", name): Service(name=name, environment="shop", depends_on=callees)
            for name, callees in CALLS.items()
        }
    )
)
SLOW = DetectionRule(
    name="slow",
    hash="h",
    check=Ratio(
        part=Selector(metric="seconds_total", labels={"path": "/"}),
        whole=Selector(metric="requests_total"),
        window=10 * SECOND,
        limit=Limit(Side.ABOVE, 0.5),
        at_least=20,
    ),
    severity=Severity.SEV3,
    kind=FindingKind.SYMPTOM,
    signal=Signal.LATENCY,
)


def ill(service: str, rule: str = "ratio/slow", kind: FindingKind = FindingKind.SYMPTOM) -> Finding:
    return Finding(
        id=f"{rule}-{service}",
        rule=rule,
        stream="s",
        identity=Identity("shop", service),
        kind=kind,
        state=FindingState.FIRING,
        severity=Severity.SEV3,
        since=T,
        at=T + SECOND,
    )


def traced(*findings: Finding) -> tracing.Trace:
    found = tracing.trace(findings, [SLOW], TOPOLOGY)
    assert found is not None
    return found


def test_everybody_connected_is_asked_and_the_top_one_complains() -> None:
    """Callers and callees of the ill, each once; who has nobody ill above is the target."""
    found = traced(ill("orders"), ill("gateway"))

    assert [group.service for group in found.groups] == ["gateway", "orders", "store"]
    assert (found.target, found.began) == (Group("shop", "gateway"), T)
    reads = tracing.needs(found, T + MINUTE)
    assert [(read.metric, read.labels["service"]) for read in reads[:2]] == [
        ("seconds_total", "gateway"),
        ("requests_total", "gateway"),
    ]
    assert reads[0].labels == {"path": "/", "environment": "shop", "service": "gateway"}
    assert {(read.window, read.step) for read in reads} == {
        (Window(T - 30 * MINUTE, T + MINUTE), 10 * SECOND)
    }


def test_of_trouble_that_lasts_the_first_hours_are_asked_for() -> None:
    """Who began it shows when it began: what came later is not read again and again."""
    found = traced(ill("orders"), ill("gateway"))

    windows = {read.window for read in tracing.needs(found, T + 240 * HOUR)}

    assert windows == {Window(T - 30 * MINUTE, T + 90 * MINUTE)}


@pytest.mark.parametrize(
    ("finding", "rule"),
    [
        (ill("orders", "health-probe"), SLOW),
        (ill("orders", kind=FindingKind.EVIDENCE), SLOW),
        (ill("lonely"), SLOW),
        (ill("orders"), replace(SLOW, signal=None)),
        (ill("orders"), replace(SLOW, signal=Signal.TRAFFIC)),
    ],
)
def test_where_there_is_nothing_to_ask(finding: Finding, rule: DetectionRule) -> None:
    """No ratio of errors or latency found a symptom, or nobody is connected with it."""
    assert tracing.trace([finding], [rule], TOPOLOGY) is None


def told(found: tracing.Trace, seconds: dict[str, float], usual: int = 177) -> Answers:
    """Ten requests a second; each takes a tenth of a second, and from ``T`` on so much."""
    answers = {}
    for read in tracing.needs(found, T + MINUTE):
        periods = range(read.window.start, read.window.end, read.step)
        slow = seconds.get(read.labels["service"], 0.1)
        values = [
            None
            if at < T - usual * read.step
            else 10.0
            if read.metric == "requests_total"
            else 10.0 * (slow if at >= T else 0.1)
            for at in periods
        ]
        answers[read.key] = Answer(key=read.key, at=T, ok=True, values=tuple(values))
    return answers


def test_the_slow_one_at_the_bottom_is_blamed() -> None:
    """It has most of what the gateway's users wait for; who only waits has little."""
    found = traced(ill("orders"), ill("gateway"))
    answers = told(found, {"gateway": 0.8, "orders": 0.75, "store": 0.7})

    blamed = tracing.ranked(found, answers, TOPOLOGY)

    assert blamed[0].subject == "shop/store"
    assert blamed[0].share > 0.5
    assert sum(one.share for one in blamed) <= 1.0
    assert blamed[0].said == "latency 0.7, usually 0.1"
    assert blamed[0].against == ""


def test_the_slow_one_in_the_middle_is_blamed() -> None:
    """Where what is below is as fast as ever, it is not its fault."""
    found = traced(ill("orders"), ill("gateway"))
    answers = told(found, {"gateway": 0.8, "orders": 0.75})

    assert tracing.ranked(found, answers, TOPOLOGY)[0].subject == "shop/orders"


def test_what_speaks_against_whom_is_said() -> None:
    """The numbers that are as usual, when it began, and how much is left to explain."""
    evidence = [
        Evidence(kind=EvidenceKind.FAILS_MORE, metric="errors", expected=0.0, came=0.25),
        Evidence(kind=EvidenceKind.SILENT),
        Evidence(kind=EvidenceKind.STEADY, metric="latency", expected=0.1, came=0.1),
        Evidence(kind=EvidenceKind.LATER, onset=4),
        Evidence(kind=EvidenceKind.OTHERS, came=0.625),
    ]

    assert tracing.said(evidence) == (
        "errors 0.25, usually 0; it fell silent",
        "latency as usual; it began later than who suffers; it cannot explain 62% of the trouble",
    )
    assert all(tracing.said([Evidence(kind=kind)]) != ("", "") for kind in EvidenceKind)


@pytest.mark.parametrize("usual", [0, 3, 8])
def test_without_a_usual_nobody_is_blamed(usual: int) -> None:
    """With less than a minute of health before the trouble the numbers say nothing."""
    found = traced(ill("orders"), ill("gateway"))
    answers = told(found, {"gateway": 0.8, "store": 0.7}, usual)

    assert tracing.ranked(found, answers, TOPOLOGY) == ()


def test_without_answers_nobody_is_blamed() -> None:
    """No telemetry, no word."""
    found = traced(ill("orders"), ill("gateway"))
    assert tracing.ranked(found, {}, TOPOLOGY) == ()
