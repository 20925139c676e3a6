# SPDX-License-Identifier: Apache-2.0

"""What a power cut leaves of a folder, if the disk keeps nothing that it was not told to keep.

Of a file that is what it held when it was last synced, of a folder the names it had then.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path

import pytest


class Left(Enum):
    """What there is afterwards: after a kill all of it; after a power cut only what was synced,
    or the names of everything, but nothing in files that were not synced."""

    ALL = "all"
    SYNCED = "synced"
    NAMES = "names"


class Disk:
    """Follows ``folder``, which is taken to be synced when this begins."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._content: dict[int, bytes] = {}
        self._names: dict[int, dict[str, int]] = {}
        self._held: list[int] = []  # while it is open, no other file gets a file's number
        for path in (folder, *folder.rglob("*")):
            self._sync(path)

    def synced(self, descriptor: int) -> None:
        self._sync(Path(f"/proc/self/fd/{descriptor}").resolve())

    def leave(self, kind: Left, to: Path) -> None:
        """What is left of it, in a new folder."""
        if kind is Left.ALL:
            shutil.copytree(self._folder, to)
        elif kind is Left.SYNCED:
            self._rebuild(self._folder.stat().st_ino, to)
        else:
            for path in (self._folder, *sorted(self._folder.rglob("*"))):
                beside = to / path.relative_to(self._folder)
                if path.is_dir():
                    beside.mkdir()
                else:
                    beside.write_bytes(self._content.get(path.stat().st_ino, b""))

    def close(self) -> None:
        for descriptor in self._held:
            os.close(descriptor)

    def _sync(self, path: Path) -> None:
        self._hold(path)
        number = path.stat().st_ino
        if path.is_dir():
            self._names[number] = {one.name: one.stat().st_ino for one in path.iterdir()}
            for one in path.iterdir():
                self._hold(one)
        else:
            self._content[number] = path.read_bytes()

    def _hold(self, path: Path) -> None:
        self._held.append(os.open(path, os.O_RDONLY))

    def _rebuild(self, number: int, to: Path) -> None:
        to.mkdir()
        for name, inside in self._names.get(number, {}).items():
            if inside in self._names or stat.S_ISDIR(self._mode(inside)):
                self._rebuild(inside, to / name)
            else:
                (to / name).write_bytes(self._content.get(inside, b""))

    def _mode(self, number: int) -> int:
        found = (os.fstat(one) for one in self._held)
        return next(one.st_mode for one in found if one.st_ino == number)


@contextmanager
def watched(folder: Path, at_each: Callable[[Disk], None]) -> Iterator[Disk]:
    """Call ``at_each`` before every sync of this process takes effect."""
    disk = Disk(folder)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("fsync", "fdatasync"):
            real = getattr(os, name)

            def sync(descriptor: int, real: Callable[[int], None] = real) -> None:
                at_each(disk)
                real(descriptor)
                disk.synced(descriptor)

            patch.setattr(os, name, sync)
        try:
            yield disk
        finally:
            disk.close()
