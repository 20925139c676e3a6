# SPDX-License-Identifier: Apache-2.0

"""Time as every stage sees it: UTC milliseconds since the epoch, and half-open windows.

Beneath all stages. An instant is an ``int`` (``Ms``), so a naive datetime cannot be
written down; the wire form is RFC 3339 with milliseconds and ``Z``. This module never
asks what time it is: "now" is always an argument.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

Ms: TypeAlias = int
"""Milliseconds since 1970-01-01T00:00:00Z."""

SECOND: Ms = 1_000
MINUTE: Ms = 60 * SECOND
HOUR: Ms = 60 * MINUTE
DAY: Ms = 24 * HOUR

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNITS = {"ms": 1, "s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY}


@dataclass(frozen=True, slots=True)
class Window:
    """Half-open span ``[start, end)`` in ``Ms``; raises ``ValueError`` unless start < end."""

    start: Ms
    end: Ms

    def __post_init__(self) -> None:
        if self.start >= self.end:
            raise ValueError(f"a window must start before it ends: [{self.start}, {self.end})")

    def __contains__(self, at: Ms) -> bool:
        return self.start <= at < self.end


def to_wire(at: Ms) -> str:
    """``1767225600000`` -> ``2026-01-01T00:00:00.000Z``."""
    moment = _EPOCH + timedelta(milliseconds=at)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def from_wire(text: str) -> Ms:
    """Read an RFC 3339 instant. ``ValueError`` when it has no offset or is not one.

    Fractions finer than a millisecond are cut, as the wire has no room for them.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone: write it with a Z or an offset")
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def window_end(text: str) -> Ms:
    """Read the end of a window: an inclusive ``...59.999Z`` is the next instant."""
    at = from_wire(text)
    return at + 1 if at % SECOND == SECOND - 1 else at


def duration(text: str) -> Ms:
    """``"250ms" | "3s" | "5m" | "1h" | "7d"`` -> ``Ms``; ``ValueError`` otherwise."""
    for unit in ("ms", "s", "m", "h", "d"):
        number = text.removesuffix(unit)
        if number != text and number.isascii() and number.isdigit():
            return int(number) * _UNITS[unit]
    raise ValueError(f"{text!r} is not a duration: write 250ms, 3s, 5m, 1h or 7d")
