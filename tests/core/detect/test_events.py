# SPDX-License-Identifier: Apache-2.0

"""Events with a severity become findings that expire."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import pytest

from opx.core.base import canonical
from opx.core.base.time import MINUTE, SECOND, Ms
from opx.core.correlate import stage as correlate
from opx.core.detect import events
from opx.core.detect.events import EventState
from opx.core.detect.finding import ClearReason, Finding, FindingKind, FindingState
from opx.core.ingest.signals import Event, Identity, Severity

T: Ms = 1_767_225_600_000


FIRING = FindingState.FIRING


def states(findings: list[Finding]) -> list[FindingState]:
    return [finding.state for finding in findings]


def event(id: str, at: Ms = T, severity: Severity | None = Severity.SEV2, **more: str) -> Event:
    return Event(
        id=id,
        source=more.get("source", "/cloud"),
        type=more.get("type", "instance.stopped"),
        subject=more.get("subject", "i-1"),
        identity=Identity("prod", "orders"),
        severity=severity,
        at=at - SECOND,
        received_at=at,
    )


def test_an_event_with_a_severity_is_a_symptom() -> None:
    """The finding begins when it happened and expires five minutes after opx heard of it."""
    [finding] = events.step(EventState(), [event("1")], T)

    assert finding.stream == "prod/orders/i-1/instance.stopped/sev2"
    assert (finding.kind, finding.state) == (FindingKind.SYMPTOM, FindingState.FIRING)
    assert (finding.since, finding.at) == (T - SECOND, T)
    assert finding.expires_at == T + 5 * MINUTE
    assert finding.summary == "instance.stopped i-1"


def test_an_event_without_a_severity_is_no_finding() -> None:
    """It is kept elsewhere, and nothing is remembered of it here."""
    state = EventState()

    assert events.step(state, [event("1", severity=None)], T) == []
    assert state == EventState()


def test_a_redelivery_is_one_finding() -> None:
    """The same (source, id) twice is one event, in one batch, in another, and after expiry."""
    state = EventState()

    assert len(events.step(state, [event("1"), event("1")], T)) == 1
    assert events.step(state, [event("1", T + 4 * MINUTE)], T + 4 * MINUTE) == []
    [expired] = events.step(state, [], T + 5 * MINUTE)
    assert (expired.cleared, expired.at) == (ClearReason.EXPIRED, T + 5 * MINUTE)
    assert events.step(state, [event("1", T + 6 * MINUTE)], T + 6 * MINUTE) == []
    assert state.repeats == 3


def test_the_same_id_from_another_source_is_another_event() -> None:
    """Only source and id together name an event."""
    told = [event("1"), event("1", T + 1, source="/other", subject="i-2")]

    assert len(events.step(EventState(), told, T + 1)) == 2


def test_a_repetition_extends_the_finding() -> None:
    """A new event of the class on the same thing is no edge; the finding lives on."""
    state = EventState()
    events.step(state, [event("1")], T)

    assert events.step(state, [event("2", T + 4 * MINUTE)], T + 4 * MINUTE) == []
    [kept] = events.refreshed(state)
    assert kept.expires_at == T + 9 * MINUTE
    assert events.step(state, [], T + 9 * MINUTE - 1) == []
    assert len(events.step(state, [], T + 9 * MINUTE)) == 1


def test_a_worse_event_does_not_hide_behind_a_milder_one() -> None:
    """The same class on the same thing, but worse, is a finding of its own."""
    told = [event("1", severity=Severity.SEV4), event("2", T + 1, severity=Severity.SEV1)]

    found = events.step(EventState(), told, T + 1)

    assert [finding.severity for finding in found] == [Severity.SEV4, Severity.SEV1]


def test_one_stop_told_three_ways_is_one_episode() -> None:
    """API call, stopping, stopped: three findings of one group, so one trouble."""
    told = [
        event("1", type="api.StopInstances"),
        event("2", T + SECOND, type="instance.stopping"),
        event("3", T + 9 * SECOND, type="instance.stopped"),
    ]
    found = events.step(EventState(), told, T + 9 * SECOND)

    correlated = correlate.step(correlate.SenseState(), found, T + 9 * SECOND)

    assert len(found) == 3
    assert [(episode.symptoms, episode.version) for episode in correlated.episodes] == [(3, 1)]


def test_what_happens_after_the_expiry_is_a_new_finding() -> None:
    """With or without a tick in between, the old one has ended and a new one begun."""
    late = event("2", T + 5 * MINUTE)
    without, with_tick = EventState(), EventState()
    [first] = events.step(without, [event("1")], T)
    events.step(with_tick, [event("1")], T)

    at_once = events.step(without, [late], T + 5 * MINUTE)
    in_two = events.step(with_tick, [], T + 5 * MINUTE)
    in_two += events.step(with_tick, [late], T + 5 * MINUTE)

    assert [finding.state for finding in at_once] == [FindingState.CLEARED, FindingState.FIRING]
    assert at_once[0].id == first.id
    assert at_once[1].id != first.id
    assert at_once == in_two


def test_names_are_forgotten_after_a_quarter_of_an_hour() -> None:
    """The memory of deliveries does not grow for ever."""
    state = EventState()
    events.step(state, [event("1"), event("2", T + MINUTE)], T + MINUTE)

    events.step(state, [], T + 15 * MINUTE)

    assert list(state.told) == [("prod", "orders", "/cloud", "2")]


def test_a_redelivery_is_one_for_a_quarter_of_an_hour_whether_or_not_a_tick_came() -> None:
    """After it came last. At its end, not a millisecond earlier, the name is another event."""
    for ticks in ([], [T + 15 * MINUTE - 1], [T + 15 * MINUTE]):
        state = EventState()
        events.step(state, [event("1")], T)
        for tick in ticks:
            events.step(state, [], tick)

        early, late = event("1", T + 15 * MINUTE - 1), event("1", T + 15 * MINUTE)
        if ticks != [T + 15 * MINUTE]:
            again = deepcopy(state)
            assert FIRING not in states(events.step(again, [early], early.received_at))
            assert FIRING not in states(events.step(again, [late], late.received_at))
        assert FIRING in states(events.step(state, [late], late.received_at))


def test_more_names_than_can_be_remembered_push_out_the_oldest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A flood of events costs bounded memory."""
    monkeypatch.setattr(events, "MOST_REMEMBERED", 3)
    state = EventState()

    events.step(state, [event(str(number), T + number) for number in range(5)], T + 5)

    assert [name[-1] for name in state.told] == ["2", "3", "4"]


def test_a_restart_knows_what_is_open_and_what_was_told() -> None:
    """A loaded state takes a redelivery for one: of what began a finding, of what only made it
    last, and of what was over by then; and it lets the finding expire in its time."""
    state = EventState()
    told = [event("0", subject="i-0"), event("1", T + MINUTE), event("2", T + 2 * MINUTE)]
    found = events.step(state, told, T + 2 * MINUTE)
    rows = {one.id: one for one in (*found, *events.refreshed(state))}
    ended = events.step(state, [], T + 5 * MINUTE)
    assert [one.id for one in ended] == [found[0].id]
    del rows[found[0].id]

    loaded = EventState.load(rows.values(), canonical.plain(told))

    again = [replace(one, received_at=T + 5 * MINUTE) for one in told]
    assert loaded.told == state.told
    assert events.step(loaded, again, T + 5 * MINUTE) == []
    [expired] = events.step(loaded, [], T + 7 * MINUTE)
    assert (expired.id, expired.at) == (found[1].id, T + 7 * MINUTE)
