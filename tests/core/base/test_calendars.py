# SPDX-License-Identifier: Apache-2.0

"""Calendars: weekly windows on the wall's clock, periods, and what a document may say."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opx.core.base.calendars import Calendar, Span, bind_calendar
from opx.core.base.documents import Node, envelope
from opx.core.base.time import DAY, HOUR, MINUTE, Window, from_wire, to_wire
from opx.errors import DocumentError

BERLIN = ZoneInfo("Europe/Berlin")
SUN = 6 * DAY


def at(text: str) -> int:
    return from_wire(text)


def node(value: Any, line: int = 1) -> Node:
    if isinstance(value, dict):
        inner = {name: node(one, line + n) for n, (name, one) in enumerate(value.items())}
        return Node(inner, line, "c.yaml")
    if isinstance(value, list):
        return Node([node(one, line) for one in value], line, "c.yaml")
    return Node(value, line, "c.yaml")


def read(spec: dict[str, Any], kind: str = "Calendar") -> Calendar:
    content = {"apiVersion": "opx/v1", "kind": kind, "metadata": {"name": "c"}, "spec": spec}
    return bind_calendar(envelope(node(content)), zone)


def zone(name: str) -> ZoneInfo:
    if name != "Europe/Berlin":
        raise ValueError(name)
    return BERLIN


WORK = {"days": ["mon", "fri"], "from": "09:00", "to": "17:30"}


def test_a_whole_document() -> None:
    """Zone, weekly windows and periods arrive as instants and spans; an end of 59.999 is full."""
    read_ = read(
        {
            "zone": "Europe/Berlin",
            "weekly": [WORK, {"days": ["sun"], "from": "22:00", "to": "06:00"}],
            "periods": [{"from": "2026-12-24T00:00:00Z", "to": "2026-12-26T23:59:59.999Z"}],
        }
    )
    assert read_.zone is BERLIN
    assert read_.weekly == (
        Span(9 * HOUR, 8 * HOUR + 30 * MINUTE),
        Span(4 * DAY + 9 * HOUR, 8 * HOUR + 30 * MINUTE),
        Span(SUN + 22 * HOUR, 8 * HOUR),
    )
    assert read_.periods == (Window(at("2026-12-24T00:00:00Z"), at("2026-12-27T00:00:00Z")),)


@pytest.mark.parametrize(
    ("spec", "line", "said"),
    [
        ({}, 4, "never open"),
        ({"weekly": []}, 4, "never open"),
        ({"zone": "Mars/Olympus", "weekly": [WORK]}, 4, "no time zone 'Mars/Olympus'"),
        ({"zone": "../../etc/passwd", "weekly": [WORK]}, 4, "does not match"),
        ({"weekly": [{**WORK, "days": []}]}, 4, "at least one day"),
        ({"weekly": [{**WORK, "days": ["mon", "mon"]}]}, 4, "each once"),
        ({"weekly": [{**WORK, "days": ["someday"]}]}, 4, "not known"),
        ({"weekly": [{**WORK, "from": "24:00"}]}, 5, "does not match"),
        ({"weekly": [{**WORK, "from": "9:00"}]}, 5, "does not match"),
        ({"weekly": [{**WORK, "to": "09:00"}]}, 6, "end where it begins"),
        ({"weekly": [{**WORK, "until": "09:00"}]}, 7, "unknown field"),
        ({"weekly": [WORK] * 21}, 4, "at most 20"),
        ({"periods": [{"from": "2026-01-01T00:00:00", "to": "2026-01-02T00:00:00Z"}]}, 4, "zone"),
        ({"periods": [{"from": "2026-01-02T00:00:00Z", "to": "2026-01-02T00:00:00Z"}]}, 5, "start"),
    ],
)
def test_what_is_refused(spec: dict[str, Any], line: int, said: str) -> None:
    """Each mistake is named, with its line."""
    with pytest.raises(DocumentError, match=said) as caught:
        read(spec)
    assert caught.value.line == line


def test_another_kind_is_refused() -> None:
    """What calls itself otherwise is not read as a calendar."""
    with pytest.raises(DocumentError, match="a Calendar is expected"):
        read({"weekly": [WORK]}, kind="Policy")


class TestWeekly:
    """2026-01-05 is a Monday, 2026-01-04 a Sunday."""

    OFFICE = Calendar(name="c", weekly=(Span(9 * HOUR, 8 * HOUR),))
    NIGHT = Calendar(name="c", weekly=(Span(SUN + 22 * HOUR, 8 * HOUR),))

    def test_half_open(self) -> None:
        """Open at its first instant, not any more at its end."""
        starts, ends = at("2026-01-05T09:00:00Z"), at("2026-01-05T17:00:00Z")
        assert [t in self.OFFICE for t in (starts - 1, starts, ends - 1, ends)] == [
            False, True, True, False,
        ]  # fmt: skip

    def test_edges(self) -> None:
        """It says when it opens and closes next; while open it opens now."""
        before, inside = at("2026-01-04T12:00:00Z"), at("2026-01-05T12:00:00Z")
        assert self.OFFICE.opens_at(before) == at("2026-01-05T09:00:00Z")
        assert self.OFFICE.closes_at(before) == before
        assert self.OFFICE.opens_at(inside) == inside
        assert self.OFFICE.closes_at(inside) == at("2026-01-05T17:00:00Z")

    def test_past_midnight_and_the_end_of_the_week(self) -> None:
        """From Sunday evening until Monday morning it is one window."""
        starts, ends = at("2026-01-04T22:00:00Z"), at("2026-01-05T06:00:00Z")
        midnight = at("2026-01-05T00:00:00Z")
        assert [t in self.NIGHT for t in (starts, midnight - 1, midnight, ends - 1, ends)] == [
            True, True, True, True, False,
        ]  # fmt: skip
        assert self.NIGHT.closes_at(starts) == ends
        assert self.NIGHT.opens_at(ends) == starts + 7 * DAY

    def test_windows_that_touch_are_one(self) -> None:
        """Two days in full close once, at the end of the second."""
        both = Calendar(name="c", weekly=(Span(0, DAY), Span(DAY, DAY)))
        assert both.closes_at(at("2026-01-05T09:00:00Z")) == at("2026-01-07T00:00:00Z")

    def test_always(self) -> None:
        """Seven whole days never close."""
        always = Calendar(name="c", zone=BERLIN, weekly=tuple(Span(d * DAY, DAY) for d in range(7)))
        now = at("2026-03-28T09:00:00Z")
        assert now in always
        assert always.closes_at(now) is None


class TestSummerTime:
    """In Berlin 2026: at 01:00 Z on 29 March 02:00 becomes 03:00, at 01:00 Z on 25 October
    03:00 becomes 02:00. Both are Sundays."""

    def test_it_follows_the_wall(self) -> None:
        """09:00 is 08:00 Z in winter and 07:00 Z in summer."""
        office = Calendar(name="c", zone=BERLIN, weekly=(Span(9 * HOUR, 8 * HOUR),))
        assert office.opens_at(at("2026-03-24T00:00:00Z")) == at("2026-03-30T07:00:00Z")
        assert office.opens_at(at("2026-10-20T00:00:00Z")) == at("2026-10-26T08:00:00Z")
        assert office.opens_at(at("2026-03-17T00:00:00Z")) == at("2026-03-23T08:00:00Z")

    def test_what_the_clock_skips_does_not_happen(self) -> None:
        """02:15 to 02:45 is not shown on 29 March, and is next a week later."""
        short = Calendar(name="c", zone=BERLIN, weekly=(Span(SUN + 135 * MINUTE, 30 * MINUTE),))
        assert short.opens_at(at("2026-03-28T00:00:00Z")) == at("2026-04-05T00:15:00Z")

    def test_what_begins_in_the_gap_begins_after_it(self) -> None:
        """02:15 to 04:00 opens when the clock jumps to 03:00."""
        gap = Calendar(name="c", zone=BERLIN, weekly=(Span(SUN + 135 * MINUTE, 105 * MINUTE),))
        opens = gap.opens_at(at("2026-03-28T00:00:00Z"))
        assert opens == at("2026-03-29T01:00:00Z")
        assert gap.closes_at(opens) == at("2026-03-29T02:00:00Z")

    def test_what_the_clock_shows_twice_is_open_twice(self) -> None:
        """02:15 to 02:45 on 25 October: once before the hour is repeated and once after."""
        twice = Calendar(name="c", zone=BERLIN, weekly=(Span(SUN + 135 * MINUTE, 30 * MINUTE),))
        seen, moment = [], at("2026-10-25T00:00:00Z")
        for _ in range(2):
            opens = twice.opens_at(moment)
            assert opens is not None
            moment = twice.closes_at(opens) or 0
            seen.append((to_wire(opens), to_wire(moment)))
        assert seen == [
            ("2026-10-25T00:15:00.000Z", "2026-10-25T00:45:00.000Z"),
            ("2026-10-25T01:15:00.000Z", "2026-10-25T01:45:00.000Z"),
        ]
        assert twice.opens_at(moment) == at("2026-11-01T01:15:00Z")

    def test_a_night_that_is_an_hour_longer(self) -> None:
        """22:00 to 06:00 over the change in October is nine hours, in March seven."""
        night = Calendar(name="c", zone=BERLIN, weekly=(Span(5 * DAY + 22 * HOUR, 8 * HOUR),))
        for opens, closes in (
            ("2026-10-24T20:00:00Z", "2026-10-25T05:00:00Z"),
            ("2026-03-28T21:00:00Z", "2026-03-29T04:00:00Z"),
        ):
            assert night.opens_at(at(opens) - HOUR) == at(opens)
            assert night.closes_at(at(opens)) == at(closes)


class TestPeriods:
    ONCE = Window(at("2026-12-20T00:00:00Z"), at("2027-01-03T00:00:00Z"))

    def test_edges(self) -> None:
        """Half-open, and once: after it there is no next."""
        freeze = Calendar(name="c", periods=(self.ONCE,))
        assert self.ONCE.start in freeze
        assert self.ONCE.end not in freeze
        assert freeze.opens_at(self.ONCE.start - 1) == self.ONCE.start
        assert freeze.closes_at(self.ONCE.start) == self.ONCE.end
        assert freeze.opens_at(self.ONCE.end) is None

    def test_weeks_and_periods_together(self) -> None:
        """Weekends within a long period end with it; one that it runs into ends later."""
        weekend = (Span(5 * DAY, DAY), Span(SUN, DAY))
        both = Calendar(name="c", weekly=weekend, periods=(self.ONCE,))
        # 2026-12-19 is a Saturday, 2027-01-03 a Sunday
        assert both.opens_at(at("2026-12-18T12:00:00Z")) == at("2026-12-19T00:00:00Z")
        assert both.closes_at(at("2026-12-19T12:00:00Z")) == at("2027-01-04T00:00:00Z")


@given(
    start=st.integers(0, 7 * DAY // MINUTE - 1),
    length=st.integers(1, DAY // MINUTE),
    moment=st.integers(at("2026-03-20T00:00:00Z"), at("2026-11-05T00:00:00Z")),
    steps=st.lists(st.floats(0, 0.999), min_size=1, max_size=5),
)
def test_nothing_changes_before_the_next_edge(
    start: int, length: int, moment: int, steps: list[float]
) -> None:
    """Up to the edge that it names it is as it is now; at the edge it is not."""
    calendar = Calendar(name="c", zone=BERLIN, weekly=(Span(start * MINUTE, length * MINUTE),))
    is_open = moment in calendar
    edge = calendar.closes_at(moment) if is_open else calendar.opens_at(moment)
    assert edge is not None
    assert edge > moment
    assert (edge in calendar) is not is_open
    assert (edge - 1 in calendar) is is_open
    for part in steps:
        assert (moment + int((edge - moment) * part) in calendar) is is_open
