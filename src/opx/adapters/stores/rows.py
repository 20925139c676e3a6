# SPDX-License-Identifier: Apache-2.0

"""A record as a row: what goes into the columns, what goes into ``body``, and back.

Values are prepared for the driver's own ``executemany``: a record is encoded once, by
msgspec, and nothing of SQLAlchemy runs per row. SQL text is made once per table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from operator import attrgetter
from typing import Any

import msgspec

from opx.adapters.stores.tables import column_name
from opx.engine import records
from opx.engine.ports import Entry
from opx.engine.records import Record
from opx.errors import Damaged

_encode = msgspec.json.Encoder().encode
_PLAIN = frozenset({str, int, float, bool, type(None)})


def plain(value: object) -> object:
    """A field's value as a column holds it."""
    return value.value if isinstance(value, Enum) else value


@dataclass(frozen=True, slots=True)
class Codec:
    """``names``: the columns ``values`` fills, in order; the key, if it is kept, first.
    ``selected``: what ``decode`` takes of a row, as SQL has it."""

    record: Record
    names: tuple[str, ...]
    selected: str
    fields: Callable[[object], tuple[object, ...]]
    decoder: msgspec.json.Decoder[Any]

    def values(self, row: object) -> tuple[object, ...]:
        of_fields = self.fields(row)  # most of them are plain, and to look is cheaper than to call
        columns = [value if type(value) in _PLAIN else plain(value) for value in of_fields]
        return (*columns, _encode(row).decode())

    def decode(self, key: Any, *stored: Any) -> Any:
        """The record of a row. ``Damaged`` when it cannot be read, and when a line of the journal
        is not what was written, to the byte: what vouches for it knows its record alone, and what
        finds it its columns."""
        what = f"{self.record.kind.__name__} {key}"
        try:
            row = self.decoder.decode(stored[-1])
        except msgspec.DecodeError as error:
            raise Damaged(f"{what} cannot be read: {error}") from error
        if not isinstance(row, Entry):
            return row
        if row.seq or self.values(row) != stored:
            raise Damaged(f"{what} is not what was written")
        return replace(row, seq=key)

    def insert(self, mark: str) -> str:
        """Plain insert; ``mark`` is the driver's placeholder."""
        marks = ", ".join([mark] * len(self.names))
        return f"INSERT INTO {self.record.table} ({', '.join(self.names)}) VALUES ({marks})"

    def insert_new(self, mark: str) -> str:
        return f"{self.insert(mark)} ON CONFLICT (id) DO NOTHING"

    def upsert(self, mark: str) -> str:
        every = ", ".join(f"{name} = excluded.{name}" for name in self.names[1:])
        return f"{self.insert(mark)} ON CONFLICT (id) DO UPDATE SET {every}"

    def replace_version(self, mark: str) -> str:
        """Takes the row's values, then its id and the version it must replace."""
        every = ", ".join(f"{name} = {mark}" for name in self.names)
        return f"UPDATE {self.record.table} SET {every} WHERE id = {mark} AND version = {mark}"


def _codec(record: Record) -> Codec:
    numbered = record.kind is Entry  # the database gives its key
    paths = [] if numbered else [record.key]
    paths += ["version"] if record.versioned else []
    paths += record.paths
    # attrgetter of one path gives the value itself, of several a tuple
    get = attrgetter(*paths) if len(paths) > 1 else lambda row: (attrgetter(paths[0])(row),)
    names = tuple(column_name(path) for path in (*paths, "body"))
    seen = names[:-1] if numbered else ()
    selected = ", ".join((record.key, *seen, "CAST(body AS TEXT)"))
    return Codec(record, names, selected, get, msgspec.json.Decoder(record.kind))


_CODECS = {record.kind: _codec(record) for record in records.RECORDS}


def of(kind: type) -> Codec:
    """``ValueError`` when nothing keeps such records."""
    return _CODECS[records.of(kind).kind]
