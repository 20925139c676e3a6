# SPDX-License-Identifier: Apache-2.0

"""Rows written before a field existed are read with the value that lets opx do least."""

from __future__ import annotations

import json

from opx.adapters.stores import rows
from opx.core.analyse.insight import Probability
from opx.core.decide.case import Grant, TrackRecord
from opx.core.decide.decision import Decision
from opx.core.detect.finding import Finding

WHERE = "restart|shop|orders"


def test_a_grant_without_content_and_target_covers_nothing() -> None:
    """Neither a runbook nor a target, not even those that are empty."""
    body = {"id": WHERE, "autonomy": 3, "by": "ada", "at": 1, "version": 2}
    grant: Grant = rows.of(Grant).decode(WHERE, json.dumps(body))

    assert grant.outdated("hash-1", "http://127.0.0.1:9001#orders", "", {}) == ("runbook", "target")
    assert grant.outdated("", "", "", {}) == ("runbook",)


def test_a_record_without_content_is_no_experience() -> None:
    """What it counted is about a content nobody knows; what holds a runbook up counts."""
    body = {"id": WHERE, "recovered": 40, "ineffective_in_a_row": 2, "last_acted_at": 7}
    record: TrackRecord = rows.of(TrackRecord).decode(WHERE, json.dumps(body))

    assert record.p_fix("hash-1") == record.p_fix("") == Probability(None, 0)
    assert (record.ineffective_in_a_row, record.last_acted_at) == (2, 7)
    assert record.last_severity is None


def test_a_decision_without_runbooks_considered_names_none() -> None:
    """It is shown as it was made."""
    body = {
        "id": "d",
        "incident": "i",
        "run": "",
        "answer": 2,
        "results": [],
        "plan": "",
        "at": 1,
    }
    decision: Decision = rows.of(Decision).decode("d", json.dumps(body))

    assert decision.considered == ()


def test_a_finding_that_says_nothing_of_its_end_keeps_it() -> None:
    """No later word shortens it."""
    body = {
        "id": "f",
        "rule": "alert",
        "stream": "s",
        "identity": {"environment": "shop", "service": "orders", "resource": ""},
        "kind": "symptom",
        "state": "firing",
        "severity": 3,
        "since": 1,
        "at": 1,
        "expires_at": 9,
    }
    finding: Finding = rows.of(Finding).decode("f", json.dumps(body))

    assert (finding.expires_at, finding.timeout) == (9, False)
