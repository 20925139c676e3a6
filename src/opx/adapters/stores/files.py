# SPDX-License-Identifier: Apache-2.0

"""Files that must be on disk before anybody is told so, and the lock on a folder of them."""

from __future__ import annotations

import os
from pathlib import Path

from opx.adapters import locks
from opx.errors import Conflict


def write_all(descriptor: int, data: bytes) -> None:
    """Write every byte; a write that stops half-way goes on, or says why not."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def sync(path: Path) -> None:
    """Have a file's content, or a folder's list of names, on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def lock(path: Path) -> int:
    """Take the lock until the descriptor is closed. ``Conflict`` when somebody has it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    if not locks.locked(descriptor):
        os.close(descriptor)
        raise Conflict(f"another process writes to {path.parent}")
    return descriptor
