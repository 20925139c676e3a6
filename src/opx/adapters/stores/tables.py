# SPDX-License-Identifier: Apache-2.0

"""The SQL tables, made from the engine's table of records.

Each table has the record's key, its version where it has one, every indexed field as a
column of its own type, and the whole record as JSON in ``body``. A field path
``group.service`` is the column ``group_service``. One schema for SQLite and PostgreSQL.
A changed table needs a migration: the tests compare the two.
"""

from __future__ import annotations

import types
from enum import IntEnum
from typing import Any, get_args, get_type_hints

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from opx.engine import records
from opx.engine.ports import Entry
from opx.engine.records import Record

HEAD = "0005"
"""The newest migration."""

METADATA = sa.MetaData()
BODY = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
BIG_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
"""SQLite numbers rows by itself only in a column that is declared INTEGER."""


def column_name(path: str) -> str:
    return path.replace(".", "_")


def _column_type(kind: type, path: str) -> tuple[sa.types.TypeEngine[Any], bool]:
    """The column type of a field path, and whether it may be null."""
    hint: Any = kind
    nullable = False
    for step in path.split("."):
        hint = get_type_hints(hint)[step]
        if isinstance(hint, types.UnionType):
            nullable = True
            (hint,) = (option for option in get_args(hint) if option is not type(None))
    if issubclass(hint, bool):
        return sa.Boolean(), nullable
    if issubclass(hint, IntEnum):
        return sa.SmallInteger(), nullable
    if issubclass(hint, int):
        return sa.BigInteger(), nullable
    if issubclass(hint, str):
        return sa.Text(), nullable
    raise TypeError(f"{kind.__name__}.{path} cannot be a column")


def _table(record: Record) -> sa.Table:
    columns: list[sa.Column[Any]] = []
    if record.kind is Entry:
        columns.append(sa.Column("seq", BIG_KEY, primary_key=True, autoincrement=True))
    else:
        columns.append(sa.Column("id", sa.Text(), primary_key=True))
    if record.versioned:
        columns.append(sa.Column("version", sa.BigInteger(), nullable=False))
    for path in record.paths:
        type_, nullable = _column_type(record.kind, path)
        columns.append(sa.Column(column_name(path), type_, nullable=nullable))
    columns.append(sa.Column("body", BODY, nullable=False))
    table = sa.Table(record.table, METADATA, *columns, sqlite_autoincrement=record.kind is Entry)
    for paths in record.indexes:
        names = [column_name(path) for path in paths]
        sa.Index("_".join(("ix", record.table, *names)), *(table.c[name] for name in names))
    return table


TABLES = {record.kind: _table(record) for record in records.RECORDS}
