# SPDX-License-Identifier: Apache-2.0

"""Letting opx do more: what may be granted, and which policy is a grant in disguise.

Beside the gate: a person's ``Grant`` is checked and bound here before it is kept, and the
``autonomy`` and ``p_fix`` guards read it from then on. A policy with wider limits takes the
same permission as a grant does. It must never take from a request what a grant is bound to.
"""

from __future__ import annotations

from dataclasses import replace

from opx.core.base.time import DAY, Ms
from opx.core.decide.case import Autonomy, Grant, Limits, Policy, probe_of
from opx.core.decide.runbooks import Runbook
from opx.core.ingest.services import Service
from opx.core.ingest.signals import Severity
from opx.errors import BadInput, NotFound, Refused

PROBATION_MOST: Ms = 30 * DAY


def bound(grant: Grant, runbook: Runbook | None, service: Service | None, now: Ms) -> Grant:
    """The grant for this runbook's content and this service's target, probe and parameters,
    whatever it said.

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
        probe=probe_of(service),
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
        "environments": _wider(old, new),
        "serviceRunsPerHour": new.service_runs_per_hour > old.service_runs_per_hour,
        "environmentRunsPerHour": new.environment_runs_per_hour > old.environment_runs_per_hour,
        "blastRadius": new.blast_radius > old.blast_radius,
        "blindness": new.blindness > old.blindness,
        "changeWindow": old.change_window not in ("", new.change_window),
        "freezes": not set(old.freezes) <= set(new.freezes),
    }
    return tuple(name for name, is_so in looser.items() if is_so)


def _worst(policy: Policy) -> int:
    """Its ceiling as a number, lower for worse; milder than every severity when it has none."""
    return max(Severity) + 1 if policy.ceiling is None else policy.ceiling


def _wider(old: Policy, new: Policy) -> bool:
    """Whether any environment has wider limits than it had; without its own it has none."""
    usual = Limits()
    pairs = (
        (old.environments[name], new.environments.get(name, usual)) for name in old.environments
    )
    return any(now.ceiling < was.ceiling or now.autonomy > was.autonomy for was, now in pairs)
