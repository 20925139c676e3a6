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

FIRST: Ms = -62_135_596_800_000
LAST: Ms = 253_402_300_799_999
"""The first and the last instant that the wire has a form for: the years 1 to 9999."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNITS = {"ms": 1, "s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY}
_LONGEST: Ms = 36_525 * DAY


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
    """``1767225600000`` -> ``2026-01-01T00:00:00.000Z``. An instant that the wire has no form
    for is written as the nearest that it has: what was kept can always be shown."""
    moment = _EPOCH + timedelta(milliseconds=min(max(at, FIRST), LAST))
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def from_wire(text: str) -> Ms:
    """Read an RFC 3339 instant. ``ValueError`` when it has no offset, is not one, or lies
    beyond the years 1 to 9999 once it is UTC.

    Fractions finer than a millisecond are cut, as the wire has no room for them.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone: write it with a Z or an offset")
    at = (moment - _EPOCH) // timedelta(milliseconds=1)
    if not FIRST <= at <= LAST:
        raise ValueError(f"{text!r} is not within the years 1 to 9999 in UTC")
    return at


def window_end(text: str) -> Ms:
    """Read the end of a window: an inclusive ``...59.999Z`` is the next instant."""
    at = from_wire(text)
    return at + 1 if at % SECOND == SECOND - 1 else at


def duration(text: str) -> Ms:
    """``"250ms" | "3s" | "5m" | "1h" | "7d"`` -> ``Ms``, at most a century; ``ValueError``
    otherwise."""
    for unit in ("ms", "s", "m", "h", "d"):
        number = text.removesuffix(unit)
        if number != text and number.isascii() and number.isdigit() and len(number) <= 16:
            span = int(number) * _UNITS[unit]
            if span > _LONGEST:
                raise ValueError(f"{text!r} is longer than a century")
            return span
    raise ValueError(f"{text!r} is not a duration: write 250ms, 3s, 5m, 1h or 7d")
