# SPDX-License-Identifier: Apache-2.0

"""Bringing the tables up to date. The only module that loads Alembic.

``opx up`` calls ``migrate`` before it starts the processes; they only compare
``sqlite.schema_state``. A migration happens whole or not at all, and two processes that
migrate at once do it once.
"""

from __future__ import annotations

from pathlib import Path

from alembic import command, script
from alembic.config import Config

from opx.adapters.stores import sqlite

SCRIPTS = Path(__file__).with_name("migrations")


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    return config


def head() -> str:
    """The newest migration there is a script for."""
    return script.ScriptDirectory.from_config(_config()).get_current_head() or ""


def migrate(url: str, to: str = "head") -> None:
    """Make or update every table of the database at ``url`` (``sqlite:///path/opx.db``), up to
    the migration ``to``."""
    made = sqlite.engine(url)
    config = _config()
    try:
        with made.connect() as connection:
            connection = connection.execution_options(**{sqlite.WRITES: True})
            with connection.begin():
                config.attributes["connection"] = connection
                command.upgrade(config, to)
    finally:
        made.dispose()
