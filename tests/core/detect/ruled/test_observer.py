# SPDX-License-Identifier: Apache-2.0

"""Blindness: the loss of most telemetry at once, and what is not that."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
from tests.core.detect.ruled.kit import CLEARED, FIRING, Fed, T, edges, rule, series

from opx.core.base.time import DAY, HOUR, MINUTE, SECOND, Ms
from opx.core.detect.finding import ClearReason, Finding, FindingKind
from opx.core.ingest.signals import Identity, Severity

SERVICES = ("gateway", "orders", "payments", "store")
SERIES = [
    series(sid, host=str(sid), service=service)
    for sid, service in enumerate(service for service in SERVICES for _ in range(5))
]
"""Twenty series: sids 0 to 4 are of the gateway, 5 to 9 of orders, and so on."""
ALL = frozenset(range(20))
EVERY = 10 * SECOND


def lived(
    one: Fed,
    first: Ms,
    last: Ms,
    here: Iterable[int] = ALL,
    every: Callable[[int], Ms] = lambda sid: EVERY,
) -> list[Finding]:
    """Ticks each second from ``first`` through ``last``; each of ``here`` comes in its turn."""
    found = []
    for at in range(first, last + 1, SECOND):
        points = [(sid, at, 1.0) for sid in here if (at - sid * SECOND) % every(sid) == 0]
        found += one.take(at, points)
    return found


@pytest.fixture
def one() -> Fed:
    """Three minutes of twenty regular series, and no rules at all."""
    fed = Fed([], SERIES)
    assert lived(fed, 0, 3 * MINUTE - SECOND) == []
    return fed


def test_when_most_series_of_most_services_fall_silent_the_telemetry_is_lost(one: Fed) -> None:
    """From minute 3 on nothing comes of three of four services. Each was last seen within 10 s
    before, and is silent 22 s after that: more than half of all are within 22 s."""
    found = lived(one, 3 * MINUTE, 5 * MINUTE, range(5))

    [fired] = found
    assert (fired.rule, fired.stream) == ("observer", "telemetry")
    assert fired.identity == Identity("opx", "observer")
    assert (fired.kind, fired.severity) == (FindingKind.SYMPTOM, Severity.SEV3)
    assert 3 * MINUTE < fired.at - T <= 3 * MINUTE + 22 * SECOND
    assert 3 * MINUTE - EVERY <= fired.since - T <= 3 * MINUTE
    assert set(fired.evidence["services"]) <= {"prod/orders", "prod/payments", "prod/store"}  # type: ignore[call-overload]
    assert fired.evidence["withheld"] == 0


def test_it_is_over_when_most_come_again(one: Fed) -> None:
    """Two services come again: of four, half are silent, which is not most."""
    [fired] = lived(one, 3 * MINUTE, 10 * MINUTE, [])

    [cleared] = lived(one, 10 * MINUTE + SECOND, 12 * MINUTE, range(10))

    assert (cleared.id, cleared.cleared) == (fired.id, ClearReason.RESOLVED)
    assert cleared.at - T <= 10 * MINUTE + 20 * SECOND
    assert lived(one, 12 * MINUTE + SECOND, 13 * MINUTE) == []


def test_a_second_loss_is_another_finding(one: Fed) -> None:
    """What was lost is still known to be regular when it is back."""
    for first in (3, 6):
        lived(one, first * MINUTE, (first + 1) * MINUTE, [])
        lived(one, (first + 1) * MINUTE + SECOND, (first + 3) * MINUTE - SECOND)

    assert [state for state, _ in edges(one.found)] == [FIRING, CLEARED, FIRING, CLEARED]
    assert len({finding.id for finding in one.found}) == 2


def test_one_service_with_most_of_the_series_that_stops_is_that_services_trouble() -> None:
    """Eighty of a hundred series are one service's."""
    many = [series(sid, service="big" if sid < 80 else f"s{sid % 4}") for sid in range(100)]
    one = Fed([], many)
    lived(one, 0, 3 * MINUTE, range(100))

    assert lived(one, 3 * MINUTE, 10 * MINUTE, range(80, 100)) == []


def test_many_small_services_that_stop_are_not_most_of_the_telemetry() -> None:
    """Three of four services, and ten of a hundred series."""
    few = [series(sid, service="big" if sid < 90 else f"s{sid % 3}") for sid in range(100)]
    one = Fed([], few)
    lived(one, 0, 3 * MINUTE, range(100))

    assert lived(one, 3 * MINUTE, 10 * MINUTE, range(90)) == []


def test_services_that_stop_one_after_another_are_not_lost_together(one: Fed) -> None:
    """A service every six minutes, until one is left: each its own trouble."""
    left = list(ALL)
    for step in range(3):
        left = left[5:]
        first = (3 + 6 * step) * MINUTE
        assert lived(one, first, first + 6 * MINUTE - SECOND, left) == []


def test_time_in_which_the_log_did_not_tick_is_no_loss(one: Fed) -> None:
    """Front was away for an hour; the senders need up to a minute more."""
    assert one.take(3 * MINUTE + HOUR) == []
    assert one.tick(3 * MINUTE + HOUR, 4 * MINUTE + HOUR) == []

    assert lived(one, 4 * MINUTE + HOUR + SECOND, 6 * MINUTE + HOUR) == []


def test_a_loss_after_a_sleep_is_found(one: Fed) -> None:
    """Nobody comes back: silent 22 s after the minute that all have."""
    one.take(3 * MINUTE + HOUR)

    [fired] = one.tick(3 * MINUTE + HOUR, 6 * MINUTE + HOUR)

    assert 4 * MINUTE + HOUR < fired.at - T <= 4 * MINUTE + HOUR + 23 * SECOND


def test_a_log_that_stutters_is_no_loss(one: Fed) -> None:
    """A disk that takes five seconds for each commit: the points wait as the ticks do."""
    now = 3 * MINUTE
    for _ in range(60):
        came = [(sid, 0, 1.0) for sid in ALL]
        now += 5 * SECOND
        assert one.take(now, came if now % EVERY == 0 else []) == []


def test_a_connection_that_is_made_anew_is_no_loss() -> None:
    """Twenty series that come every second, and nothing for nine seconds."""
    one = Fed([], SERIES)
    lived(one, 0, MINUTE, every=lambda sid: SECOND)

    assert one.tick(MINUTE, MINUTE + 9 * SECOND) == []
    assert lived(one, MINUTE + 10 * SECOND, 2 * MINUTE, every=lambda sid: SECOND) == []


def test_what_never_came_regularly_is_not_missed() -> None:
    """Twenty series of which each came eight times, and one that comes."""
    one = Fed([], SERIES)
    lived(one, 0, 80 * SECOND)

    assert one.tick(80 * SECOND, 10 * MINUTE) == []


def test_services_that_all_start_anew_under_other_names_are_not_lost() -> None:
    """Every series is replaced by another of its service: what comes is heard before it is
    known to be regular."""
    anew = [series(sid + 20, service=SERVICES[sid // 5], pod="b") for sid in range(20)]
    one = Fed([], [*SERIES, *anew])
    lived(one, 0, 3 * MINUTE)

    assert lived(one, 3 * MINUTE + SECOND, 10 * MINUTE, range(20, 40)) == []


def test_few_series_are_not_most() -> None:
    """Nine of nine, of three services."""
    one = Fed([], [series(sid, service=f"s{sid % 3}") for sid in range(9)])
    lived(one, 0, 3 * MINUTE, range(9))

    assert one.tick(3 * MINUTE, 10 * MINUTE) == []


def by_habit(sid: int) -> Ms:
    """Half of them come every second, half every minute."""
    return MINUTE if sid % 2 else SECOND


def test_what_is_not_due_yet_tells_nothing() -> None:
    """Those that come every second are silent 11 s after the loss; that is enough."""
    one = Fed([], SERIES)
    assert lived(one, 0, 15 * MINUTE, every=by_habit) == []

    [fired] = one.tick(15 * MINUTE, 20 * MINUTE)

    assert fired.at - T == 15 * MINUTE + 11 * SECOND
    assert fired.evidence["silent"] == 10


def test_services_that_are_not_due_yet_are_not_dark() -> None:
    """Two services of four come every second and stop; the others come every minute."""
    one = Fed([], SERIES)

    def every(sid: int) -> Ms:
        return SECOND if sid < 10 else MINUTE

    assert lived(one, 0, 15 * MINUTE, every=every) == []
    assert lived(one, 15 * MINUTE + SECOND, 25 * MINUTE, range(10, 20), every) == []


def test_one_turn_that_is_missed_by_all_and_a_next_one_that_is_late_are_no_loss() -> None:
    """A collector that sends everything once a minute, loses one sending, and is six seconds
    late with the next."""
    one = Fed([], SERIES)
    for minute in range(15):
        one.take(minute * MINUTE, [(sid, 0, 1.0) for sid in ALL])
        one.tick(minute * MINUTE, minute * MINUTE + 59 * SECOND)

    assert one.tick(15 * MINUTE - SECOND, 16 * MINUTE + 5 * SECOND) == []
    assert one.take(16 * MINUTE + 6 * SECOND, [(sid, 0, 1.0) for sid in ALL]) == []


def test_absences_behind_it_are_withheld_and_told_when_it_is_over_if_they_hold() -> None:
    """All twenty are silent for five minutes. Then all but those of the store come again, and
    30 s later its five are absent; the finding says how many were withheld and which."""
    one = Fed([rule("absence", {"metric": "m", "after": "15s"})], SERIES)
    lived(one, 0, 3 * MINUTE - SECOND)
    first = one.tick(3 * MINUTE - SECOND, 8 * MINUTE)
    assert [finding.rule for finding in first] == ["observer"]
    assert one.book.observer.firing is not None
    listed = one.book.observer.firing.evidence
    assert (listed["withheld"], len(listed["absences"])) == (20, 20)  # type: ignore[arg-type]
    assert "absence/odd of m{host=0}" in listed["absences"]  # type: ignore[operator]

    then = lived(one, 8 * MINUTE + SECOND, 10 * MINUTE, range(15))

    assert [(one.rule, one.state) for one in then] == [
        ("observer", CLEARED),
        *[("absence/odd", FIRING)] * 5,
    ]
    assert {one.identity.service for one in then[1:]} == {"store"}
    assert {one.at for one in then[1:]} == {then[0].at + 30 * SECOND}
    assert then[0].evidence["withheld"] == 20


def test_what_was_withheld_is_given_out_to_be_kept_once(one: Fed) -> None:
    """The evidence that grew stands in the finding, which has to be written again."""
    one.bind([rule("absence", {"metric": "m", "after": "15s"})], 3 * MINUTE)
    lived(one, 3 * MINUTE, 6 * MINUTE)
    one.book.observer.refreshed()
    for second in range(1, 60):
        one.take(6 * MINUTE + second * SECOND)

        for row in one.book.observer.refreshed():
            assert row == one.book.observer.firing
    assert one.book.observer.firing is not None
    assert one.book.observer.firing.evidence["withheld"] == 20
    assert one.book.observer.refreshed() == []


def test_after_a_day_nobody_waits_for_them_any_more(one: Fed) -> None:
    """A house that was torn down: it expires, and says nothing again."""
    lived(one, 3 * MINUTE, 10 * MINUTE, [])
    one.book.clock.asleep -= DAY  # as if each second of a day had ticked

    [over] = one.take(10 * MINUTE + SECOND)

    assert over.cleared is ClearReason.EXPIRED
    assert one.tick(11 * MINUTE, 20 * MINUTE) == []


@pytest.mark.parametrize("restarts", [(200,), (185, 186), (230,), tuple(range(160, 400, 7))])
def test_a_restart_changes_nothing(restarts: tuple[int, ...]) -> None:
    """Before, within and after a loss."""
    found = []
    for at in (restarts, ()):
        one = Fed([rule("absence", {"metric": "m", "after": "15s"})], SERIES)
        lived(one, 0, 150 * SECOND)
        for second in range(151, 420):
            if second in at:
                one.restart()
            here = ALL if second < 180 else range(12) if second > 300 else ()
            lived(one, second * SECOND, second * SECOND, here)
        found.append((one.found, one.stored()))

    assert found[0] == found[1]
    assert len(found[0][0]) == 2 + 8
