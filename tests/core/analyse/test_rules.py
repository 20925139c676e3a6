# SPDX-License-Identifier: Apache-2.0

"""What the rules make of an episode."""

from __future__ import annotations

from itertools import permutations

import pytest

from opx.core.analyse import rules
from opx.core.analyse.insight import InsightSource, InsightType, Probability
from opx.core.base.time import Ms
from opx.core.correlate.episode import Episode, Group
from opx.core.detect.finding import ClearReason, Finding, FindingKind, FindingState
from opx.core.detect.probes import Failure
from opx.core.ingest.services import Service
from opx.core.ingest.signals import Identity, Severity

T: Ms = 1_767_225_600_000
EPISODE = Episode(id="e1", group=Group("prod", "orders"), started_at=T, last_at=T)
ORDERS = Service(name="orders", environment="prod")


def finding(
    rule: str = "alert",
    severity: Severity = Severity.SEV3,
    *,
    kind: FindingKind = FindingKind.SYMPTOM,
    failure: str = "",
    stream: str = "s",
) -> Finding:
    return Finding(
        id=Finding.id_of(rule, stream + failure, T),
        rule=rule,
        stream=stream,
        identity=Identity("prod", "orders"),
        kind=kind,
        state=FindingState.FIRING,
        severity=severity,
        since=T,
        at=T,
        summary=f"{rule} says so",
        evidence={"failure": failure} if failure else {},
    )


@pytest.mark.parametrize(
    ("rule", "failure", "expected"),
    [
        ("health-probe", Failure.REFUSED, InsightType.PROCESS_DOWN),
        ("health-probe", Failure.NOT_RUNNING, InsightType.PROCESS_DOWN),
        ("health-probe", "timed_out", InsightType.PROCESS_HUNG),
        ("health-probe", "unwell", InsightType.REPORTED),
        ("health-probe", "", InsightType.UNKNOWN),
        ("health-probe", "nonsense", InsightType.UNKNOWN),
        ("threshold/slow", "", InsightType.THRESHOLD_BREACHED),
        ("alert", "", InsightType.REPORTED),
        ("event", "", InsightType.REPORTED),
    ],
)
def test_the_type_comes_from_the_rule_and_its_evidence(
    rule: str, failure: str, expected: InsightType
) -> None:
    """Refused or not running is down, timed out is hung, a limit is a limit, told is told."""
    insight = rules.explain(EPISODE, [finding(rule, failure=failure)], ORDERS, T)

    assert insight.type is expected


def test_what_explains_most_comes_first() -> None:
    """A dead process, then the breached limit, then what was reported; each with its findings."""
    told = finding("alert")
    slow = finding("threshold/slow", Severity.SEV1, kind=FindingKind.EVIDENCE)
    dead = finding("health-probe", Severity.SEV2, failure="refused")

    insight = rules.explain(EPISODE, [told, slow, dead], ORDERS, T)

    assert insight.type is InsightType.PROCESS_DOWN
    assert [cause.evidence for cause in insight.causes] == [(dead.id,), (slow.id,), (told.id,)]
    assert insight.causes[0].subject == "prod/orders"
    assert insight.causes[0].statement == "the process is not running: health-probe says so"
    assert insight.advice == "Start orders again, then find out why it stopped."


@pytest.mark.parametrize(
    ("kind", "risks"),
    [
        (FindingKind.SYMPTOM, [95, 80, 60, 40, 20]),
        (FindingKind.EVIDENCE, [75, 60, 40, 20, 10]),
    ],
)
def test_risk_by_severity(kind: FindingKind, risks: list[int]) -> None:
    """The documented table; evidence alone is never critical (80)."""
    got = [
        rules.explain(EPISODE, [finding(severity=severity, kind=kind)], ORDERS, T).risk
        for severity in Severity
    ]

    assert got == risks


def test_risks_are_never_added_up() -> None:
    """Fifty ill nodes are as bad as the worst of them."""
    many = [finding(severity=Severity.SEV3, stream=f"node{i}") for i in range(50)]

    assert rules.explain(EPISODE, many, ORDERS, T).risk == 60
    assert rules.explain(EPISODE, [*many, finding(severity=Severity.SEV2)], ORDERS, T).risk == 80


def test_what_is_over_is_silent_while_something_is_open() -> None:
    """A cleared finding speaks only when nothing else does; told in both states, it is over."""
    dead = finding("health-probe", Severity.SEV1, failure="refused")
    well = dead.clear(ClearReason.RESOLVED, T + 1, dead.evidence)
    told = finding("alert")

    with_both = rules.explain(EPISODE, [dead, well, told], ORDERS, T)
    alone = rules.explain(EPISODE, [well], ORDERS, T)

    assert (with_both.type, with_both.risk) == (InsightType.REPORTED, 60)
    assert (alone.type, alone.risk) == (InsightType.PROCESS_DOWN, 95)


def test_nothing_is_unknown() -> None:
    """Without a finding there is no risk and no claim."""
    insight = rules.explain(EPISODE, [], None, T)

    assert (insight.type, insight.risk) == (InsightType.UNKNOWN, 0)
    assert insight.advice == "Look at prod/orders: opx does not know what this is."


def test_the_same_findings_give_the_same_insight_in_any_order() -> None:
    """Its id says what it rests on, so telling it again is harmless; a new finding is news."""
    three = [
        finding(stream=name, severity=Severity(n)) for n, name in ((2, "a"), (2, "b"), (3, "c"))
    ]

    insights = [rules.explain(EPISODE, order, ORDERS, T) for order in permutations(three)]

    assert all(insight == insights[0] for insight in insights)
    assert rules.explain(EPISODE, three, ORDERS, T + 9).id == insights[0].id
    assert rules.explain(EPISODE, three[:2], ORDERS, T).id != insights[0].id


def test_no_probability_is_claimed() -> None:
    """Nothing was calibrated: every p is None with n = 0, and the source says rules."""
    insight = rules.explain(EPISODE, [finding("health-probe", failure="refused")], ORDERS, T)

    assert insight.source is InsightSource.RULES
    assert insight.p_real == Probability(None, 0)
    assert [cause.p_cause for cause in insight.causes] == [Probability(None, 0)]
