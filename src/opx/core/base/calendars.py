# SPDX-License-Identifier: Apache-2.0

"""``Calendar`` documents: when something is so, week by week and in periods of its own.

Beneath all stages; the ``window`` guard asks it. A weekly window is read off the clock on
the wall of its time zone: one that begins at 22:00 does so in summer and in winter, one
that the clock shows twice is open twice, and one that the clock skips is not. The rules of
the zones come in as a ``tzinfo``: nothing is looked up here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from enum import StrEnum
from typing import TypeAlias

from opx.core.base import time as opx_time
from opx.core.base.documents import Document, Node
from opx.core.base.time import DAY, HOUR, MINUTE, Ms, Window

KIND = "Calendar"
MOST_WINDOWS = 20
MOST_PERIODS = 100
FROM = r"([01][0-9]|2[0-3]):[0-5][0-9]"
TO = rf"{FROM}|24:00"
ZONE = r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+){0,2}"
_WEEK: Ms = 7 * DAY
_AHEAD: Ms = 3 * _WEEK
"""A window that neither opens nor closes for so long never does: the clock may skip one, once."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_ON_WALL: Ms = 3 * DAY
"""The epoch was a Thursday."""

Zones: TypeAlias = Callable[[str], tzinfo]
"""The time zone of an IANA name. ``ValueError`` when there is none."""


class Day(StrEnum):
    MON = "mon"
    TUE = "tue"
    WED = "wed"
    THU = "thu"
    FRI = "fri"
    SAT = "sat"
    SUN = "sun"


@dataclass(frozen=True, slots=True)
class Span:
    """A part of the week: ``start`` counts from Monday 00:00 on the wall; it may go on into
    the next week."""

    start: Ms
    length: Ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Calendar:
    """Open in every weekly span and in every period, half-open all of them."""

    name: str
    zone: tzinfo = UTC
    weekly: tuple[Span, ...] = ()
    periods: tuple[Window, ...] = ()
    hash: str = ""

    def __contains__(self, at: Ms) -> bool:
        return self._weekly(at) or any(at in period for period in self.periods)

    def opens_at(self, at: Ms) -> Ms | None:
        """The first instant from ``at`` on at which it is open; None: it never is again."""
        if at in self:
            return at
        starts = [period.start for period in self.periods if period.start > at]
        weekly = self._turns_at(at)
        return min(starts if weekly is None else [*starts, weekly], default=None)

    def closes_at(self, at: Ms) -> Ms | None:
        """The first instant from ``at`` on at which it is not open; None: it always is."""
        while at in self:
            ends = [period.end for period in self.periods if at in period]
            if self._weekly(at):
                weekly = self._turns_at(at)
                if weekly is None:
                    return None
                ends.append(weekly)
            at = max(ends)
        return at

    def _weekly(self, at: Ms) -> bool:
        wall = self._wall(at)
        return any((wall - span.start) % _WEEK < span.length for span in self.weekly)

    def _turns_at(self, at: Ms) -> Ms | None:
        """When the weekly spans next open, or close; None: never."""
        edges = {edge for span in self.weekly for edge in (span.start, span.start + span.length)}
        was, last = self._weekly(at), at + _AHEAD
        while edges and at < last:
            at = self._next(at, edges)
            if self._weekly(at) is not was:
                return at
        return None

    def _next(self, at: Ms, edges: set[Ms]) -> Ms:
        """When the wall next shows one of ``edges``, or before that is set."""
        wall, offset = self._wall(at), self._offset(at)
        later = at + min((edge - wall - 1) % _WEEK + 1 for edge in edges)
        if self._offset(later) == offset:
            return later
        while later - at > 1:
            between = (at + later) // 2
            at, later = (between, later) if self._offset(between) == offset else (at, between)
        return later

    def _wall(self, at: Ms) -> Ms:
        """What the wall shows, since Monday 00:00."""
        return (at + self._offset(at) + _EPOCH_ON_WALL) % _WEEK

    def _offset(self, at: Ms) -> Ms:
        moment = (_EPOCH + timedelta(milliseconds=at)).astimezone(self.zone)
        return (moment.utcoffset() or timedelta()) // timedelta(milliseconds=1)


def bind_calendar(document: Document, zones: Zones) -> Calendar:
    """Read a ``Calendar`` document. ``DocumentError`` with the line of whatever is wrong."""
    if document.kind != KIND:
        raise document.at("kind").wrong(f"a {KIND} is expected here, not a {document.kind}")
    spec = document.spec.fields((), ("zone", "weekly", "periods"))
    weekly = _several(spec["weekly"], MOST_WINDOWS) if "weekly" in spec else []
    periods = _several(spec["periods"], MOST_PERIODS) if "periods" in spec else []
    if not weekly and not periods:
        raise document.spec.wrong("it is never open", "name windows under 'weekly' or 'periods'")
    return Calendar(
        name=document.name,
        hash=document.hash,
        zone=_zone(spec["zone"], zones) if "zone" in spec else UTC,
        weekly=tuple(span for node in weekly for span in _spans(node)),
        periods=tuple(_period(node) for node in periods),
    )


def _several(node: Node, most: int) -> list[Node]:
    entries = node.items()
    if len(entries) > most:
        raise node.wrong(f"there are at most {most} of them")
    return entries


def _zone(node: Node, zones: Zones) -> tzinfo:
    name = node.text(ZONE, 100)
    try:
        return zones(name)
    except ValueError as error:
        raise node.wrong(f"there is no time zone {name!r}", "write Europe/Berlin or UTC") from error


def _spans(node: Node) -> list[Span]:
    fields = node.fields(("days", "from", "to"))
    start, end = _time(fields["from"], FROM), _time(fields["to"], TO)
    if start == end:
        raise fields["to"].wrong("it must not end where it begins", "a whole day: 00:00 to 24:00")
    days = [entry.choice(Day) for entry in fields["days"].items()]
    if not days or len(set(days)) < len(days):
        raise fields["days"].wrong("name at least one day, and each once")
    length = end - start if end > start else end - start + DAY
    return [Span(list(Day).index(day) * DAY + start, length) for day in days]


def _time(node: Node, form: str) -> Ms:
    hours, _, minutes = node.text(form).partition(":")
    return int(hours) * HOUR + int(minutes) * MINUTE


def _period(node: Node) -> Window:
    fields = node.fields(("from", "to"))
    try:
        start = opx_time.from_wire(fields["from"].text())
    except ValueError as error:
        raise fields["from"].wrong(str(error)) from error
    try:
        return Window(start, opx_time.window_end(fields["to"].text()))
    except ValueError as error:
        raise fields["to"].wrong(str(error)) from error
