# SPDX-License-Identifier: Apache-2.0

"""Letting opx do more: what may be granted, and which policy is a grant in disguise.

Beside the gate: a person's ``Grant`` is checked and bound here before it is kept, and the
``autonomy`` and ``p_fix`` guards read it from then on. A policy with wider limits takes the
same permission as a grant does. It must never take from a request what a grant is bound to.
"""

from __future__ import annotations

from dataclasses import replace

from opx.core.base.time import DAY, Ms
from opx.core.decide.case import Autonomy, Grant, Policy
from opx.core.decide.runbooks import Runbook
from opx.core.ingest.services import Service
from opx.core.ingest.signals import Severity
from opx.errors import BadInput, NotFound, Refused

PROBATION_MOST: Ms = 30 * DAY


def bound(grant: Grant, runbook: Runbook | None, service: Service | None, now: Ms) -> Grant:
    """The grant for this runbook's content and this service's target and parameters, whatever
    it said.

    ``NotFound`` when either does not exist. A probation is for ``auto`` (else ``BadInput``),
    ends within 30 days (``BadInput``) and covers nothing irreversible (``Refused``).
    """
    name, environment, known_as = grant.id.split("|")
    if runbook is None:
        raise NotFound(f"there is no runbook {name!r}")
    if service is None:
        raise NotFound(f"there is no service {known_as!r} in the environment {environment!r}")
    if grant.probation:
        _may_try(grant, runbook, now)
    return replace(
        grant,
        runbook_hash=runbook.hash,
        target=service.target,
        parameters=runbook.takes(service.parameters),
    )


def _may_try(grant: Grant, runbook: Runbook, now: Ms) -> None:
    if grant.autonomy is not Autonomy.AUTO:
        raise BadInput("probation is for acting without asking: grant auto")
    if grant.expires_at is None or grant.expires_at > now + PROBATION_MOST:
        raise BadInput("probation must end within 30 days", hint="give it a ttl")
    if runbook.irreversible:
        why = runbook.irreversible
        raise Refused(f"{runbook.name} cannot be undone ({why}): no probation for it")


def loosens(old: Policy, new: Policy) -> tuple[str, ...]:
    """The fields, as a document names them, by which ``new`` lets opx do more than ``old``."""
    looser = {
        "ceiling": _worst(new) < _worst(old),
        "cooldown": new.cooldown < old.cooldown,
        "breakerAfter": new.breaker_after > old.breaker_after,
        "approvalTtl": new.approval_ttl > old.approval_ttl,
        "calibratedAfter": new.calibrated_after < old.calibrated_after,
        "minPFix": new.min_p_fix < old.min_p_fix,
    }
    return tuple(name for name, is_so in looser.items() if is_so)


def _worst(policy: Policy) -> int:
    """Its ceiling as a number, lower for worse; milder than every severity when it has none."""
    return max(Severity) + 1 if policy.ceiling is None else policy.ceiling
