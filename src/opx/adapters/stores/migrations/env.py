# SPDX-License-Identifier: Apache-2.0

"""What Alembic runs around the migrations: on the connection that ``migrate`` hands over."""

from __future__ import annotations

from alembic import context

from opx.adapters.stores.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
