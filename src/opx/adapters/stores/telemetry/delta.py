# SPDX-License-Identifier: Apache-2.0

"""The points on disk: a Delta table partitioned by day, one writer, no duplicates.

Columns: ``day`` (date), ``sid`` int32, ``ts`` int64 (ms), ``value`` float64. Every append
carries the log's seq as a Delta transaction in the same version, so what the table holds
and how far that goes can never differ. Merged files take the place of others in one version,
so that at any time each point is in one of them. The library syncs nothing to disk: that is done
here, before anybody may believe in a commit. Everything here blocks: one thread at a time.
The library does not survive a fork.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import numpy as np
from arro3.core import Array, DataType, Table
from deltalake import (
    CommitProperties,
    DeltaTable,
    Field,
    PostCommitHookProperties,
    Schema,
    Transaction,
    write_deltalake,
)
from deltalake.schema import PrimitiveType
from deltalake.transaction import AddAction, RemoveAction

from opx.adapters.stores import files
from opx.adapters.stores.telemetry import rollups
from opx.core.base.time import DAY, Ms, to_wire
from opx.core.ingest.signals import MetricBatch
from opx.errors import Damaged

APP = "opx"
"""Whose transaction it is: one writer for one name."""
KEEP_HOURS = 1
"""A file that was replaced stays this long, so the longest query still finds it."""
SCHEMA = Schema(
    [
        Field("day", PrimitiveType("date")),
        Field("sid", PrimitiveType("integer")),
        Field("ts", PrimitiveType("long")),
        Field("value", PrimitiveType("double")),
    ]
)
_CONFIGURATION = {
    "delta.logRetentionDuration": f"interval {KEEP_HOURS} hours",
    "delta.deletedFileRetentionDuration": f"interval {KEEP_HOURS} hours",
}
# Checkpoints are made in ``clean``, where they can be synced before the log they replace goes.
_BARE = PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)
_RESYNCED = 10
"""Log entries a predecessor may have died over before it synced them."""
_PARQUET_END = b"PAR1"
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A file of the table. ``day``: as ``2026-01-01``; ``sids`` and ``times``: the least and
    the greatest that stand in it; ``rolled``: its roll-ups lie beside it, so it was merged."""

    day: str
    path: str
    rows: int
    sids: tuple[int, int]
    times: tuple[Ms, Ms]
    rolled: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A file on disk that is to take the place of others."""

    path: Path
    day: str
    stats: str

    @classmethod
    def of(cls, path: Path, day: str, points: rollups.Columns) -> Made:
        """``points``: what stands in it, at least one."""
        stats = {
            "numRecords": len(points["sid"]),
            "minValues": {name: column.min().item() for name, column in points.items()},
            "maxValues": {name: column.max().item() for name, column in points.items()},
            "nullCount": dict.fromkeys(points, 0),
        }
        return cls(path=path, day=day, stats=json.dumps(stats))


class PointTable:
    """``committed``: the seq through which everything is in the table, and on disk.
    ``files``: what makes up the table now."""

    def __init__(self, folder: Path) -> None:
        """Open the table, or make it. What a power cut left half-written is dropped: its
        points are still in the write-ahead log."""
        self._folder = folder
        self._log = folder / "_delta_log"
        self._stale = False
        _drop_torn(folder)
        if not DeltaTable.is_deltatable(str(folder)):
            DeltaTable.create(
                folder, SCHEMA, mode="ignore", partition_by=["day"], configuration=_CONFIGURATION
            )
        self._table = DeltaTable(folder)
        self.committed: int = self._table.transaction_version(APP) or 0
        self.files: tuple[Stored, ...] = ()
        self._synced = self._table.version() - _RESYNCED
        self._sync()

    def append(self, seq: int, batches: Sequence[MetricBatch]) -> None:
        """Add the points; with them, everything through ``seq`` is there. A failure leaves
        it open whether they are: ``refresh`` tells."""
        self._stale = True
        write_deltalake(
            self._table,
            _arrow(batches),
            mode="append",
            commit_properties=CommitProperties(app_transactions=[Transaction(APP, seq)]),
            post_commithook_properties=_BARE,
        )
        self._sync()
        self.committed = seq
        self._stale = False

    def refresh(self) -> None:
        """After a failure, see what really happened."""
        if self._stale:
            self._table = DeltaTable(self._folder)
            self._sync()
            self.committed = self._table.transaction_version(APP) or 0
            self._stale = False

    def forget(self, before: Ms) -> int:
        """Drop the whole days that were over by ``before``; how many they were. Their files
        go when it is next cleaned."""
        end = to_wire(before)[:10]
        days = {one.day for one in self.files if one.day < end}
        if days:
            self._stale = True
            self._table.delete(f"day < '{end}'", post_commithook_properties=_BARE)
            self._sync()
            self._stale = False
        return len(days)

    def replace(self, gone: Sequence[Stored], made: Sequence[Made]) -> None:
        """``made``, which are on disk, hold the points of ``gone``: from now on they are what
        is read. Nothing happens if one of ``gone`` is not in the table any more."""
        if not set(gone) <= set(self.files):
            return
        self._stale = True
        now = int(time.time() * 1000)
        removed = [self._removed(one, now) for one in gone]
        added = [self._added(one, now) for one in made]
        self._table.create_write_transaction(
            [*removed, *added], "append", SCHEMA, ["day"], post_commithook_properties=_BARE
        )
        self._table.update_incremental()  # unlike the other writes, this one does not
        self._sync()
        self._stale = False

    def clean(self) -> None:
        """Let go of what nobody needs. No files may wait for ``replace``: they would go too,
        once they are old."""
        self._stale = True
        self._table.create_checkpoint()
        for path in (*self._log.glob("*.checkpoint.parquet"), self._log / "_last_checkpoint"):
            files.sync(path)
        files.sync(self._log)
        self._table.cleanup_metadata()
        self._table.vacuum(
            retention_hours=KEEP_HOURS,
            dry_run=False,
            enforce_retention_duration=False,
            post_commithook_properties=_BARE,
            full=True,
        )
        self._sync()
        self._stale = False
        rollups.drop_left_over(self._folder)

    def _removed(self, one: Stored, now: Ms) -> RemoveAction:
        path = Path(one.path)
        return RemoveAction(
            path.relative_to(self._folder).as_posix(), False, now, path.stat().st_size,
            {"day": one.day},
        )  # fmt: skip

    def _added(self, one: Made, now: Ms) -> AddAction:
        return AddAction(
            path=one.path.relative_to(self._folder).as_posix(),
            size=one.path.stat().st_size,
            partition_values={"day": one.day},
            modification_time=now,
            data_change=False,
            stats=one.stats,
        )

    def _sync(self) -> None:
        """Have the data files, then the log entries that name them, on disk."""
        known = {one.path: one for one in self.files}
        self.files = tuple(self._listed(known))
        fresh = [Path(one.path) for one in self.files if one.path not in known]
        for path in (*fresh, *{path.parent for path in fresh}, self._folder):
            files.sync(path)
        version = self._table.version()
        for number in range(self._synced + 1, version + 1):
            if (entry := self._log / f"{number:020d}.json").exists():
                files.sync(entry)
        files.sync(self._log)
        self._synced = version

    def _listed(self, known: dict[str, Stored]) -> Iterator[Stored]:
        """Every file of the table; a file never changes, so ``known`` ones stay as they are."""
        actions = self._table.get_add_actions(flatten=True)
        names = ("path", "num_records", "min.sid", "max.sid", "min.ts", "max.ts")
        found = (actions.column(name).to_pylist() for name in names)
        for name, rows, least, most, first, last in zip(*found, strict=True):
            relative = unquote(name)
            path = str(self._folder / relative)
            yield known.get(path) or Stored(
                day=relative.partition("/")[0].removeprefix("day="),
                path=path,
                rows=rows,
                sids=(least, most),
                times=(first, last),
                rolled=rollups.there(path),
            )


def _arrow(batches: Sequence[MetricBatch]) -> Table:
    """The points of all batches, sorted by series and time."""
    sid = np.concatenate([batch.sid for batch in batches])
    at = np.concatenate([batch.at for batch in batches])
    value = np.concatenate([batch.value for batch in batches])
    order = np.lexsort((at, sid))
    at = at[order]
    days = Array.from_numpy((at // DAY).astype(np.int32)).cast(DataType.date32())
    columns = [days, *map(Array.from_numpy, (sid[order], at, value[order]))]
    return Table.from_arrays(columns, names=["day", "sid", "ts", "value"])


def _drop_torn(folder: Path) -> None:
    """Remove the newest entries of the table's log that were never wholly on disk."""
    entries = sorted((folder / "_delta_log").glob("[0-9]" * 20 + ".json"), reverse=True)
    for entry in entries:
        if _whole(folder, entry):
            return
        if entry.with_suffix(".checkpoint.parquet").exists():
            raise Damaged(f"{entry} cannot be read and others rest on it")
        log.warning("dropping %s: it was not wholly written", entry)
        entry.unlink()
        files.sync(entry.parent)


def _whole(folder: Path, entry: Path) -> bool:
    """Whether a log entry, and every data file that it adds, is all there."""
    try:
        added = list(_added(entry))
        return bool(entry.stat().st_size) and all(_ends(folder / p, size) for p, size in added)
    except (ValueError, OSError):
        return False


def _added(entry: Path) -> Iterator[tuple[str, int]]:
    for line in entry.read_text().splitlines():
        if add := json.loads(line).get("add"):
            yield unquote(add["path"]), add["size"]


def _ends(path: Path, size: int) -> bool:
    with path.open("rb") as file:
        file.seek(-len(_PARQUET_END), os.SEEK_END)
        return file.read() == _PARQUET_END and file.tell() == size
