# SPDX-License-Identifier: Apache-2.0

"""Roles and what each may do: one table.

Beside the gate: the gate says what opx may do, this says what people and senders may.
``admin`` holds every permission; of the others, who needs two roles holds two. A role must
never come from a request.

Stopping is easier than starting: whoever operates may halt, resuming takes somebody on
call, an emergency holder or an admin. Standing permission for opx to act by itself
(``GRANT_AUTONOMY``) is admin's; a single approval is not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum


class Role(StrEnum):
    INGEST = "ingest"
    VIEWER = "viewer"
    OPERATOR = "operator"
    ON_CALL = "on_call"
    APPROVER = "approver"
    AUTHOR = "author"
    EMERGENCY = "emergency"
    ADMIN = "admin"


class Permission(StrEnum):
    INGEST = "ingest"
    """Send telemetry."""
    READ = "read"
    ACKNOWLEDGE = "acknowledge"
    """Work on incidents, from taking one on (opx asks before it acts on it from then on) to saying
    that it is over, and silence."""
    RECORD_OUTCOME = "record_outcome"
    APPROVE = "approve"
    """Answer one approval, either way."""
    HALT = "halt"
    RESUME = "resume"
    CLOSE_BREAKER = "close_breaker"
    APPLY_DOCUMENTS = "apply_documents"
    """Applying a runbook or a policy decides what may be run."""
    GRANT_AUTONOMY = "grant_autonomy"
    MANAGE_TOKENS = "manage_tokens"
    AUDIT = "audit"
    """Read who did what, refusals included, and check the journal's chain."""


_OPERATOR = frozenset(
    {Permission.READ, Permission.ACKNOWLEDGE, Permission.RECORD_OUTCOME, Permission.HALT}
)

PERMISSIONS: Mapping[Role, frozenset[Permission]] = {
    Role.INGEST: frozenset({Permission.INGEST}),
    Role.VIEWER: frozenset({Permission.READ}),
    Role.OPERATOR: _OPERATOR,
    Role.ON_CALL: _OPERATOR | {Permission.APPROVE, Permission.RESUME, Permission.CLOSE_BREAKER},
    Role.APPROVER: frozenset({Permission.READ, Permission.APPROVE, Permission.AUDIT}),
    Role.AUTHOR: frozenset({Permission.READ, Permission.APPLY_DOCUMENTS}),
    Role.EMERGENCY: frozenset({Permission.READ, Permission.HALT, Permission.RESUME}),
    Role.ADMIN: frozenset(Permission),
}


def may(roles: Iterable[Role], permission: Permission) -> bool:
    """Whether any of ``roles`` holds ``permission``. A name that is no role holds nothing."""
    return any(permission in PERMISSIONS.get(role, frozenset()) for role in roles)
