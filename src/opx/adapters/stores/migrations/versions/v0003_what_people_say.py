# SPDX-License-Identifier: Apache-2.0

"""Silences, and what people rule about an episode. Every page of incidents, whatever it is
narrowed to, is read off one index."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"

BEFORE = (
    ("group_environment", "group_service", "opened_at"),
    ("status", "opened_at"),
    ("severity", "opened_at"),
    ("opened_at",),
)
AFTER = (
    ("group_service", "status", "severity", "opened_at", "id"),
    ("status", "severity", "opened_at", "id"),
    ("opened_at", "id"),
)


def upgrade() -> None:
    op.create_table("rulings", _id(), _body())
    version = sa.Column("version", sa.BigInteger(), nullable=False)
    ends_at = sa.Column("ends_at", sa.BigInteger(), nullable=False)
    op.create_table("silences", _id(), version, ends_at, _body())
    op.create_index("ix_silences_ends_at", "silences", ["ends_at"])
    _reindex(BEFORE, AFTER)
    op.drop_column("incidents", "group_environment")


def downgrade() -> None:
    op.add_column("incidents", sa.Column("group_environment", sa.Text(), nullable=True))
    op.execute("UPDATE incidents SET group_environment = body -> 'group' ->> 'environment'")
    with op.batch_alter_table("incidents") as change:
        change.alter_column("group_environment", existing_type=sa.Text(), nullable=False)
    _reindex(AFTER, BEFORE)
    op.drop_table("silences")
    op.drop_table("rulings")


def _reindex(before: tuple[tuple[str, ...], ...], after: tuple[tuple[str, ...], ...]) -> None:
    for over in before:
        op.drop_index("_".join(("ix_incidents", *over)), "incidents")
    for over in after:
        op.create_index("_".join(("ix_incidents", *over)), "incidents", list(over))


def _id() -> sa.Column[Any]:
    return sa.Column("id", sa.Text(), primary_key=True)


def _body() -> sa.Column[Any]:
    body = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
    return sa.Column("body", body, nullable=False)
