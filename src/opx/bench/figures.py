# SPDX-License-Identifier: Apache-2.0

"""``Figure``: one measured number beside what it is held against.

What every module of this package returns. A figure is shown, never asserted, so it has no
verdict: whoever reads it has ``must`` beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

Tell = Callable[[str], None]
"""Is told how far it has got, a line at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """``anchor``: somebody else's figure, or that of the system it replaces; ``must`` and
    ``aim``: ours. Empty: there is none. ``measured`` None: it could not be, or it does not
    count; ``note`` says why, or how it came about."""

    name: str
    unit: str
    measured: float | int | None
    anchor: str = ""
    must: str = ""
    aim: str = ""
    note: str = ""

    @property
    def shown(self) -> str:
        if self.measured is None:
            return "-"
        return f"{self.measured:,} {self.unit}".strip()


def share(values: Sequence[float], part: float) -> float:
    """The smallest value that ``part`` (0 to 1) of the sorted ``values`` do not exceed."""
    return values[min(len(values) - 1, int(part * len(values)))] if values else 0.0
