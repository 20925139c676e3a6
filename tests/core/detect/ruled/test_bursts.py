# SPDX-License-Identifier: Apache-2.0

"""The logs block: more lines than is usual."""

from __future__ import annotations

from typing import Any

import pytest
from tests.core.detect.ruled.kit import CLEARED, FIRING, Fed, T, edges, line, rule

from opx.core.base.time import DAY, MINUTE, SECOND
from opx.core.detect.finding import ClearReason, Finding, FindingKind
from opx.core.detect.ruled import logs
from opx.core.detect.rules import DetectionRule


def burst(**said: Any) -> DetectionRule:
    """More than three times the usual, and at least ten, in a minute."""
    given = {"level": "error", "window": "1m", "above": 3, "atLeast": 10}
    return rule("logs", {**given, **said}, "noise")


def lived(one: Fed, counts: list[int], first: int = 0, **more: str) -> list[Finding]:
    """So many lines in each minute from the ``first`` on, all in its tenth second."""
    found = []
    for number, count in enumerate(counts, first):
        for second in range(60):
            at = number * MINUTE + second * SECOND
            lines = [line(at, **more) for _ in range(count if second == 10 else 0)]
            found += one.take(at, lines=lines)
    return found


def later(one: Fed, minute: int) -> list[Finding]:
    """The ticks until the windows before this minute are closed."""
    return one.tick(minute * MINUTE - SECOND, minute * MINUTE + logs.GRACE)


def test_a_burst_after_the_warm_up_fires_once() -> None:
    """10 a minute are usual; 50 are five times that: it fires when that minute is over, and the
    next usual minute clears it."""
    one = Fed([burst()], [])

    found = lived(one, [10] * 20 + [50, 10, 10])
    found += later(one, 23)

    assert edges(found) == [(FIRING, 21 * MINUTE), (CLEARED, 22 * MINUTE)]
    fired, cleared = found
    assert (fired.rule, fired.stream, fired.kind) == (
        "logs/noise",
        "prod/orders/",
        FindingKind.EVIDENCE,
    )
    assert fired.summary == "noise: 50 lines of error, 30 would be much"
    assert (fired.evidence["value"], fired.evidence["usual"]) == (50, 10.0)
    assert cleared.cleared is ClearReason.RESOLVED


@pytest.mark.parametrize("burst_at", range(10))
def test_a_burst_during_the_warm_up_does_not(burst_at: int) -> None:
    """The baseline is learned from nothing: the first ten minutes are only learned."""
    one = Fed([burst()], [])
    counts = [10] * 10
    counts[burst_at] = 50

    assert lived(one, counts) + later(one, 10) == []


def test_a_line_that_was_never_seen_before_is_no_burst_by_itself() -> None:
    """Nothing for twenty minutes, then nine: less than the least that is one. Ten are."""
    for count, fires in ((9, 0), (10, 1)):
        one = Fed([burst()], [])
        lived(one, [1] * 20, level="INFO")

        assert len(lived(one, [count], 20) + later(one, 21)) == fires


def test_minutes_without_lines_count_as_zero() -> None:
    """10 every fifth minute is 2 a minute: 11 are a burst, and 7 are not enough."""
    one = Fed([burst(atLeast=8)], [])

    assert lived(one, [10, 0, 0, 0, 0] * 2) == []
    assert lived(one, [7], 10) == []
    assert edges(lived(one, [11], 11) + later(one, 12)) == [(FIRING, 12 * MINUTE)]


def test_minutes_that_the_log_slept_through_say_nothing() -> None:
    """Nobody wrote the log for an hour: twenty lines a minute are as usual as before, and sixty
    and one are as much too many."""
    one = Fed([burst()], [])
    lived(one, [20] * 30)

    assert lived(one, [20] * 5, 90) == []
    assert len(lived(one, [61], 95) + later(one, 96)) == 1
    [track] = one.stored()["bursts"]["tracks"]
    assert track["usual"] == [20] * 29 + [61]


def test_what_goes_on_becomes_usual() -> None:
    """From 10 to 50 for good: it fires once, and is over within half an hour."""
    one = Fed([burst()], [])

    found = lived(one, [10] * 30 + [50] * 31)

    assert [edge for edge, _ in edges(found)] == [FIRING, CLEARED]


def test_only_the_level_and_the_pattern_count() -> None:
    """INFO lines and others than the pattern's pass by."""
    one = Fed([burst(matches="refused|reset")], [])
    lived(one, [10] * 12, message="connection refused")

    assert lived(one, [50], 12, message="all is well") == []
    assert lived(one, [50], 13, level="INFO", message="refused") == []
    assert len(lived(one, [50], 14, message="was reset by peer") + later(one, 15)) == 1


def test_services_do_not_mix() -> None:
    """One is loud by habit; the other's burst is found."""
    one = Fed([burst()], [])
    for minute in range(12):
        at = minute * MINUTE
        loud = [line(at, service="store") for _ in range(100)]
        quiet = [line(at) for _ in range(60 if minute == 11 else 5)]
        one.take(at, lines=[*loud, *quiet])
        one.tick(at, at + 59 * SECOND)
    later(one, 12)

    assert [finding.identity.service for finding in one.found] == ["orders"]


def test_a_line_of_a_closed_minute_is_late() -> None:
    """It is counted as that, and in no window."""
    one = Fed([burst()], [])
    lived(one, [10] * 12)
    later(one, 12)

    late = [line(0) for _ in range(100)]
    for each in late:
        object.__setattr__(each, "received_at", T + 12 * MINUTE)
    assert one.take(12 * MINUTE + logs.GRACE, lines=late) == []
    assert later(one, 13) == []
    assert one.book.bursts.late == 100


def test_a_line_from_the_future_is_of_now() -> None:
    """A wrong clock opens no window that never closes."""
    one = Fed([burst()], [])
    early = line(0)
    object.__setattr__(early, "at", T + 365 * DAY)
    one.take(0, lines=[early])

    [track] = one.stored()["bursts"]["tracks"]
    assert track["counts"] == [[T, 1]]


def test_a_line_from_long_ago_costs_nothing() -> None:
    """Also before any window was closed: it is late, not the first of a million windows."""
    one = Fed([burst(window="1s")], [])
    old = line(0)
    object.__setattr__(old, "at", 0)

    one.take(0, lines=[old, line(0)])

    [track] = one.stored()["bursts"]["tracks"]
    assert track["counts"] == [[T, 1]]
    assert one.book.bursts.late == 1


def test_who_has_written_nothing_for_a_day_is_forgotten() -> None:
    """Without a trace."""
    one = Fed([burst()], [])
    one.take(0, lines=[line(0)])

    one.take(DAY + 2 * MINUTE)

    assert one.stored()["bursts"]["tracks"] == []


def test_the_least_recently_seen_make_room() -> None:
    """Room for two: the first of three writers is forgotten, counted."""
    one = Fed([burst()], [])
    one.book.bursts.most = 2
    for at, service in enumerate(("a", "b", "c")):
        one.take(at, lines=[line(at, service=service)])

    assert one.book.bursts.forgotten == 1
    kept = [track["identity"]["service"] for track in one.stored()["bursts"]["tracks"]]
    assert kept == ["b", "c"]


def test_the_usual_is_what_no_single_minute_has_much_say_in() -> None:
    """The mean and 1.4826 times the median distance from the median: of 1, 2, 3, 4 and 40 that
    is 10 + 1.4826 * 1."""
    assert logs.usual([1, 2, 3, 4, 40]) == pytest.approx(11.4826)
