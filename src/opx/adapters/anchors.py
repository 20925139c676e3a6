# SPDX-License-Identifier: Apache-2.0

"""The journal's anchors: heads of its hash chain, in a file beside the database.

Whoever rewrites the database must rewrite this too; copied elsewhere (another disk, a log
collector), it proves what the journal said. Append-only: nothing here shortens the file.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from opx.engine.journal.audit import Anchor
from opx.errors import Damaged


class AnchorFile:
    """One JSON line for each anchor, each on disk before ``append`` returns."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def append(self, anchor: Anchor) -> None:
        """Add one anchor. A line torn by a crash is ended first, so that it stays alone."""
        line = json.dumps({"last": anchor.last, "hash": anchor.hash, "at": anchor.at}) + "\n"
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            size = os.fstat(descriptor).st_size
            torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
            os.write(descriptor, ("\n" + line if torn else line).encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def read(self) -> list[Anchor]:
        """Every anchor, oldest first. ``Damaged`` when a line is not one that was written."""
        if not self._path.exists():
            return []
        lines = self._path.read_text(encoding="ascii", errors="replace").split("\n")
        return [
            _anchor(line, number, self._path)
            for number, line in enumerate(lines, 1)
            if line and not _torn(line)
        ]


def _torn(line: str) -> bool:
    """A line whose end never reached the disk: the crash came before ``append`` returned."""
    return line.startswith("{") and not line.endswith("}")


def _anchor(line: str, number: int, path: Path) -> Anchor:
    try:
        values = json.loads(line)
        return Anchor(last=int(values["last"]), hash=str(values["hash"]), at=int(values["at"]))
    except (ValueError, KeyError, TypeError) as error:
        raise Damaged(f"{path}:{number}: this is not an anchor") from error
