# SPDX-License-Identifier: Apache-2.0

"""``brain``'s end of the write-ahead log: reads what ``front`` writes, as it is written.

Through the page cache, so a commit is there at once; where it stopped it goes on, and only
another ``after`` makes it look for the place. It reads nothing twice and skips nothing: a
frame that is not whole yet is waited for, one that never will be is ``Damaged``.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import struct
from collections.abc import Sequence
from pathlib import Path

import msgspec

from opx.adapters.stores import files
from opx.adapters.stores.stir import Stir
from opx.adapters.stores.wal import format, segments
from opx.adapters.stores.wal import series as definitions
from opx.adapters.stores.wal.format import Frame
from opx.adapters.stores.wal.segments import Segment
from opx.core.base.time import SECOND, Ms
from opx.core.ingest.signals import Series
from opx.engine.ports import Chunk
from opx.errors import Damaged

BLOCK = 4 << 20
POLL: Ms = 50
"""How often it is looked for news where the system does not tell of any."""
MAX_READ = 16 << 20
"""One call stops at this many bytes of the log, give or take a commit."""


class WalTail:
    """``Tail`` of the log in ``folder``, which need not be there yet. Not for two threads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._after = 0
        self._segment: Segment | None = None
        self._file = -1
        self._data = memoryview(b"")
        self._offset = 0  # of _data in the file
        self._at = 0  # within _data
        self._stir: Stir | None = None
        self._all = False  # was read, as far as it was there

    def read(self, after: int, limit: int) -> list[Chunk]:
        """``Damaged``, with file and byte, when the next commit cannot be read."""
        if self._segment is None or after != self._after:
            self._seek(after)
        self._after = after
        chunks: list[Chunk] = []
        size = 0
        while len(chunks) < limit and size < MAX_READ:
            found = self._next()
            if found is None:
                break
            if found.seq > self._after:
                size += len(found.payload)
                chunks.append(self._chunk(found))
                self._after = found.seq
        self._all = not chunks
        return chunks

    async def changed(self, within: Ms) -> None:
        if not self._all:
            return
        if self._stir is None:
            with contextlib.suppress(OSError):  # the folder may come yet
                self._stir = Stir(self._folder, writes=True)
            within = min(within, POLL)  # what was written before is not told
        if self._stir is None:
            await asyncio.sleep(within / SECOND)
        else:
            await self._stir.wait(within)

    def series(self) -> Sequence[Series]:
        """Every series defined so far, by sid: also those of segments that are dropped."""
        found: dict[int, Series] = {}
        for _, _, series in definitions.read(self._folder / segments.SERIES):
            found.update((one.sid, one) for one in series)
        return [found[sid] for sid in sorted(found)]

    def drop(self, through: int) -> None:
        """The newest segment stays, whatever is in it."""
        there = segments.listed(self._folder)
        for segment, next_ in itertools.pairwise(there):
            if next_.first - 1 <= through:
                segment.path.unlink(missing_ok=True)
        if len(there) > 1:
            files.sync(self._folder)

    def close(self) -> None:
        self._leave()
        if self._stir is not None:
            self._stir.close()
            self._stir = None

    def _leave(self) -> None:
        if self._file >= 0:
            os.close(self._file)
        self._file, self._segment = -1, None

    def _seek(self, after: int) -> None:
        """Open the segment where the commit that follows ``after`` must be."""
        self._leave()
        there = segments.listed(self._folder)
        before = [segment for segment in there if segment.first <= after + 1]
        for segment in before[-1:] or there[:1]:
            self._open(segment)

    def _open(self, segment: Segment) -> None:
        """Nothing is open afterwards if it has vanished in the meantime."""
        self._leave()
        with contextlib.suppress(FileNotFoundError):
            self._file = os.open(segment.path, os.O_RDONLY | os.O_CLOEXEC)
            self._segment = segment
        self._data, self._offset, self._at = memoryview(b""), 0, 0

    def _next(self) -> Frame | None:
        """The next frame, from the next segment where this one has ended."""
        while self._segment is not None:
            found = format.whole(self._data, self._at) or self._reread()
            if found is None and os.fstat(self._file).st_nlink == 0:
                # Its first frame could not be kept: what follows may stand where we came from.
                self._seek(self._after)
                continue
            if found is None:
                newer = self._newer()
                # Nothing is added to a segment once a newer one is there: look once more.
                found = self._reread() if newer else None
            if found is not None:
                self._at = found.end
                return found
            self._check_end(newer is not None)
            if newer is None:
                return None
            self._open(newer)
        return None

    def _reread(self) -> Frame | None:
        """Read on from where we are, afresh: what was half-written may have been replaced."""
        self._offset += self._at
        self._at = 0
        data = os.pread(self._file, BLOCK, self._offset)
        wanted = format.wanted(memoryview(data), 0)
        if wanted > BLOCK:
            data = os.pread(self._file, wanted, self._offset)
        self._data = memoryview(data)
        return format.whole(self._data, 0)

    def _newer(self) -> Segment | None:
        assert self._segment is not None
        first = self._segment.first
        return next((one for one in segments.listed(self._folder) if one.first > first), None)

    def _check_end(self, closed: bool) -> None:
        """What stands here is no whole frame: an end, a frame on its way, or damage."""
        if not self._data:
            return
        rest = os.pread(self._file, os.fstat(self._file).st_size, self._offset)
        if closed or format.followed(rest, 0, self._after):
            raise Damaged(self._where(self._offset))

    def _chunk(self, found: Frame) -> Chunk:
        try:
            return format.chunk(found)
        except (msgspec.DecodeError, KeyError, ValueError, struct.error) as error:
            offset = self._offset + found.end - len(found.payload) - format.HEADER.size
            raise Damaged(f"{self._where(offset)}: {error}") from error

    def _where(self, offset: int) -> str:
        assert self._segment is not None
        return f"{self._segment.path} is damaged at byte {offset}"
