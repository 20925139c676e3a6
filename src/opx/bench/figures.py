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
    count; ``note`` says why, or how it came about. ``interval``: where another draw of the same
    kind of data would have it, 95 times in 100."""

    name: str
    unit: str
    measured: float | int | None
    anchor: str = ""
    must: str = ""
    aim: str = ""
    note: str = ""
    interval: tuple[float, float] | None = None

    @property
    def shown(self) -> str:
        if self.measured is None:
            return "-"
        shown = f"{self.measured:,} {self.unit}".strip()
        return f"{shown} [{self.interval[0]:,} to {self.interval[1]:,}]" if self.interval else shown


def share(values: Sequence[float], part: float) -> float:
    """The smallest value that ``part`` (0 to 1) of the sorted ``values`` do not exceed."""
    return values[min(len(values) - 1, int(part * len(values)))] if values else 0.0
