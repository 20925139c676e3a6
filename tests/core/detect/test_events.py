# SPDX-License-Identifier: Apache-2.0

"""Events as findings: those that rules are about, and those with a severity of their own."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
from tests.core.detect.ruled.kit import rule

from opx.core.base.time import MINUTE, SECOND, Ms
from opx.core.correlate import stage as correlate
from opx.core.detect import events, rules
from opx.core.detect.events import EventState
from opx.core.detect.finding import ClearReason, Finding, FindingKind, FindingState
from opx.core.detect.rules import DetectionRule
from opx.core.ingest.signals import Event, Identity, Severity

T: Ms = 1_767_225_600_000


FIRING, CLEARED = FindingState.FIRING, FindingState.CLEARED


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
    """It is kept elsewhere."""
    state = EventState()

    assert events.step(state, [event("1", severity=None)], T) == []
    assert len(state.open) == 0


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

    loaded = EventState.load(rows.values(), told)

    again = [replace(one, received_at=T + 5 * MINUTE) for one in told]
    assert loaded.told == state.told
    assert events.step(loaded, again, T + 5 * MINUTE) == []
    [expired] = events.step(loaded, [], T + 7 * MINUTE)
    assert (expired.id, expired.at) == (found[1].id, T + 7 * MINUTE)


# ---------------------------------------------------------------- rules


def tampered(**said: Any) -> DetectionRule:
    """A watched file that drifted, until it is told to be as it was."""
    given = {"type": "opx.file.drifted", "expires": "1h", "clears": {"type": "opx.file.restored"}}
    return rule("event", {**given, **said}, "tampered", severity="sev2", justification="ours")


def drifted(id: str, at: Ms = T, path: str = "/etc/orders", **more: Any) -> Event:
    told = event(id, at, more.pop("severity", None), type=more.pop("type", "opx.file.drifted"))
    return replace(told, subject=path, data={"path": path, **more})


def ruled(*rules: DetectionRule) -> EventState:
    state = EventState()
    assert events.bind(state, rules, T) == []
    return state


def test_an_event_that_a_rule_is_about_is_what_the_rule_says() -> None:
    """Its severity, its kind, its expiry; the evidence names what happened and what held."""
    by = tampered(when=["event.data.actor != 'deploy'"])
    told = drifted("1", actor="mallory")

    [finding] = events.step(ruled(by), [told], T)

    assert (finding.rule, finding.stream) == ("event/tampered", "prod/orders//etc/orders")
    assert finding.id == by.finding_id(finding.stream, T)
    assert (finding.kind, finding.severity) == (FindingKind.SYMPTOM, Severity.SEV2)
    assert (finding.since, finding.at) == (T - SECOND, T)
    assert finding.expires_at == T + 60 * MINUTE
    assert finding.summary == "tampered: opx.file.drifted /etc/orders"
    assert finding.evidence == {
        "source": "/cloud",
        "id": "1",
        "type": "opx.file.drifted",
        "subject": "/etc/orders",
        "data": {"path": "/etc/orders", "actor": "mallory"},
        "justification": "ours",
        "trace": [
            {
                "condition": "type",
                "expected": "opx.file.drifted",
                "seen": "opx.file.drifted",
                "held": True,
            },
            {
                "condition": "event.data.actor != 'deploy'",
                "expected": True,
                "seen": True,
                "held": True,
            },
        ],
    }


@pytest.mark.parametrize(
    ("said", "fires"),
    [
        ({}, True),
        ({"source": "/cloud"}, True),
        ({"source": "/other"}, False),
        ({"type": "opx.file"}, False),
        ({"when": ["event.data.size > 10", "event.data.path.startsWith('/etc')"]}, True),
        ({"when": ["event.data.size > 10", "event.data.path.startsWith('/tmp')"]}, False),
        ({"when": ["event.service == 'orders' && event.severity == 0"]}, True),
        ({"when": ["event.environment == 'prod' && event.subject == event.data.path"]}, True),
    ],
)
def test_a_class_is_a_type_a_source_and_conditions(said: dict[str, Any], fires: bool) -> None:
    """All of them must hold."""
    found = events.step(ruled(tampered(**said)), [drifted("1", size=11)], T)

    assert len(found) == fires


@pytest.mark.parametrize("severity", [None, Severity.SEV4])
def test_what_a_condition_may_look_at(severity: Severity | None) -> None:
    """Of every event the same, of the same types: a condition is held against an example of it
    when it is read. What is in the data is the sender's."""
    [seen], [example] = events.facts(event("1", severity=severity)).values(), rules.FACTS.values()

    assert {name: type(value) for name, value in example.items()} == {
        name: type(value) for name, value in seen.items()
    }
    assert example["data"] == {}


@pytest.mark.parametrize("when", ["event.data.actor == 'x'", "event.data.tags[0] == 'prod'"])
def test_a_condition_that_cannot_be_evaluated_does_not_hold(when: str) -> None:
    """A fact that is missing, or a list that is too short, is no yes; it is counted."""
    state = ruled(tampered(when=[when]))

    assert events.step(state, [drifted("1", tags=[])], T) == []
    assert state.in_doubt == 1


def test_an_event_is_judged_by_the_rule_about_it_and_not_twice() -> None:
    """It carries SEV1 itself; the rule says SEV2. One that the rule's conditions leave out is
    still what it says it is; one that clears is no symptom."""
    state = ruled(tampered(when=["event.data.path != '/tmp'"]))
    told = [
        drifted("1", severity=Severity.SEV1),
        drifted("2", path="/tmp", severity=Severity.SEV1),
        drifted("3", type="opx.file.restored", severity=Severity.SEV4),
    ]

    found = events.step(state, told, T)

    assert [(one.rule, one.severity, one.state) for one in found] == [
        ("event/tampered", Severity.SEV2, FIRING),
        ("event", Severity.SEV1, FIRING),
        ("event/tampered", Severity.SEV2, CLEARED),
    ]


def test_two_rules_about_one_event_are_two_findings() -> None:
    """By the names of the rules."""
    other = rule("event", {"type": "opx.file.drifted", "expires": "1m"}, "any")

    found = events.step(ruled(tampered(), other), [drifted("1")], T)

    assert [one.rule for one in found] == ["event/any", "event/tampered"]


def test_what_clears_ends_it_for_the_same_thing_only() -> None:
    """Another file's restoration says nothing of this one; an end without a beginning nothing
    at all."""
    state = ruled(tampered())
    [fired] = events.step(state, [drifted("1")], T)
    restored = {"type": "opx.file.restored"}

    assert events.step(state, [drifted("2", T + 1, "/etc/else", **restored)], T + 1) == []
    [cleared] = events.step(state, [drifted("3", T + 2, **restored)], T + 2)
    assert events.step(state, [drifted("4", T + 3, **restored)], T + 3) == []

    assert (cleared.id, cleared.cleared, cleared.at) == (fired.id, ClearReason.RESOLVED, T + 2)
    assert cleared.evidence["cleared_by"] == {
        "source": "/cloud",
        "id": "3",
        "type": "opx.file.restored",
        "subject": "/etc/orders",
        "data": {"path": "/etc/orders"},
    }


def test_it_expires_a_while_after_the_last() -> None:
    """An hour after the second, which is no edge."""
    state = ruled(tampered())
    events.step(state, [drifted("1")], T)

    assert events.step(state, [drifted("2", T + 30 * MINUTE)], T + 30 * MINUTE) == []
    assert events.step(state, [], T + 90 * MINUTE - 1) == []
    [expired] = events.step(state, [], T + 90 * MINUTE)
    assert (expired.cleared, expired.at) == (ClearReason.EXPIRED, T + 90 * MINUTE)


def test_what_begins_again_in_the_millisecond_in_which_it_ended_is_another_finding() -> None:
    """Drifted, restored, drifted, all at once, with a restart in between or without."""
    for restarts in (False, True):
        by = tampered()
        state = ruled(by)
        told = [drifted("1"), drifted("2", type="opx.file.restored"), drifted("3")]
        found = events.step(state, told[:2], T)
        if restarts:
            state = EventState.load([], told[:2], events.save(state))
            events.bind(state, [by], T)
        found += events.step(state, told[2:], T)

        assert [(one.state, one.at) for one in found] == [
            (FIRING, T),
            (CLEARED, T),
            (FIRING, T + 1),
        ]
        assert found[0].id == found[1].id != found[2].id


def test_a_rule_that_is_changed_or_removed_withdraws_what_it_had_open() -> None:
    """Also when that happened while brain was down; what events are by themselves stays."""
    state = ruled(tampered())
    told = [drifted("1"), event("2")]
    found = events.step(state, told, T)
    changed = tampered(expires="2h")
    loaded = EventState.load(found, told)
    assert not events.in_force(loaded, [tampered()])

    for kept in (state, loaded):
        [withdrawn] = events.bind(kept, [changed], T + SECOND)

        assert (withdrawn.id, withdrawn.cleared) == (found[0].id, ClearReason.WITHDRAWN)
        assert events.in_force(kept, [changed])
        assert [one.id for one in kept.open] == [found[1].id]
        assert events.step(kept, [drifted("1", T + 1)], T + 1) == []  # a redelivery still
        assert len(events.step(kept, [drifted("3", T + 2)], T + 2)) == 1


def test_a_restart_under_the_same_rules_withdraws_nothing() -> None:
    """The open finding is known by its id, and goes on."""
    found = events.step(ruled(tampered()), [drifted("1")], T)
    loaded = EventState.load(found, [drifted("1")])

    assert events.bind(loaded, [tampered()], T + 1) == []
    assert events.step(loaded, [drifted("2", T + 2)], T + 2) == []
    [kept] = events.refreshed(loaded)
    assert kept.expires_at == T + 2 + 60 * MINUTE
