# SPDX-License-Identifier: Apache-2.0

"""The files of the write-ahead log: segments named by their first seq, one writer.

``Writer`` puts one frame after the other and has each on disk before it returns. A seq is
never used twice, not even when its frame failed, because a reader may have seen it: a
failure begins a new segment, and opening an old log leaves a gap. A torn end of the newest
segment (a frame that nobody was told of) is cut off then, and reported; anything else that
cannot be read is ``Damaged``, never skipped.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from opx.adapters.stores import files
from opx.adapters.stores.wal import format
from opx.adapters.stores.wal.series import SeriesLog
from opx.core.base.time import Ms
from opx.core.ingest.signals import Series
from opx.errors import Damaged

SUFFIX = ".seg"
SERIES = "series.log"
SEGMENT_BYTES = 64 << 20
GAP = 1_000
"""Left free at each start: a power cut can take frames that a reader has seen already."""


@dataclass(frozen=True, slots=True)
class Segment:
    """``first``: no frame in it has a lower seq, and none before it a higher one."""

    first: int
    path: Path


@dataclass(frozen=True, slots=True)
class Torn:
    """What was cut off at start: ``size`` bytes from ``offset``."""

    path: Path
    offset: int
    size: int


def listed(folder: Path) -> list[Segment]:
    """The segments there are, oldest first."""
    paths = [entry for entry in folder.glob("*" + SUFFIX) if entry.stem.isdigit()]
    return sorted((Segment(int(p.stem), p) for p in paths), key=lambda segment: segment.first)


class Writer:
    """``last``: nothing at or below it is used again. ``floor``: the newest seq that anybody
    has seen by their own books, should the log have lost it. ``Conflict`` while another writes."""

    def __init__(self, folder: Path, floor: int, segment_bytes: int = SEGMENT_BYTES) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.last = floor
        self.torn: Torn | None = None
        self._folder = folder
        self._most = segment_bytes
        self._file: int | None = None
        self._path = folder
        self._end = 0
        self._failed = False
        self._lock = files.lock(folder / "lock")
        try:
            known = self._recover()
            self.series_log = SeriesLog(folder / SERIES, self.last if known else None)
        except BaseException:
            self._let_go()
            raise
        self.last = max(self.last, self.series_log.last)
        self.last += GAP if self.last else 0

    def write(self, at: Ms, series: Sequence[Series], payload: bytes) -> int:
        """One commit; return its seq once it is on disk. ``series``: those it defines first.
        ``OSError``: nothing of it is kept."""
        self._repair()
        seq = self.last = self.last + 1
        data = format.frame(seq, at, payload)
        try:
            file = self._segment(seq)
            if series:
                self.series_log.append(seq, at, series)
            files.write_all(file, data)
            os.fdatasync(file)
        except OSError:
            self._failed = True
            with contextlib.suppress(OSError):  # tried again before the next write
                self._repair()
            raise
        self._end += len(data)
        if series:
            self.series_log.keep(seq, series)
        return seq

    def close(self) -> None:
        self.series_log.close()
        self._let_go()

    def _recover(self) -> bool:
        """Go to the end of the newest segment, cutting off a torn one; False: there is none."""
        newest = listed(self._folder)[-1:]
        for segment in newest:
            data = segment.path.read_bytes()
            end, last = 0, segment.first - 1
            while found := format.whole(memoryview(data), end):
                end, last = found.end, found.seq
            if format.followed(data, end, last):
                raise Damaged(f"{segment.path} is damaged at byte {end}")
            self._file = os.open(segment.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
            self._path, self._end = segment.path, end
            self.last = max(self.last, last)
            if end < len(data):
                self.torn = Torn(segment.path, end, len(data) - end)
                os.ftruncate(self._file, end)
            os.fsync(self._file)  # the predecessor may have died before it did
        return bool(newest)

    def _segment(self, seq: int) -> int:
        """The file to write to: a new one, its name on disk, when the old one is full."""
        if self._file is not None and self._end < self._most:
            return self._file
        if self._file is not None:
            os.close(self._file)
            self._file = None
        self._path = self._folder / f"{seq:020d}{SUFFIX}"
        self._file = os.open(
            self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
        self._end = 0
        os.fsync(self._file)
        files.sync(self._folder)
        return self._file

    def _repair(self) -> None:
        """Take back what a failed write left, and leave that segment. ``OSError``: not yet."""
        if not self._failed:
            return
        self.series_log.undo()
        if self._file is not None:
            os.ftruncate(self._file, self._end)
            os.fsync(self._file)
            if self._end == 0:
                self._path.unlink(missing_ok=True)
            os.close(self._file)
            self._file = None
        self._failed = False

    def _let_go(self) -> None:
        for descriptor in (self._file, self._lock):
            if descriptor is not None:
                os.close(descriptor)
        self._file = None
