# SPDX-License-Identifier: Apache-2.0

"""What is left of the log when its end is torn: its last frames cut at every byte.

Each cut is a copy of its own, opened as ``front`` opens it after a crash, written to once
more, and read as ``brain`` reads it. Every frame that is whole in the copy was acknowledged
and must be read, once and in order; the torn one was not, and must be gone.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from opx.adapters.stores.wal import format, segments
from opx.adapters.stores.wal.tail import WalTail
from opx.core.ingest.signals import Tick

IN_MEMORY = Path("/dev/shm")


@dataclass(frozen=True, slots=True)
class _Frame:
    seq: int
    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cuts:
    """``tried``: how many copies. ``lost``: whole frames that were not read back, and
    ``doubled``: that were read twice or came from a torn one, over all copies."""

    tried: int
    lost: int
    doubled: int


Recover = Callable[[Path, int], list[int]]
"""A folder and the seq before its first frame; the seqs that are read there."""


def cut(wal: Path, last_bytes: int, recover: Recover) -> Cuts:
    """Cut a copy of the end of the log in ``wal`` at every byte, from ``last_bytes`` before
    its end or a little earlier."""
    newest = segments.listed(wal)[-1]
    data = newest.path.read_bytes()
    tail = _last(data, last_bytes)
    tried = lost = doubled = 0
    for at in range(tail[0].start, tail[-1].end + 1):
        wanted = [frame.seq for frame in tail if frame.end <= at]
        with tempfile.TemporaryDirectory(dir=IN_MEMORY if IN_MEMORY.is_dir() else None) as folder:
            path = Path(folder) / f"{tail[0].seq:020d}{segments.SUFFIX}"
            path.write_bytes(data[tail[0].start : at])
            found = recover(Path(folder), tail[0].seq - 1)
        tried += 1
        lost += len(set(wanted) - set(found))
        doubled += len(found) - len(set(found) & set(wanted))
    return Cuts(tried=tried, lost=lost, doubled=doubled)


def _last(data: bytes, last_bytes: int) -> list[_Frame]:
    """The last whole frames of a segment, of ``last_bytes`` together or a little more."""
    frames, at = [], 0
    while found := format.whole(memoryview(data), at):
        frames.append(_Frame(found.seq, at, found.end))
        at = found.end
    first = next((one for one in frames if one.start >= at - last_bytes), frames[-1])
    return frames[max(0, frames.index(first) - 1) :]


def recovered(folder: Path, floor: int) -> list[int]:
    """The seqs that are read after a restart and one more commit, without that one."""
    writer = segments.Writer(folder, floor)
    payload = format.commit([], [], [format.encode_items([Tick(1)])])
    added = writer.write(1, [], payload)
    writer.close()
    tail = WalTail(folder)
    found = [chunk.seq for chunk in tail.read(floor, 1_000_000)]
    tail.close()
    return [seq for seq in found if seq != added]
