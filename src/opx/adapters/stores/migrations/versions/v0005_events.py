# SPDX-License-Identifier: Apache-2.0

"""What happened, where it may be forgotten: the journal has only what was changed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    body = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
    op.create_table(
        "events",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("event_received_at", sa.BigInteger(), nullable=False),
        sa.Column("body", body, nullable=False),
    )
    op.create_index("ix_events_event_received_at", "events", ["event_received_at"])


def downgrade() -> None:
    op.drop_table("events")
