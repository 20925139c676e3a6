# SPDX-License-Identifier: Apache-2.0

"""What the rules make of an episode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest

from opx.core.analyse import rules
from opx.core.analyse.changes import Changed, What
from opx.core.analyse.insight import Insight, InsightType
from opx.core.analyse.past import Past
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


def explain(findings: Sequence[Finding], service: Service | None, now: Ms, **more: Any) -> Insight:
    facts = rules.Facts(episode=EPISODE, findings=findings, service=service, **more)
    return rules.explain(facts, now)


def changed(what: What, at: Ms, subject: str = "x", by: str = "") -> Changed:
    return Changed(
        event=f"{what}-{at}-{subject}",
        what=what,
        group=EPISODE.group,
        subject=subject,
        at=at,
        by=by,
    )


def judged(signal: str, kind: FindingKind = FindingKind.SYMPTOM) -> Finding:
    return replace(finding(f"ratio/{signal}", kind=kind), evidence={"signal": signal})


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
        ("ratio/odd", "", InsightType.THRESHOLD_BREACHED),
        ("observer", "", InsightType.TELEMETRY_LOSS),
    ],
)
def test_the_type_comes_from_the_rule_and_its_evidence(
    rule: str, failure: str, expected: InsightType
) -> None:
    """Refused or not running is down, timed out is hung, a limit is a limit, told is told."""
    insight = explain([finding(rule, failure=failure)], ORDERS, T)

    assert insight.type is expected


def test_what_explains_most_comes_first() -> None:
    """A dead process, then the breached limit, then what was reported; each with its findings."""
    told = finding("alert")
    slow = finding("threshold/slow", Severity.SEV1, kind=FindingKind.EVIDENCE)
    dead = finding("health-probe", Severity.SEV2, failure="refused")

    insight = explain([told, slow, dead], ORDERS, T)

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
        explain([finding(severity=severity, kind=kind)], ORDERS, T).risk for severity in Severity
    ]

    assert got == risks


def test_risks_are_never_added_up() -> None:
    """Fifty ill nodes are as bad as the worst of them."""
    many = [finding(severity=Severity.SEV3, stream=f"node{i}") for i in range(50)]

    assert explain(many, ORDERS, T).risk == 60
    assert explain([*many, finding(severity=Severity.SEV2)], ORDERS, T).risk == 80


def test_what_is_over_is_silent_while_something_is_open() -> None:
    """A cleared finding speaks only when nothing else does; told in both states, it is over."""
    dead = finding("health-probe", Severity.SEV1, failure="refused")
    well = dead.clear(ClearReason.RESOLVED, T + 1, dead.evidence)
    told = finding("alert")

    with_both = explain([dead, well, told], ORDERS, T)
    alone = explain([well], ORDERS, T)

    assert (with_both.type, with_both.risk) == (InsightType.REPORTED, 60)
    assert (alone.type, alone.risk) == (InsightType.PROCESS_DOWN, 95)


def test_nothing_is_unknown() -> None:
    """Without a finding there is no risk and no claim."""
    insight = explain([], None, T)

    assert (insight.type, insight.risk) == (InsightType.UNKNOWN, 0)
    assert insight.advice == "Look at prod/orders: opx does not know what this is."


def test_the_same_findings_give_the_same_insight_in_any_order() -> None:
    """Its id says what it rests on, so telling it again is harmless; a new finding is news."""
    three = [
        finding(stream=name, severity=Severity(n)) for n, name in ((2, "a"), (2, "b"), (3, "c"))
    ]

    insights = [explain(order, ORDERS, T) for order in permutations(three)]

    assert all(insight == insights[0] for insight in insights)
    assert explain(three, ORDERS, T + 9).id == insights[0].id
    assert explain(three[:2], ORDERS, T).id != insights[0].id


@pytest.mark.parametrize(
    ("signal", "type"),
    [
        ("errors", InsightType.ERRORS),
        ("latency", InsightType.LATENCY),
        ("traffic", InsightType.THRESHOLD_BREACHED),
    ],
)
def test_a_rule_says_which_signal_it_looks_at(signal: str, type: InsightType) -> None:
    """Errors and latency are what their rule says they are, without reading names."""
    assert explain([judged(signal)], ORDERS, T).type is type


class TestChanges:
    """What changed of late is the first evidence."""

    def test_a_changed_file_explains_a_dead_process(self) -> None:
        """The file is the first cause, with who did it; the process comes after it."""
        dead = finding("health-probe", Severity.SEV2, failure="refused")
        drift = changed(What.FILE, T - 5_000, "/etc/orders.json", by="mallory")

        insight = explain([dead], ORDERS, T, changes=[drift])

        assert insight.type is InsightType.TAMPERING
        assert [cause.subject for cause in insight.causes] == ["/etc/orders.json", "prod/orders"]
        assert insight.causes[0].statement == (
            "the file was changed by mallory at 2025-12-31T23:59:55.000Z"
        )
        assert insight.causes[0].evidence == (drift.event,)
        assert insight.changes == (drift,)

    def test_a_file_that_is_back_explains_nothing(self) -> None:
        """The newest word about a path counts, in whatever order they come."""
        dead = finding("health-probe", failure="refused")
        drift = changed(What.FILE, T - 5_000, "/etc/a")
        back = changed(What.FILE_BACK, T - 4_000, "/etc/a")

        for order in permutations([drift, back]):
            insight = explain([dead], ORDERS, T, changes=order)
            assert insight.type is InsightType.PROCESS_DOWN
            assert [change.what for change in insight.changes] == [What.FILE_BACK, What.FILE]

    def test_a_changed_file_does_not_explain_slowness(self) -> None:
        """Tampering is laid at the door of what fails, not of what is slow."""
        drift = changed(What.FILE, T - 5_000)
        assert explain([judged("latency")], ORDERS, T, changes=[drift]).type is InsightType.LATENCY

    @pytest.mark.parametrize(
        ("before", "type"),
        [
            (0, InsightType.BAD_RELEASE),
            (3_600_000, InsightType.BAD_RELEASE),
            (3_600_001, InsightType.ERRORS),
            (-1, InsightType.ERRORS),
        ],
    )
    def test_a_release_explains_errors_that_begin_within_the_hour(
        self, before: int, type: InsightType
    ) -> None:
        """Not earlier ones, and not those that came before it."""
        release = changed(What.RELEASE, T - before, "v2", by="ann")
        insight = explain([judged("errors")], ORDERS, T + 9, changes=[release])
        assert insight.type is type
        assert (insight.causes[0].subject == "v2") is (type is InsightType.BAD_RELEASE)

    def test_what_was_wrong_before_it_and_is_over_does_not_clear_a_release(self) -> None:
        """An hour ago the process was gone, in the same episode. Then it was released, and errs."""
        fired = finding("health-probe", failure="refused")
        over = replace(fired, since=T - 3_600_000, at=T - 3_500_000, state=FindingState.CLEARED)
        release = changed(What.RELEASE, T - 60_000, "v2")
        insight = explain([over, judged("errors")], ORDERS, T, changes=[release])
        assert insight.type is InsightType.BAD_RELEASE

    @pytest.mark.parametrize(
        ("helped", "kind", "after", "type"),
        [
            (True, "bad_release", 1, InsightType.ERRORS),
            (True, "bad_release", -1, InsightType.BAD_RELEASE),
            (False, "bad_release", 1, InsightType.BAD_RELEASE),
            (True, "process_down", 1, InsightType.BAD_RELEASE),
        ],
    )
    def test_a_release_that_was_taken_back_explains_nothing_any_more(
        self, helped: bool, kind: str, after: int, type: InsightType
    ) -> None:
        """It is not there: rolled back since it was released, and verified."""
        release = changed(What.RELEASE, T - 60_000, "v2")
        back = Past(
            run="r",
            incident="i",
            type=kind,
            runbook="rollback-release",
            helped=helped,
            took=1,
            at=release.at + after,
        )
        insight = explain([judged("errors")], ORDERS, T, changes=[release], past=[back])
        assert insight.type is type

    @pytest.mark.parametrize(
        ("failure", "type"),
        [
            ("refused", InsightType.PROCESS_DOWN),
            ("not_running", InsightType.PROCESS_DOWN),
            ("timed_out", InsightType.PROCESS_HUNG),
            ("unwell", InsightType.BAD_RELEASE),
        ],
    )
    @pytest.mark.parametrize("other", [finding("alert"), judged("errors")])
    def test_a_release_is_not_blamed_while_there_is_no_process_to_answer(
        self, failure: str, type: InsightType, other: Finding
    ) -> None:
        """What is missing is the process, whatever else was reported; the release is shown. One
        that answers that it is unwell may be a bad release."""
        gone = finding("health-probe", Severity.SEV2, failure=failure)
        release = changed(What.RELEASE, T - 60_000, "v2")
        insight = explain([gone, other], ORDERS, T, changes=[release])
        assert insight.type is type
        assert insight.changes == (release,)

    def test_somebody_elses_release_is_shown_and_blamed_for_nothing(self) -> None:
        """It may be of interest; it is not this service's."""
        release = replace(changed(What.RELEASE, T), group=Group("prod", "store"))
        insight = explain([judged("errors")], ORDERS, T, changes=[release])
        assert insight.type is InsightType.ERRORS
        assert insight.changes == (release,)

    def test_a_benign_change_is_no_cause(self) -> None:
        """A person's change of the settings is shown, and explains nothing by itself."""
        config = changed(What.CONFIG, T - 1)
        insight = explain([finding("health-probe", failure="refused")], ORDERS, T, changes=[config])
        assert (insight.type, insight.changes) == (InsightType.PROCESS_DOWN, (config,))


@pytest.mark.parametrize(
    "odd",
    [
        {},
        {"type": "opx.file.drifted"},
        {"type": "opx.file.drifted", "data": {}, "identity": {}},
        {"type": "opx.file.drifted", "data": {"path": 7}, "identity": {}},
        {"type": "opx.file.drifted", "data": "path", "identity": {}},
        {"type": "com.example", "data": {"path": "/a"}, "identity": {}},
        {"type": 3, "data": None, "identity": None},
    ],
)
def test_an_odd_event_is_no_change(odd: dict[str, Any]) -> None:
    """What lacks what its type promises is passed over, and wipes nothing."""
    assert Changed.of(odd) is None


def test_an_event_as_the_journal_keeps_it() -> None:
    """The path, who did it, whose it is and when; without an actor nobody is named."""
    event = {
        "id": "e",
        "type": "opx.file.drifted",
        "at": T,
        "identity": {"environment": "prod", "service": "orders", "resource": ""},
        "data": {"path": "/a", "actor": "bob", "expected": "1"},
    }
    told = Changed(
        event="e", what=What.FILE, group=Group("prod", "orders"), subject="/a", at=T, by="bob"
    )
    assert Changed.of(event) == told
    assert Changed.of({**event, "data": {"path": "/a"}}) == replace(told, by="")


def test_similar_cases_are_verified_ones_of_the_same_type() -> None:
    """The newest five, those that helped and those that did not."""
    cases = [
        Past(
            run=f"r{n}",
            incident="i",
            type="errors" if n == 9 else "process_down",
            runbook="restart",
            helped=n % 2 == 0,
            took=1_234,
            at=T - n,
        )
        for n in range(10)
    ]
    insight = explain([finding("health-probe", failure="refused")], ORDERS, T, past=cases[::-1])
    assert [case.run for case in insight.similar] == ["r0", "r1", "r2", "r3", "r4"]


def test_what_helped_meanwhile_makes_another_insight() -> None:
    """A case that was verified since the first explanation is in the next, which has its own
    id: an insight that is kept is never changed."""
    case = Past(run="r", incident="i", type="reported", runbook="b", helped=True, took=1, at=T)
    other = replace(case, run="other", type="errors")

    first = explain([finding()], ORDERS, T)
    then = explain([finding()], ORDERS, T + 1, past=[case])

    assert (first.similar, then.similar) == ((), (case,))
    assert first.id != then.id
    assert explain([finding()], ORDERS, T + 2, past=[other, case]).id == then.id
