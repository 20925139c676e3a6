# SPDX-License-Identifier: Apache-2.0

"""What people are told, and that they are told it once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from opx.core.act.run import Run, RunStatus
from opx.core.base.time import MINUTE, SECOND, Ms
from opx.core.correlate.episode import Group
from opx.core.decide.decision import Answered, Decision, GuardResult, Reason
from opx.core.decide.runbooks import Proposal
from opx.core.detect.predict.prediction import Urgency, Withdrawn
from opx.core.incident.incident import Incident, Priority, Status
from opx.core.ingest.signals import Severity
from opx.core.notify import edges
from opx.core.notify.notice import Edge, Notice
from opx.core.verify.verdict import Verdict, VerdictKind
from opx.testing.contracts import samples

T: Ms = 1_767_225_600_000
INCIDENT = Incident(
    id="i1",
    episode="e1",
    group=Group("prod", "orders"),
    status=Status.OPEN,
    severity=Severity.SEV2,
    priority=Priority.P1,
    title="orders refuses connections",
    opened_at=T,
    updated_at=T,
)
RUN = Run(
    id="r1",
    incident="i1",
    group=INCIDENT.group,
    number=1,
    status=RunStatus.INCONCLUSIVE,
    proposal=Proposal(
        runbook="restart-process",
        runbook_hash="h",
        inputs={},
        target="http://127.0.0.1:9001#orders",
        environment="prod",
        service="orders",
    ),
    created_at=T,
    due_at=None,
    reason="step_unknown",
)
VERDICT = Verdict(kind=VerdictKind.RECOVERED, at=T + 9 * SECOND, yes=3, no=1, unknown=0)


def decision(answer: Answered, run: str = "r1") -> Decision:
    results = (
        GuardResult(guard="mode", answer=Answered.ALLOW, reason=Reason.OK),
        GuardResult(
            guard="autonomy",
            answer=answer,
            reason=Reason.APPROVAL_NEEDED,
            detail="granted: approve",
        ),
    )
    return Decision(id="d1", incident="i1", run=run, answer=answer, results=results, plan="p", at=T)


def every_notice(incident: Incident) -> list[Notice]:
    return [
        edges.opened(incident, T),
        edges.asks(incident, decision(Answered.DENY, ""), None, T),
        edges.asks(incident, decision(Answered.ASK), RUN, T),
        edges.asks(incident, decision(Answered.DENY), RUN, T),
        edges.waits(incident, decision(Answered.DENY), RUN, T),
        edges.unanswered(incident, RUN, T),
        edges.stopped(incident, RUN, T),
        edges.recovered(incident, RUN, VERDICT),
        edges.resolved(incident, T + 6 * MINUTE + 5 * SECOND),
        edges.breaker(incident, RUN, T),
    ]


def test_every_notice_says_what_where_and_since_when() -> None:
    """Whoever reads only one of them knows what it is about and how bad."""
    for notice in every_notice(INCIDENT):
        assert notice.text.startswith(
            "orders refuses connections. Where: orders in prod. "
            "Since: 2026-01-01T00:00:00.000Z. SEV2, P1. "
        )
        assert (notice.incident, notice.severity) == ("i1", Severity.SEV2)


def test_one_edge_is_one_notice() -> None:
    """Told again, later and in other words, it has the same id; the others have others."""
    later = replace(INCIDENT, title="still down", updated_at=T + MINUTE, version=7)

    first, second = every_notice(INCIDENT), every_notice(later)

    assert [notice.id for notice in first] == [notice.id for notice in second]
    assert len({notice.id for notice in first}) == len(first)


def test_another_run_or_incident_is_another_notice() -> None:
    """Each run that asks, recovers or fails is told of."""
    other = replace(RUN, id="r2")

    assert (
        edges.recovered(INCIDENT, RUN, VERDICT).id != edges.recovered(INCIDENT, other, VERDICT).id
    )
    assert edges.opened(INCIDENT, T).id != edges.opened(replace(INCIDENT, id="i2"), T).id


def test_that_nothing_fits_is_told_anew_once_a_run_has_come_in_between() -> None:
    """People were told that opx repairs it; that it gives up after all is news, once."""
    denied = decision(Answered.DENY, "")
    after = replace(INCIDENT, runs=1)

    first, second = edges.asks(INCIDENT, denied, None, T), edges.asks(after, denied, None, T)

    assert first.id != second.id
    assert edges.asks(replace(after, version=9), denied, None, T + MINUTE).id == second.id


def test_an_opening_has_the_priority_first() -> None:
    """The title is what a pager shows."""
    notice = edges.opened(INCIDENT, T)

    assert (notice.edge, notice.at) == (Edge.OPENED, T)
    assert notice.title == "P1 orders in prod: orders refuses connections"


def test_a_question_can_be_answered_from_its_text() -> None:
    """It names the runbook, the target, the reason and both commands."""
    notice = edges.asks(INCIDENT, decision(Answered.ASK), RUN, T)

    assert notice.edge is Edge.ASKS
    assert notice.title == "orders in prod may opx run restart-process?"
    assert "restart-process on http://127.0.0.1:9001#orders" in notice.text
    assert "opx approve r1" in notice.text
    assert "opx reject r1" in notice.text
    assert "autonomy: approval needed (granted: approve)" in notice.text
    assert "mode" not in notice.text


@pytest.mark.parametrize(("run", "words"), [(None, "No runbook fits"), (RUN, "opx does not run")])
def test_a_refusal_calls_a_person(run: Run | None, words: str) -> None:
    """When opx will not or cannot, it says that somebody must."""
    notice = edges.asks(INCIDENT, decision(Answered.DENY), run, T)

    assert notice.title == "orders in prod needs a person"
    assert words in notice.text
    assert "a person must repair it" in notice.text


def test_waiting_says_for_what() -> None:
    """opx goes on by itself, and says why not yet, or whom it cannot reach."""
    waits = edges.waits(INCIDENT, decision(Answered.DENY), RUN, T)
    unanswered = edges.unanswered(INCIDENT, RUN, T)

    assert waits.edge is unanswered.edge is Edge.ASKS
    assert waits.title == "orders in prod waits to run restart-process"
    assert "Why: autonomy: approval needed (granted: approve)." in waits.text
    assert "It asks again by itself" in waits.text
    assert unanswered.title == "orders in prod waits: opx's hands do not answer"
    assert "nobody began it in time" in unanswered.text


def test_a_recovery_says_what_was_done_and_how_it_was_checked() -> None:
    """Three of four answers said yes."""
    notice = edges.recovered(INCIDENT, RUN, VERDICT)

    assert (notice.edge, notice.at) == (Edge.RECOVERED, T + 9 * SECOND)
    assert "3 of 4 checks said yes" in notice.text
    assert "nothing is needed of you" in notice.text


def test_a_resolution_says_how_long_it_took() -> None:
    """Six minutes and five seconds after it was opened."""
    notice = edges.resolved(INCIDENT, T + 6 * MINUTE + 5 * SECOND)

    assert notice.edge is Edge.RESOLVED
    assert "6 min 5 s after it was opened" in notice.text


def test_a_stopped_run_and_a_breaker_need_a_person() -> None:
    """Both say which runbook, on what, and that opx will not go on by itself."""
    stopped, opened = edges.stopped(INCIDENT, RUN, T), edges.breaker(INCIDENT, RUN, T)

    assert (stopped.edge, opened.edge) == (Edge.ASKS, Edge.BREAKER)
    assert "has ended inconclusive: step unknown" in stopped.text
    assert "A person must look at the target" in stopped.text
    assert "closes the breaker restart-process|prod|orders" in opened.text


def test_an_unmapped_incident_says_so() -> None:
    """Its made-up group name is shown to nobody."""
    notice = edges.opened(replace(INCIDENT, group=Group("prod", "?0123456789abcdef")), T)

    assert notice.title.startswith("P1 an unmapped stream in prod: ")


def test_titles_are_short_plain_ascii() -> None:
    """Mail subjects and pagers take no emoji, no line breaks and at most 100 characters."""
    odd = replace(INCIDENT, title="Störung \N{FIRE}\n" + "x" * 300)

    for notice in every_notice(odd):
        assert notice.title.isascii()
        assert notice.title.isprintable()
        assert len(notice.title) <= 100
    assert edges.opened(odd, T).title.endswith("...")


def test_a_prediction_is_told_once_with_what_it_rests_on() -> None:
    """Who, what, how likely, until when, why, and that nothing is done; once, however it ends."""
    made = samples.prediction("p1", T)
    told = edges.predicted(made)

    assert (told.edge, told.severity, told.incident) == (Edge.PREDICTED, Severity.SEV3, "")
    assert (told.prediction, told.about, told.at) == ("p1", "p1", T)
    assert told.title == "orders in prod may fail: leak, 60%"
    assert "until 2026-01-01T01:00:00.000Z: memory_used_percent is at 70, rises by 1" in told.text
    assert "rests on: 2. opx does nothing about it by itself" in told.text
    assert edges.predicted(replace(made, withdrawn=Withdrawn.TURNED, at=T + 1)).id == told.id
    critical = replace(made, urgency=Urgency.CRITICAL)
    assert edges.predicted(critical).severity is Severity.SEV2


@pytest.mark.parametrize("evidence", [{}, {"metric": "m"}, {"metric": "m", "level": "?"}])
def test_a_prediction_without_evidence_has_none_to_tell(evidence: dict[str, object]) -> None:
    """It is told all the same."""
    bare = replace(samples.prediction("p1", T), evidence=evidence)

    assert "what it was told from is not known" in edges.predicted(bare).text
