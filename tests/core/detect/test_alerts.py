# SPDX-License-Identifier: Apache-2.0

"""Alerts become findings on their edges: begun, resolved, expired."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from opx.core.base.time import MINUTE, SECOND, Ms
from opx.core.detect import alerts
from opx.core.detect.alerts import AlertState
from opx.core.detect.finding import ClearReason, Finding, FindingKind, FindingState
from opx.core.ingest.signals import Alert, Identity, Severity

T: Ms = 1_767_225_600_000
FIRING, CLEARED = FindingState.FIRING, FindingState.CLEARED


def alert(at: Ms, ends: Ms | None = None, starts: Ms = T - SECOND, name: str = "f1") -> Alert:
    """Received at ``at``; expires five minutes later unless ``ends`` says otherwise."""
    return Alert(
        fingerprint=name,
        identity=Identity("prod", "orders", "host1"),
        severity=Severity.SEV2,
        labels={"alertname": "Down", "service": "orders"},
        annotations={"summary": "orders is down"},
        starts_at=starts,
        ends_at=at + 5 * MINUTE if ends is None else ends,
        received_at=at,
    )


def endless(at: Ms, name: str = "f1") -> Alert:
    """Sent without an end: five minutes were filled in."""
    return replace(alert(at, name=name), timeout=True)


def resolved(at: Ms, name: str = "f1") -> Alert:
    return alert(at, ends=at, name=name)


def edges(findings: list[Finding]) -> list[tuple[FindingState, ClearReason | None, Ms]]:
    return [(finding.state, finding.cleared, finding.at - T) for finding in findings]


def test_an_alert_that_begins_is_a_symptom_with_the_senders_words() -> None:
    """The finding says whose it is, how bad, since when by the sender, and when opx heard."""
    [finding] = alerts.step(AlertState(), [alert(T)], T)

    assert finding == Finding(
        id=Finding.id_of("alert", "f1", T),
        rule="alert",
        stream="f1",
        identity=Identity("prod", "orders", "host1"),
        kind=FindingKind.SYMPTOM,
        state=FIRING,
        severity=Severity.SEV2,
        since=T - SECOND,
        at=T,
        expires_at=T + 5 * MINUTE,
        summary="orders is down",
        evidence={
            "labels": {"alertname": "Down", "service": "orders"},
            "annotations": {"summary": "orders is down"},
        },
    )


def test_a_repeat_says_nothing_and_extends_the_expiry() -> None:
    """A re-send is no edge; the longer life is given out once, to be kept."""
    state = AlertState()
    [first] = alerts.step(state, [alert(T)], T)

    assert alerts.step(state, [alert(T + MINUTE)], T + MINUTE) == []
    [kept] = alerts.refreshed(state)
    assert (kept.id, kept.expires_at) == (first.id, T + 6 * MINUTE)
    assert alerts.refreshed(state) == []
    assert alerts.step(state, [], T + 6 * MINUTE - 1) == []
    assert edges(alerts.step(state, [], T + 6 * MINUTE)) == [
        (CLEARED, ClearReason.EXPIRED, 6 * MINUTE)
    ]


def test_a_repeat_never_shortens_a_life() -> None:
    """Of two expiries the later one counts."""
    state = AlertState()
    alerts.step(state, [alert(T), alert(T + SECOND, ends=T + 2 * SECOND)], T + SECOND)

    assert alerts.step(state, [], T + MINUTE) == []
    assert alerts.refreshed(state) == []


@pytest.mark.parametrize(
    ("told", "over"),
    [
        ([endless(T), alert(T + SECOND, ends=T + 6 * SECOND)], 6 * SECOND),
        ([alert(T), alert(T + SECOND, ends=T + 6 * SECOND)], 5 * MINUTE),
        ([alert(T, ends=T + 6 * SECOND), endless(T + SECOND)], 5 * MINUTE + SECOND),
        ([alert(T, ends=T + 10 * MINUTE), endless(T + SECOND)], 10 * MINUTE),
        (
            [
                alert(T, ends=T + 10 * MINUTE),
                endless(T + SECOND),
                alert(T + 2 * SECOND, ends=T + 6 * SECOND),
            ],
            10 * MINUTE,
        ),
        (
            [
                alert(T, ends=T + 6 * SECOND),
                endless(T + SECOND),
                alert(T + 2 * SECOND, ends=T + 9 * SECOND),
            ],
            9 * SECOND,
        ),
        (
            [
                endless(T),
                alert(T + SECOND, ends=T + 6 * SECOND),
                alert(T + 2 * SECOND, ends=T + 4 * SECOND),
            ],
            6 * SECOND,
        ),
        (
            [endless(T), alert(T + SECOND, ends=T + 5 * MINUTE), alert(T + 2, ends=T + 3)],
            5 * MINUTE,
        ),
    ],
)
def test_an_end_that_was_filled_in_gives_way_to_what_is_told_later(
    told: list[Alert], over: Ms
) -> None:
    """Of two ends the later counts; but the older one only if somebody named it. It is so when
    each telling comes after a restart, too."""
    state, restarted = AlertState(), AlertState()
    rows: dict[str, Finding] = {}
    alerts.step(state, told, told[-1].received_at)
    for one in told:
        found = alerts.step(restarted, [one], one.received_at)
        rows |= {row.id: row for row in (*found, *alerts.refreshed(restarted))}
        restarted = AlertState.load(rows.values())

    for one_state in (state, restarted):
        assert alerts.step(one_state, [], T + over - 1) == []
        assert edges(alerts.step(one_state, [], T + over)) == [(CLEARED, ClearReason.EXPIRED, over)]


def test_a_resolve_ends_what_was_to_last_whether_that_was_named_or_filled_in() -> None:
    """The younger word is that it is over, and a second one moves no end."""
    state = AlertState()
    told = [endless(T), alert(T, name="f2")]
    told += [resolved(T + SECOND), resolved(T + SECOND, "f2"), resolved(T + 2 * SECOND)]

    found = alerts.step(state, told, T + 2 * SECOND)

    assert edges(found[2:]) == [(CLEARED, ClearReason.RESOLVED, SECOND)] * 2
    assert alerts.step(state, [], T + 10 * MINUTE) == []


def test_told_for_long_and_for_short_in_turns_it_does_not_make_the_queue_grow() -> None:
    """Each end that gave way has left a place behind, of which few are kept."""
    state = AlertState()
    for i in range(1000):
        at = T + i * SECOND
        alerts.step(state, [endless(at), alert(at, ends=at + SECOND // 2)], at + SECOND // 2)
        alerts.step(state, [endless(at + SECOND // 2)], at + SECOND // 2)
        alerts.step(state, [alert(at + SECOND - 1, ends=at + SECOND)], at + SECOND - 1)

    assert len(state.open._queue) < 100


def test_the_earlier_beginning_is_kept() -> None:
    """Two tellings of one fingerprint are one alert, begun when the first of them says."""
    state = AlertState()
    [first] = alerts.step(state, [alert(T, starts=T - 10)], T)

    assert alerts.step(state, [alert(T + 1, starts=T - 500), alert(T + 2, starts=T)], T + 2) == []
    [kept] = alerts.refreshed(state)
    assert (kept.id, kept.since) == (first.id, T - 500)


def test_a_resolve_clears_and_a_second_one_is_counted() -> None:
    """The end of what is open is an edge; of what is not, a number."""
    state = AlertState()
    alerts.step(state, [alert(T)], T)

    found = alerts.step(state, [resolved(T + SECOND), resolved(T + 2 * SECOND)], T + 2 * SECOND)

    assert edges(found) == [(CLEARED, ClearReason.RESOLVED, SECOND)]
    assert found[0].id == Finding.id_of("alert", "f1", T)
    assert found[0].expires_at is None
    assert state.idle_resolves == 1


def test_an_alert_that_fires_again_from_the_same_beginning_is_a_new_finding() -> None:
    """Resolved and sent again with the same startsAt, it is another edge with another id."""
    state = AlertState()
    told = [alert(T), resolved(T + SECOND), alert(T + 2 * SECOND), resolved(T + 3 * SECOND)]

    found = alerts.step(state, told, T + 3 * SECOND)

    assert [finding.state for finding in found] == [FIRING, CLEARED, FIRING, CLEARED]
    assert found[0].since == found[2].since == T - SECOND
    assert found[0].id == found[1].id
    assert found[2].id == found[3].id
    assert found[0].id != found[2].id


def test_everything_within_one_millisecond_still_has_its_own_id() -> None:
    """Fire, resolve, fire, resolve, fire in one millisecond: three findings, in order."""
    state = AlertState()
    told = [alert(T), resolved(T), alert(T), resolved(T), alert(T)]

    found = alerts.step(state, told, T)

    assert edges(found) == [
        (FIRING, None, 0),
        (CLEARED, ClearReason.RESOLVED, 0),
        (FIRING, None, 1),
        (CLEARED, ClearReason.RESOLVED, 1),
        (FIRING, None, 2),
    ]
    assert len({finding.id for finding in found}) == 3


def test_what_comes_after_its_own_expiry_has_ended_and_begun_again() -> None:
    """It makes no difference whether a tick came in between."""
    late = alert(T + 5 * MINUTE)
    without, with_tick = AlertState(), AlertState()
    alerts.step(without, [alert(T)], T)
    alerts.step(with_tick, [alert(T)], T)

    at_once = alerts.step(without, [late], T + 5 * MINUTE)
    in_two = alerts.step(with_tick, [], T + 5 * MINUTE)
    in_two += alerts.step(with_tick, [late], T + 5 * MINUTE)

    assert edges(at_once) == [
        (CLEARED, ClearReason.EXPIRED, 5 * MINUTE),
        (FIRING, None, 5 * MINUTE),
    ]
    assert at_once == in_two


def test_what_begins_again_in_the_millisecond_of_its_end_does_so_after_a_restart_too() -> None:
    """Fired, resolved and fired in one millisecond: the second has the next one, and an id of
    its own, also where all that is left of the first is what ``save`` has kept."""
    state = AlertState()
    alerts.step(state, [alert(T), resolved(T)], T)
    restarted = AlertState.load([], json.loads(json.dumps(alerts.save(state))))

    again = alerts.step(restarted, [alert(T)], T)

    assert edges(again) == [(FIRING, None, 1)]
    assert again == alerts.step(state, [alert(T)], T)


def test_of_the_ends_only_the_newest_are_kept() -> None:
    """What comes later cannot begin in the millisecond of an older one."""
    state = AlertState()
    told = [alert(T, name="a"), resolved(T, name="a"), alert(T, name="b"), resolved(T + 1, "b")]
    alerts.step(state, told, T + 1)

    assert alerts.save(state) == {"b": T + 1}


def test_expiries_come_in_their_order_and_only_once() -> None:
    """A tick takes out what has expired, earliest first, and leaves the rest."""
    state = AlertState()
    told = [alert(T, ends=T + 30, name="c"), alert(T, ends=T + 10, name="b"), alert(T, name="a")]
    alerts.step(state, told, T)

    found = alerts.step(state, [], T + 30)

    assert [(finding.stream, finding.at) for finding in found] == [("b", T + 10), ("c", T + 30)]
    assert alerts.step(state, [], T + 31) == []
    assert len(state.open) == 1


def test_a_flapping_alert_does_not_make_the_state_grow() -> None:
    """A thousand rounds of firing and resolving leave nothing behind once time has passed."""
    state = AlertState()
    for i in range(1000):
        at = T + i * 10
        alerts.step(state, [alert(at), resolved(at + 5)], at + 5)

    alerts.step(state, [], T + 10 * MINUTE)

    assert (len(state.open), state.ended, len(state.open._queue)) == (0, {}, 0)


def test_a_restart_changes_nothing() -> None:
    """A state loaded from the stored open findings goes on like the one that was lost."""
    state = AlertState()
    stored = {f.id: f for f in alerts.step(state, [alert(T), alert(T, name="f2")], T)}
    alerts.step(state, [alert(T + MINUTE)], T + MINUTE)
    stored |= {f.id: f for f in alerts.refreshed(state)}
    loaded = AlertState.load(stored.values())

    for told, now in (
        ([], T + 5 * MINUTE),
        ([alert(T + 5 * MINUTE + 1, name="f2")], T + 5 * MINUTE + 1),
        ([resolved(T + 5 * MINUTE + 2)], T + 5 * MINUTE + 2),
        ([], T + 20 * MINUTE),
    ):
        assert alerts.step(loaded, told, now) == alerts.step(state, told, now)


def test_other_detectors_findings_are_left_alone() -> None:
    """Loading takes up alerts only."""
    [finding] = alerts.step(AlertState(), [alert(T)], T)
    foreign = Finding(
        id="x",
        rule="event",
        stream="s",
        identity=finding.identity,
        kind=FindingKind.SYMPTOM,
        state=FIRING,
        severity=Severity.SEV3,
        since=T,
        at=T,
        expires_at=T,
    )

    assert alerts.step(AlertState.load([foreign]), [], T + MINUTE) == []
