# SPDX-License-Identifier: Apache-2.0

"""The absence block: what came regularly and comes no more."""

from __future__ import annotations

from typing import Any

from tests.core.detect.ruled.kit import CLEARED, FIRING, Fed, T, edges, rule, series

from opx.core.base.time import DAY, HOUR, MINUTE, SECOND, Ms
from opx.core.detect.finding import ClearReason, Finding, FindingKind
from opx.core.detect.ruled.absences import Absences
from opx.core.detect.ruled.clock import LogClock
from opx.core.detect.rules import DetectionRule
from opx.core.ingest.signals import Identity

SERIES = [series(sid, host=str(sid)) for sid in range(5)]


def gone(after: str = "30s", **said: Any) -> DetectionRule:
    return rule("absence", {"metric": "m", "after": after, **said}, "gone")


def came(one: Fed, first: Ms, last: Ms, every: Ms, sid: int = 0) -> list[Finding]:
    """Ticks each second from ``first`` through ``last``, with a point of ``sid`` now and then."""
    found = []
    for at in range(first, last + 1, SECOND):
        found += one.take(at, [(sid, at, 1.0)] if (at - first) % every == 0 else [])
    return found


def test_a_regular_series_that_falls_silent_is_absent_until_it_comes_again() -> None:
    """Ten times every 10 s, then never: absent 30 s after the last, as evidence."""
    one = Fed([gone()], SERIES)
    assert came(one, 0, 90_000, 10_000) == []

    [fired] = one.tick(90_000, 200_000)
    [cleared] = one.take(201_000, [(0, 0, 1.0)])

    assert (fired.rule, fired.stream) == ("absence/gone", "m{host=0}")
    assert fired.kind is FindingKind.EVIDENCE
    assert (fired.since, fired.at) == (T + 90_000, T + 120_000)
    assert fired.summary == "gone: m{host=0} is silent, it came every 10000 ms"
    assert fired.evidence["last_seen"] == T + 90_000
    assert (cleared.id, cleared.cleared, cleared.at) == (
        fired.id,
        ClearReason.RESOLVED,
        T + 201_000,
    )
    assert cleared.evidence == {"silent_ms": 111_000}


def test_a_series_that_is_somebody_elses_by_now_has_not_fallen_silent() -> None:
    """The same metric and labels under a new number, as another mapping makes of them: the habit
    goes on, also over a restart, and who owns it now is told of its silence."""
    one = Fed([gone()], [*SERIES, series(5, service="shop", host="0")])
    came(one, 0, 90_000, 10_000)
    assert came(one, 100_000, 140_000, 10_000, sid=5) == []
    one.restart()
    assert came(one, 150_000, 190_000, 10_000, sid=5) == []

    [fired] = one.tick(191_000, 300_000)

    assert (fired.stream, fired.identity) == ("m{host=0}", Identity("prod", "shop"))
    assert (fired.since, fired.at) == (T + 190_000, T + 220_000)


def test_what_was_seen_too_seldom_is_never_absent() -> None:
    """Nine points are no habit."""
    one = Fed([gone()], SERIES)
    came(one, 0, 80_000, 10_000)

    assert one.tick(80_000, HOUR // 4) == []


def test_what_never_was_regular_is_never_absent() -> None:
    """Gaps of 10 s and one of 40 s: four times the usual."""
    one = Fed([gone()], SERIES)
    came(one, 0, 50_000, 10_000)
    one.tick(50_000, 89_000)
    came(one, 90_000, 150_000, 10_000)

    assert one.tick(150_000, HOUR // 4) == []


def test_a_gap_of_three_times_the_usual_is_no_silence_whatever_the_rule_says() -> None:
    """A minute between two points and a rule of 5 s: absent after three minutes."""
    one = Fed([gone("5s")], SERIES)
    came(one, 0, 9 * MINUTE, MINUTE)

    found = one.tick(9 * MINUTE, 13 * MINUTE)

    assert edges(found) == [(FIRING, 12 * MINUTE)]


def test_it_may_be_absent_again() -> None:
    """Another silence of the same series is another finding."""
    one = Fed([gone()], SERIES)
    for first in (0, 200_000, 400_000):
        came(one, first, first + 100_000, 10_000)
        one.tick(first + 100_000, first + 199_000)

    again = [(FIRING, 130_000), (CLEARED, 200_000), (FIRING, 330_000), (CLEARED, 400_000)]
    assert edges(one.found) == [*again, (FIRING, 530_000)]
    assert len({finding.id for finding in one.found}) == 3


def test_a_series_that_comes_and_goes_for_ever_needs_no_more_room() -> None:
    """Two thousand times seen and found silent before it ever was regular."""
    one = Fed([gone("1s")], SERIES)
    for at in range(0, 2_000 * 4_000, 4_000):
        one.take(at, [(0, at, 1.0)])
        one.take(at + 2_000)

    assert len(one.book.absences.queue) <= 1_003


def test_a_sender_whose_clock_is_wrong_is_not_silent() -> None:
    """Its points are of last year; they came now."""
    one = Fed([gone()], SERIES)
    for at in range(0, 300_000, 10_000):
        one.take(at, [(0, at - 365 * DAY, 1.0)])
        assert one.tick(at, at + 9_000) == []


def test_time_in_which_the_log_did_not_tick_is_no_silence() -> None:
    """Nobody wrote the log for an hour: what comes within a minute afterwards was never away, and
    what does not is absent as if all that time had not been. Its gaps stay what they were."""
    one = Fed([gone()], SERIES)
    came(one, 0, 100_000, 10_000)
    slept = HOUR

    assert one.take(100_000 + slept) == []
    assert one.tick(100_000 + slept, 154_000 + slept) == []
    assert came(one, 155_000 + slept, 175_000 + slept, 10_000) == []
    [fired] = one.tick(175_000 + slept, 250_000 + slept)

    assert (fired.since - T, fired.at - T) == (175_000 + slept, 205_000 + slept)
    assert fired.summary.endswith("it came every 10000 ms")


def test_a_silence_that_was_slept_through_in_part_is_told_at_its_time() -> None:
    """10 s awake, an hour asleep, a minute waking, 20 s awake: 30 s of silence."""
    one = Fed([gone()], SERIES)
    came(one, 0, 100_000, 10_000)
    one.tick(100_000, 110_000)

    found = one.tick(110_000 + HOUR - SECOND, 110_000 + HOUR + 2 * MINUTE)

    assert edges(found) == [(FIRING, 110_000 + HOUR + MINUTE + 20_000)]
    assert found[0].since == T + 100_000


def test_after_a_day_of_silence_it_is_retired() -> None:
    """What was open of it is withdrawn, and it begins anew if it ever comes back."""
    one = Fed([gone()], SERIES)
    came(one, 0, 100_000, 10_000)
    one.tick(100_000, 140_000)
    one.book.clock.asleep -= DAY  # as if each second of a day had ticked

    [withdrawn] = one.take(141_000)

    assert withdrawn.cleared is ClearReason.WITHDRAWN
    assert withdrawn.evidence == {"note": "silent for a day: retired"}
    assert one.stored()["absences"]["tracks"] == []


def test_the_least_recently_seen_make_room() -> None:
    """Three series and room for two: the first is forgotten, counted, and what was open of it
    withdrawn."""
    one = Fed([gone()], SERIES)
    one.book.absences.most = 2
    came(one, 0, 100_000, 10_000)
    one.tick(100_000, 140_000)
    one.take(141_000, [(1, 0, 1.0)])

    [withdrawn] = one.take(142_000, [(2, 0, 1.0)])

    assert (withdrawn.stream, withdrawn.cleared) == ("m{host=0}", ClearReason.WITHDRAWN)
    assert one.book.absences.forgotten == 1
    kept = [track["stream"] for track in one.stored()["absences"]["tracks"]]
    assert kept == ["m{host=1}", "m{host=2}"]


def test_while_opx_is_blind_absences_are_withheld_and_told_afterwards_if_they_hold() -> None:
    """Three series are silent; one comes again before it is over, one within the 30 s that all
    have after that. The other is found then, silent since it was; what came is as regular as
    before."""
    by = gone()
    clock = LogClock()
    absences = Absences(clock=clock)
    rules, watches = {by.hash: by}, [absences.watch(by, one) for one in SERIES[:3]]
    for at in range(0, 91_000, SECOND):
        clock.told(T + at)
        absences.tick(rules, blind=False)
        for watch in watches:
            assert watch is not None
            assert at % 10_000 or watch.take(0, 1.0, 0) == []

    listed = []
    for at in range(91_000, 150_000, SECOND):
        clock.told(T + at)
        assert absences.tick(rules, blind=True) == []
        listed += absences.fresh
    assert listed == [f"absence/gone of m{{host={sid}}}" for sid in range(3)]
    found = []
    for at in range(150_000, 200_000, SECOND):
        clock.told(T + at)
        found += absences.tick(rules, blind=False)
        for watch, back in zip(watches, (999_000, 150_000, 170_000), strict=True):
            assert watch is not None
            assert at < back or at % 10_000 or watch.take(0, 1.0, 0) == []

    [fired] = found
    assert (fired.stream, fired.since, fired.at) == ("m{host=0}", T + 90_000, T + 180_000)
    assert watches[0] is not None
    assert edges(watches[0].take(0, 1.0, 0)) == [(CLEARED, 199_000)]
    assert not absences.withheld
    assert [set(track.gaps) for track in absences.tracks.values()] == [{10_000}] * 3
