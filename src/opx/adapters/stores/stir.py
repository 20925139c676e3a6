# SPDX-License-Identifier: Apache-2.0

"""To be told by the system that something happened in a folder, instead of looking for it.

``brain`` hears so of what ``front`` writes into the log, and each process of what another has
committed. It never says what happened: whoever is stirred looks.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
from pathlib import Path

from opx.core.base.time import SECOND, Ms

_MODIFIED, _ATTRIBUTES = 0x2, 0x4
"""``IN_MODIFY``, ``IN_ATTRIB``."""


def tell(folder: Path) -> None:
    """Stir whoever listens at ``folder``. Needs no room on the disk."""
    with contextlib.suppress(OSError):
        os.utime(folder)


class Stir:
    """Its ``descriptor`` can be read from when somebody told ``folder``, or, if ``writes``, wrote
    to a file in it, since it was last settled."""

    def __init__(self, folder: Path, *, writes: bool = False) -> None:
        """``OSError`` when the system does not tell."""
        libc = ctypes.CDLL(None, use_errno=True)
        if not hasattr(libc, "inotify_init1"):
            raise OSError("there is no inotify")
        self.descriptor = int(libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        if self.descriptor < 0:
            raise OSError(ctypes.get_errno(), "there is no inotify left")
        try:
            mask = _ATTRIBUTES | (_MODIFIED if writes else 0)
            if libc.inotify_add_watch(self.descriptor, os.fsencode(folder), mask) < 0:
                raise OSError(ctypes.get_errno(), f"nothing is told of {folder}")
            tell(folder)
            os.read(self.descriptor, 65_536)  # some file systems take the order and never tell
        except OSError:
            os.close(self.descriptor)
            raise

    def settle(self) -> None:
        """Read what there is, so that it can be stirred again."""
        with contextlib.suppress(BlockingIOError):
            os.read(self.descriptor, 65_536)

    async def wait(self, within: Ms) -> None:
        """Until it is stirred, for ``within`` at most. For one task at a time."""
        loop = asyncio.get_running_loop()
        stirred = asyncio.Event()
        loop.add_reader(self.descriptor, stirred.set)
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(within / SECOND):
                    await stirred.wait()
        finally:
            loop.remove_reader(self.descriptor)
        self.settle()

    def close(self) -> None:
        os.close(self.descriptor)
