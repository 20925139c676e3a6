# SPDX-License-Identifier: Apache-2.0

"""Every series ever defined, in one file that only grows.

The write-ahead log drops old segments and the lake holds numbers only, so each keeps its
series here. A frame's seq is that of the commit that brought the series; it is on disk
before that commit is. Frames of a commit that never came to be are cut off when the file
is opened, so that a number means one series for ever.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from opx.adapters.stores import files
from opx.adapters.stores.wal import format
from opx.core.base.time import Ms
from opx.core.ingest.signals import Series
from opx.errors import Damaged


def read(path: Path) -> Iterator[tuple[int, int, list[Series]]]:
    """Each frame as (seq, where it ends, its series). ``Damaged`` when one is not whole and
    others follow; a torn last one is left out, a missing file is empty."""
    data = path.read_bytes() if path.exists() else b""
    at, last = 0, 0
    while found := format.whole(memoryview(data), at):
        at, last = found.end, found.seq
        yield found.seq, at, format.decode_series(found.payload)
    if format.followed(data, at, last):
        raise Damaged(f"{path} is damaged at byte {at}")


class SeriesLog:
    """``series``: by sid. ``last``: the newest commit that defined one. One writer."""

    def __init__(self, path: Path, through: int | None = None) -> None:
        """Frames of commits after ``through`` are cut off; None keeps all."""
        self.series: dict[int, Series] = {}
        self.last = 0
        self._end = 0
        for seq, end, series in read(path):
            if through is not None and seq > through:
                break
            self.series.update((one.sid, one) for one in series)
            self.last, self._end = seq, end
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._before = self._end
        if os.fstat(self._file).st_size > self._end:
            self.undo()
        files.sync(path.parent)

    def append(self, seq: int, at: Ms, series: Sequence[Series]) -> None:
        """On disk when it returns; ``OSError`` otherwise, and ``undo`` is needed then too.
        They count as defined once ``keep`` is called."""
        data = format.frame(seq, at, format.encode_series(series))
        self._before = self._end
        self._end += len(data)
        files.write_all(self._file, data)
        os.fdatasync(self._file)

    def keep(self, seq: int, series: Sequence[Series]) -> None:
        self.series.update((one.sid, one) for one in series)
        self.last = seq
        self._before = self._end

    def undo(self) -> None:
        """Cut off what was appended and not kept."""
        os.ftruncate(self._file, self._before)
        os.fsync(self._file)
        self._end = self._before

    def close(self) -> None:
        os.close(self._file)
