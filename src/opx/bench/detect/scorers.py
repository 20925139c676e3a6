# SPDX-License-Identifier: Apache-2.0

"""What is measured: the three functions behind ``opx score``, from bytes to bytes.

They are handed in by the command, which is above this package. Nothing here looks inside of
them: lines in, lines out.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import msgspec


@dataclass(frozen=True, slots=True, kw_only=True)
class Scorers:
    """``metrics`` and ``logs`` read a buffered stream to its end; ``causes`` reads a file."""

    metrics: Callable[[BinaryIO, BinaryIO], object]
    logs: Callable[[BinaryIO, BinaryIO], object]
    causes: Callable[[Path, BinaryIO], None]


def answers(run: Callable[[BinaryIO, BinaryIO], object], feed: bytes) -> list[Any]:
    """What ``run`` says to ``feed``, a JSON value a line."""
    out = io.BytesIO()
    run(io.BufferedReader(io.BytesIO(feed)), out)
    return [msgspec.json.decode(line) for line in out.getvalue().splitlines()]
