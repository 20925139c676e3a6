# SPDX-License-Identifier: Apache-2.0

"""What is expected to fail. Every page of it is read off one index."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"

INDEXES = (("withdrawn", "held_back", "made_at", "id"), ("made_at", "id"), ("expires_at",))


def upgrade() -> None:
    body = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
    op.create_table(
        "predictions",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("withdrawn", sa.Text(), nullable=True),
        sa.Column("held_back", sa.Boolean(), nullable=False),
        sa.Column("made_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("body", body, nullable=False),
    )
    for over in INDEXES:
        op.create_index("_".join(("ix_predictions", *over)), "predictions", list(over))


def downgrade() -> None:
    op.drop_table("predictions")
