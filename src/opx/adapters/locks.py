# SPDX-License-Identifier: Apache-2.0

"""Locks between processes: one watcher for a data folder, one process for each role.

The kernel frees a lock with its holder, so none is ever stale; what the file says of its
holder is for people only. Standard library only: the watcher of ``opx up`` loads it.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from pathlib import Path
from typing import Any

from opx.errors import Conflict

PATIENCE_S = 2.0
"""A predecessor that was just killed may take this long to be gone."""


class FileLock:
    """Held from ``acquire`` until ``release`` or the end of the process."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def acquire(self, holder: dict[str, Any]) -> None:
        """Take the lock and write ``holder`` into it. ``Conflict`` when somebody has it."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        until = time.monotonic() + PATIENCE_S
        while not locked(descriptor):
            if time.monotonic() > until:
                os.close(descriptor)
                raise Conflict(f"{self._path.name} is held: {json.dumps(said(self._path))}")
            time.sleep(0.05)
        self._descriptor = descriptor
        self.describe(holder)

    def describe(self, holder: dict[str, Any]) -> None:
        """Say who holds it, and what it is doing."""
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, json.dumps(holder).encode(), 0)

    def release(self) -> None:
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = None


def held(path: Path) -> bool:
    """Whether a process holds this lock now."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        return not locked(descriptor)
    finally:
        os.close(descriptor)


def said(path: Path) -> dict[str, Any]:
    """What the file says of its holder; {} when it says nothing that can be read."""
    try:
        holder = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return holder if isinstance(holder, dict) else {}


def locked(descriptor: int) -> bool:
    """Whether this got the lock, which then lasts until the descriptor is closed."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
