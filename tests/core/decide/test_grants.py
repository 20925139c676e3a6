# SPDX-License-Identifier: Apache-2.0

"""What a grant is bound to, and which policy lets opx do more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import pytest

from opx.core.decide import grants
from opx.core.decide.case import STRICTEST, Autonomy, Case, Grant, Limits, Policy
from opx.core.decide.runbooks import Step
from opx.core.ingest.signals import Severity
from opx.errors import BadInput, NotFound, OpxError, Refused

NOW = 1_767_225_600_000
DAYS_30 = 30 * 86_400_000
ASKED = Grant(id="restart|shop|orders", autonomy=Autonomy.AUTO, by="ada", at=NOW)
SEV3, SEV4 = Limits(ceiling=Severity.SEV3), Limits(ceiling=Severity.SEV4)
POLICY = Policy(environments={"live": SEV3}, change_window="nights", freezes=("sales",))
LOOSER = {
    "ceiling": ("ceiling", Severity.SEV2, Severity.SEV4),
    "cooldown": ("cooldown", 59_999, 60_001),
    "breakerAfter": ("breaker_after", 4, 2),
    "approvalTtl": ("approval_ttl", 900_001, 899_999),
    "calibratedAfter": ("calibrated_after", 29, 31),
    "minPFix": ("min_p_fix", 0.79, 0.81),
    "environments": ("environments", {}, {"live": SEV4}),
    "serviceRunsPerHour": ("service_runs_per_hour", 7, 5),
    "environmentRunsPerHour": ("environment_runs_per_hour", 21, 19),
    "blastRadius": ("blast_radius", 51, 49),
    "blindness": ("blindness", 0.51, 0.49),
    "changeWindow": ("change_window", "", "nights"),
    "freezes": ("freezes", (), ("sales", "moves")),
}
"""Of each field, as a document names it: its attribute, a looser and a stricter value."""


def test_a_grant_is_bound_to_what_is_known(case: Case) -> None:
    """Content and target are the runbook's and the service's, whatever the grant said."""
    told = replace(ASKED, runbook_hash="mine", target="mine")
    bound = grants.bound(told, case.runbook, case.service, NOW)
    assert bound == replace(
        ASKED,
        runbook_hash="hash-1",
        target="http://127.0.0.1:9001#orders",
        probe="http http://127.0.0.1:9101/health",
    )


def test_a_grant_covers_the_parameters_as_they_were(case: Case) -> None:
    """It is bound to those that the runbook uses; when one of them changes it covers nothing,
    when another does it still holds."""
    assert case.runbook is not None
    assert case.service is not None
    step = Step(id="restore", uses="file.restore", inputs={"path": "${{ service.config }}"})
    runbook = replace(case.runbook, steps=(step,))
    service = replace(case.service, parameters={"config": "/srv/a", "other": "1"})

    bound = grants.bound(ASKED, runbook, service, NOW)

    assert bound.parameters == {"config": "/srv/a"}
    same = (bound.runbook_hash, bound.target, bound.probe)
    changed = runbook.takes({"config": "/srv/b", "other": "1"})
    assert bound.outdated(*same, runbook.takes({"config": "/srv/a", "other": "2"})) == ()
    assert bound.outdated(*same, changed) == ("parameters",)


@pytest.mark.parametrize(
    ("changes", "without", "error"),
    [
        ({}, "runbook", NotFound),
        ({}, "service", NotFound),
        ({"probation": True}, "", BadInput),
        ({"probation": True, "expires_at": NOW + DAYS_30 + 1}, "", BadInput),
        ({"probation": True, "expires_at": NOW + 1, "autonomy": Autonomy.APPROVE}, "", BadInput),
    ],
)
def test_what_may_not_be_granted(
    case: Case, changes: dict[str, Any], without: str, error: type[OpxError]
) -> None:
    """Neither what does not exist, nor a probation without an end, too long or for less."""
    known = {"runbook": case.runbook, "service": case.service} | (
        {without: None} if without else {}
    )
    with pytest.raises(error):
        grants.bound(replace(ASKED, **changes), known["runbook"], known["service"], NOW)


def test_no_probation_for_what_cannot_be_undone(but: Callable[..., Case]) -> None:
    """It is refused with the runbook's own words; a grant that stands on experience is not."""
    case = but(runbook__irreversible="it deletes")
    probation = replace(ASKED, probation=True, expires_at=NOW + DAYS_30)
    with pytest.raises(Refused, match="it deletes"):
        grants.bound(probation, case.runbook, case.service, NOW)
    assert grants.bound(ASKED, case.runbook, case.service, NOW).runbook_hash == "hash-1"


@pytest.mark.parametrize("name", LOOSER)
def test_each_limit_loosens_in_one_direction(name: str) -> None:
    """One step towards more power is named; one step back, or none, is not."""
    field, looser, stricter = LOOSER[name]
    assert grants.loosens(POLICY, replace(POLICY, **{field: looser})) == (name,)
    assert grants.loosens(POLICY, replace(POLICY, **{field: stricter})) == ()
    assert grants.loosens(POLICY, POLICY) == ()


def test_a_ceiling_is_more_than_none() -> None:
    """While the policy in force cannot be read, any that acts at all lets opx do more."""
    assert grants.loosens(STRICTEST, Policy(ceiling=Severity.SEV5)) == ("ceiling",)
    assert grants.loosens(Policy(), STRICTEST) == grants.loosens(STRICTEST, STRICTEST) == ()


def test_every_limit_is_looked_at() -> None:
    """No field of a policy can widen what opx may do without being named. What is held back of
    the predictions is no limit: opx does nothing on any of them."""
    limits = {field.name for field in fields(Policy)} - {"name", "hash", "held_back"}
    assert {field for field, _, _ in LOOSER.values()} == limits
    all_looser = {field: looser for field, looser, _ in LOOSER.values()}
    assert grants.loosens(POLICY, replace(POLICY, **all_looser)) == tuple(LOOSER)
