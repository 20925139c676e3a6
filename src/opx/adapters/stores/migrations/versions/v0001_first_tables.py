# SPDX-License-Identifier: Apache-2.0

"""The first tables.

Written out rather than taken from ``tables``: a migration must go on doing what it did.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None

TABLES: dict[str, tuple[str, list[str]]] = {
    "findings": (
        "identity_environment:text identity_service:text at:int state:text since:int",
        ["identity_environment identity_service at", "state since"],
    ),
    "episodes": (
        "version:int group_environment:text group_service:text started_at:int ended_at:int?",
        ["group_environment group_service started_at", "ended_at"],
    ),
    "incidents": (
        "version:int group_environment:text group_service:text opened_at:int status:text "
        "severity:small updated_at:int episode:text",
        [
            "group_environment group_service opened_at",
            "status opened_at",
            "severity opened_at",
            "opened_at",
            "updated_at",
            "episode",
        ],
    ),
    "insights": (
        "episode:text at:int",
        ["episode at"],
    ),
    "decisions": (
        "incident:text at:int run:text",
        ["incident at", "run at"],
    ),
    "runs": (
        "version:int incident:text number:int status:text due_at:int? probation:bool "
        "ended_at:int? created_at:int group_environment:text group_service:text",
        [
            "incident number",
            "status due_at",
            "due_at",
            "probation ended_at",
            "created_at",
            "group_environment group_service created_at",
        ],
    ),
    "orders": (
        "version:int status:text order_issued_at:int run:text",
        ["status order_issued_at", "run order_issued_at"],
    ),
    "approvals": (
        "version:int incident:text approved:bool? expires_at:int requested_at:int",
        ["incident", "approved expires_at", "requested_at"],
    ),
    "modes": (
        "version:int",
        [],
    ),
    "grants": (
        "version:int expires_at:int?",
        ["expires_at"],
    ),
    "track_records": (
        "version:int",
        [],
    ),
    "breakers": (
        "version:int opened_at:int?",
        ["opened_at"],
    ),
    "leases": (
        "version:int run:text expires_at:int",
        ["run", "expires_at"],
    ),
    "outcomes": (
        "incident:text at:int",
        ["incident at", "at"],
    ),
    "notices": (
        "incident:text at:int",
        ["incident at", "at"],
    ),
    "deliveries": (
        "version:int status:text due_at:int?",
        ["status due_at"],
    ),
    "quarantine": (
        "at:int wire:text",
        ["at", "wire at"],
    ),
    "journal": (
        "subject:text kind:text at:int",
        ["subject seq", "kind seq", "at"],
    ),
    "seals": (
        "last:int",
        ["last"],
    ),
    "positions": (
        "",
        [],
    ),
    "documents": (
        "kind:text name:text",
        ["kind name"],
    ),
    "commands": (
        "version:int done_at:int? at:int subject:text",
        ["done_at at", "subject at"],
    ),
    "tokens": (
        "version:int name:text revoked_at:int? expires_at:int?",
        ["name", "revoked_at", "expires_at"],
    ),
    "pending_work": (
        "version:int state:text? not_before:int",
        ["state not_before"],
    ),
}
"""Of each table: its columns besides key and body as ``name:type`` (``?``: may be null),
and the columns of each index."""

TYPES: dict[str, type[sa.types.TypeEngine[Any]]] = {
    "int": sa.BigInteger,
    "small": sa.SmallInteger,
    "text": sa.Text,
    "bool": sa.Boolean,
}


def upgrade() -> None:
    for name, (columns, indexes) in TABLES.items():
        op.create_table(name, *_columns(name, columns), sqlite_autoincrement=name == "journal")
        for index in indexes:
            over = index.split()
            op.create_index("_".join(("ix", name, *over)), name, over)


def downgrade() -> None:
    for name in reversed(TABLES):
        op.drop_table(name)


def _columns(name: str, columns: str) -> list[sa.Column[Any]]:
    made: list[sa.Column[Any]] = [_key(name)]
    for column in columns.split():
        title, kind = column.rstrip("?").split(":")
        made.append(sa.Column(title, TYPES[kind](), nullable=column.endswith("?")))
    body = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
    return [*made, sa.Column("body", body, nullable=False)]


def _key(name: str) -> sa.Column[Any]:
    if name != "journal":
        return sa.Column("id", sa.Text(), primary_key=True)
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    return sa.Column("seq", number, primary_key=True, autoincrement=True)
