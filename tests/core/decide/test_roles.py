# SPDX-License-Identifier: Apache-2.0

"""What each role may do, written out again by hand."""

from __future__ import annotations

import pytest

from opx.core.decide.roles import PERMISSIONS, Permission, Role, may

HOLDERS = {
    Permission.INGEST: {"ingest", "admin"},
    Permission.READ: {"viewer", "operator", "on_call", "approver", "author", "emergency", "admin"},
    Permission.ACKNOWLEDGE: {"operator", "on_call", "admin"},
    Permission.RECORD_OUTCOME: {"operator", "on_call", "admin"},
    Permission.APPROVE: {"on_call", "approver", "admin"},
    Permission.HALT: {"operator", "on_call", "emergency", "admin"},
    Permission.RESUME: {"on_call", "emergency", "admin"},
    Permission.CLOSE_BREAKER: {"on_call", "admin"},
    Permission.APPLY_DOCUMENTS: {"author", "admin"},
    Permission.GRANT_AUTONOMY: {"admin"},
    Permission.MANAGE_TOKENS: {"admin"},
    Permission.AUDIT: {"approver", "admin"},
}


@pytest.mark.parametrize("permission", Permission)
def test_who_holds_it(permission: Permission) -> None:
    """Exactly these roles hold the permission."""
    assert {role.value for role in Role if may([role], permission)} == HOLDERS[permission]


def test_every_role_is_in_the_table() -> None:
    """No role is forgotten."""
    assert set(PERMISSIONS) == set(Role)


def test_roles_add_up() -> None:
    """Who holds two roles may do what either may, and nobody without a role may do anything."""
    both = [Role.INGEST, Role.AUTHOR]
    allowed = {permission for permission in Permission if may(both, permission)}
    assert allowed == {Permission.INGEST, Permission.READ, Permission.APPLY_DOCUMENTS}
    assert not any(may([], permission) for permission in Permission)


def test_a_telemetry_sender_reads_nothing() -> None:
    """The token of a sender opens nothing but the door it sends through."""
    assert PERMISSIONS[Role.INGEST] == {Permission.INGEST}


def test_starting_again_takes_more_than_stopping() -> None:
    """Whoever may resume may halt; an operator may halt and not resume."""
    assert HOLDERS[Permission.RESUME] < HOLDERS[Permission.HALT]
