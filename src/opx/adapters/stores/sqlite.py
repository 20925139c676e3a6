# SPDX-License-Identifier: Apache-2.0

"""SQLite as opx wants it: durable, one writer at a time, readers never in the way.

``engine`` sets the pragmas on every connection and takes the write lock at BEGIN where the
caller says so, so that what a write transaction read is still true when it commits.
``Watcher`` sees commits of other processes for the price of reading one counter.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.engine import make_url

from opx.adapters.stores import tables
from opx.errors import Damaged, Unavailable

WRITES = "opx_writes"
"""Execution option: begin by taking the write lock."""
BUSY_MS = 10_000
_PRAGMAS = (
    f"PRAGMA busy_timeout = {BUSY_MS}",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    "PRAGMA wal_autocheckpoint = 16000",
    # At most 16 MB, taken as needed: new ids fall anywhere in their index.
    "PRAGMA cache_size = -16000",
)


def engine(url: str, connections: int = 1) -> sa.Engine:
    """``url``: ``sqlite:///path``. ``ValueError`` for any other database."""
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite" or parsed.database in (None, "", ":memory:"):
        raise ValueError(f"{url!r} is not the URL of an SQLite file: sqlite:///path/opx.db")
    made = sa.create_engine(
        url,
        pool_size=connections,
        max_overflow=0,
        hide_parameters=True,  # what is stored is nobody's business who reads a log
    )
    sa.event.listen(made, "connect", _on_connect)
    sa.event.listen(made, "begin", _on_begin)
    return made


def folder(url: str) -> Path:
    """Where the database and its log are."""
    return Path(make_url(url).database or "").absolute().parent


def _on_connect(connection: sqlite3.Connection, _: Any) -> None:
    connection.isolation_level = None  # BEGIN is ours: the driver would delay it
    for pragma in _PRAGMAS:
        connection.execute(pragma)


def _on_begin(connection: sa.Connection) -> None:
    writes = connection.get_execution_options().get(WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


class Watcher:
    """Tells whether anything was committed since it was last asked, by any connection."""

    def __init__(self, url: str) -> None:
        path = make_url(url).database or ""
        self._connection = sqlite3.connect(
            path, timeout=0, isolation_level=None, check_same_thread=False
        )
        # Another process that opens or closes the database holds it whole for a moment. Zero is
        # a version no database has: who could not ask now sees a change when it first can.
        self._version = 0
        self._version = self._ask()

    def moved(self) -> bool:
        before, self._version = self._version, self._ask()
        return self._version != before

    def _ask(self) -> int:
        try:
            return int(self._connection.execute("PRAGMA data_version").fetchone()[0])
        except sqlite3.OperationalError:  # locked for a moment: ask again next time
            return self._version

    def close(self) -> None:
        self._connection.close()


def schema_state(url: str) -> tuple[str | None, str]:
    """The migration the database stands at (None: it is empty), and the newest there is.

    ``Unavailable`` when it cannot be read now, ``Damaged`` when it is no database of opx's:
    neither may be taken for an empty one.
    """
    path = Path(make_url(url).database or "")
    if not path.exists() or path.stat().st_size == 0:
        return None, tables.HEAD
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=rw", uri=True)) as connection:
            names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            there = {name for (name,) in names if not name.startswith("sqlite_")}
            found = None
            if "alembic_version" in there:
                found = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.OperationalError as error:
        raise Unavailable(f"{path} cannot be read: {error}", hint="opx doctor") from error
    except sqlite3.DatabaseError as error:
        raise Damaged(f"{path} is damaged: {error}", hint="restore it from a backup") from error
    if found is None and there - {"alembic_version"}:
        raise Damaged(f"{path} has tables, and does not say of which version they are")
    return (found[0] if found else None), tables.HEAD
