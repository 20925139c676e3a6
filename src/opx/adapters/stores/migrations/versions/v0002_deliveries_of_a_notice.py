# SPDX-License-Identifier: Apache-2.0

"""The deliveries of a notice can be found by it: to be listed, and to go with it. Purged work
is gone, no longer a row without a state."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("deliveries", sa.Column("notice", sa.Text(), nullable=True))
    op.execute("UPDATE deliveries SET notice = body ->> 'notice'")
    _nullable("deliveries", "notice", False)
    op.create_index("ix_deliveries_notice", "deliveries", ["notice"])
    op.execute("DELETE FROM pending_work WHERE state IS NULL")
    _nullable("pending_work", "state", False)


def downgrade() -> None:
    _nullable("pending_work", "state", True)
    op.drop_index("ix_deliveries_notice", "deliveries")
    op.drop_column("deliveries", "notice")


def _nullable(table: str, column: str, nullable: bool) -> None:
    with op.batch_alter_table(table) as change:
        change.alter_column(column, existing_type=sa.Text(), nullable=nullable)
