# SPDX-License-Identifier: Apache-2.0

"""A segment that comes and goes: what a full disk makes of the log, and its reader of that.

A writer without room makes a segment for its next frame and takes it away again. It is
there for a moment, and a reader may be the one that sees it.
"""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from opx.adapters.stores.wal import format
from opx.adapters.stores.wal.segments import SUFFIX, Writer
from opx.adapters.stores.wal.tail import WalTail
from opx.core.ingest.signals import Tick

PAYLOAD = format.commit([], [], [format.encode_items([Tick(1)])])


def write(writer: Writer) -> int:
    return writer.write(1, [], PAYLOAD)


def seqs(tail: WalTail, after: int) -> list[int]:
    return [chunk.seq for chunk in tail.read(after, 100)]


@contextmanager
def no_room() -> Iterator[None]:
    """No file of this process may grow."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_reader_goes_back_from_a_segment_that_has_vanished(tmp_path: Path) -> None:
    """The next frame stands in the old segment after all, and is read; so is the one after."""
    writer, tail = Writer(tmp_path, 0), WalTail(tmp_path)
    assert [write(writer), write(writer)] == [1, 2]
    assert seqs(tail, 0) == [1, 2]
    passing = tmp_path / f"{9:020d}{SUFFIX}"
    passing.touch()
    assert seqs(tail, 2) == []
    passing.unlink()
    writer.close()

    writer = Writer(tmp_path, 0)
    third = write(writer)
    assert seqs(tail, 2) == [third]
    fourth = write(writer)
    assert seqs(tail, third) == [fourth]
    tail.close()
    writer.close()


def test_what_follows_a_full_disk_is_read_whether_or_not_the_writer_began_anew(
    tmp_path: Path,
) -> None:
    """Frames that found no room are not in the log; those before and after them are, once."""
    writer, tail, kept, found = Writer(tmp_path, 0), WalTail(tmp_path), [], []
    for anew in (False, True, True, False):
        kept.append(write(writer))
        found += seqs(tail, found[-1] if found else 0)
        for _ in range(3):
            with no_room(), pytest.raises(OSError, match="too large"):
                write(writer)
            found += seqs(tail, found[-1])
        if anew:
            writer.close()
            writer = Writer(tmp_path, found[-1])
        kept.append(write(writer))
        found += seqs(tail, found[-1])
    assert found == kept
    tail.close()
    writer.close()
