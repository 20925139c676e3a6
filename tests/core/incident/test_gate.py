# SPDX-License-Identifier: Apache-2.0

"""The promotion gate, as a table."""

from __future__ import annotations

from dataclasses import replace

import pytest

from opx.core.base.time import Ms
from opx.core.correlate.episode import Episode, Group
from opx.core.incident import gate, lifecycle
from opx.core.incident.incident import Promotion, PromotionReason, PromotionVerdict, Status
from opx.core.ingest.signals import Severity

T: Ms = 1_767_225_600_000
OPEN, WAIT, ATTACH = PromotionVerdict.OPEN, PromotionVerdict.WAIT, PromotionVerdict.ATTACH
TABLE = [
    (1, 0, 0.0, OPEN, PromotionReason.SYMPTOM),
    (3, 9, 0.9, OPEN, PromotionReason.SYMPTOM),
    (0, 2, 0.6, OPEN, PromotionReason.EVIDENCE_SCORE),
    (0, 2, 0.599999, WAIT, PromotionReason.SCORE_TOO_LOW),
    (0, 1, 0.58, WAIT, PromotionReason.SCORE_TOO_LOW),
    (0, 1, 0.9, WAIT, PromotionReason.TOO_FEW_DETECTIONS),
]
"""Of an episode that has no incident, and that none has become part of."""


def episode(
    symptoms: int = 0, evidence: int = 0, score: float = 0.0, severity: Severity = Severity.SEV3
) -> Episode:
    return Episode(
        id="e1",
        group=Group("prod", "orders"),
        started_at=T,
        last_at=T,
        symptoms=symptoms,
        evidence=evidence,
        score=score,
        severity=severity,
    )


@pytest.mark.parametrize(("symptoms", "evidence", "score", "verdict", "reason"), TABLE)
def test_what_opens_an_incident(
    symptoms: int, evidence: int, score: float, verdict: PromotionVerdict, reason: PromotionReason
) -> None:
    """One symptom, or two pieces of evidence that weigh 0.6."""
    judged = gate.promote(episode(symptoms, evidence, score), None, T + 5)

    assert judged == Promotion(episode="e1", verdict=verdict, reason=reason, score=score, at=T + 5)


@pytest.mark.parametrize("severity", list(Severity))
def test_severity_does_not_decide_whether_people_are_told(severity: Severity) -> None:
    """A symptom of any severity opens an incident."""
    assert gate.promote(episode(1, severity=severity), None, T).verdict is OPEN


def test_an_episode_with_an_incident_attaches_to_it() -> None:
    """There is one incident for an episode, ever."""
    one = episode(1)
    incident = lifecycle.opened(one, gate.promote(one, None, T), "down", None, T)

    judged = gate.promote(one, incident, T)

    assert (judged.verdict, judged.reason) == (ATTACH, PromotionReason.INCIDENT_EXISTS)


@pytest.mark.parametrize("status", [Status.RESOLVED, Status.CLOSED])
def test_what_people_have_ended_opens_again_only_for_what_is_new(status: Status) -> None:
    """The same symptoms do not; a new one opens the next incident by itself."""
    one = episode(3)
    ended = replace(lifecycle.opened(one, gate.promote(one, None, T), "x", None, T), status=status)

    same = gate.promote(one, ended, T)
    other = gate.promote(one, ended, T, fresh=True)

    assert (same.verdict, same.reason) == (WAIT, PromotionReason.RESOLVED)
    assert (other.verdict, other.reason) == (OPEN, PromotionReason.SYMPTOM)


MERGED = [
    (0, 0, 0.0, OPEN, PromotionReason.MERGED),
    (0, 1, 0.9, OPEN, PromotionReason.MERGED),
    (1, 0, 0.0, OPEN, PromotionReason.SYMPTOM),
]
"""Of an episode that one with an incident has become part of."""


@pytest.mark.parametrize(("symptoms", "evidence", "score", "verdict", "reason"), MERGED)
def test_what_people_know_of_goes_on_in_what_it_became_part_of(
    symptoms: int, evidence: int, score: float, verdict: PromotionVerdict, reason: PromotionReason
) -> None:
    """However little the episode weighs by itself, their incident is not lost with its own."""
    judged = gate.promote(episode(symptoms, evidence, score), None, T, merged=True)

    assert (judged.verdict, judged.reason) == (verdict, reason)


def test_what_people_have_ended_does_not_open_by_a_merge() -> None:
    """An incident that is over needs a new symptom, whatever becomes part of its episode."""
    one = episode(1)
    ended = replace(
        lifecycle.opened(one, gate.promote(one, None, T), "x", None, T), status=Status.CLOSED
    )

    judged = gate.promote(one, ended, T, merged=True)

    assert (judged.verdict, judged.reason) == (WAIT, PromotionReason.RESOLVED)


def test_every_reason_has_a_case() -> None:
    """No reason of the gate is without a test in this file."""
    given = {row[-1] for row in (*TABLE, *MERGED)}

    assert given == set(PromotionReason) - {
        PromotionReason.INCIDENT_EXISTS,
        PromotionReason.RESOLVED,
    }
