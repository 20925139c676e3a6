# SPDX-License-Identifier: Apache-2.0

"""The life of an incident."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opx.core.base.time import Ms
from opx.core.correlate.episode import Episode, Group
from opx.core.incident import gate, lifecycle
from opx.core.incident.incident import (
    Incident,
    Priority,
    Resolution,
    ResolutionKind,
    Status,
)
from opx.core.incident.lifecycle import Change
from opx.core.ingest.signals import Severity
from opx.errors import IllegalChange

T: Ms = 1_767_225_600_000
EPISODE = Episode(
    id="e1",
    group=Group("prod", "orders"),
    started_at=T,
    last_at=T,
    symptoms=1,
    severity=Severity.SEV3,
)


def incident(status: Status = Status.OPEN) -> Incident:
    opened = lifecycle.opened(EPISODE, gate.promote(EPISODE, None, T), "orders is down", "i0", T)
    return replace(opened, status=status)


def test_a_new_incident() -> None:
    """Open, as severe as its episode, with an id that only its episode gives."""
    assert incident() == Incident(
        id=Incident.id_of("e1"),
        episode="e1",
        group=Group("prod", "orders"),
        status=Status.OPEN,
        severity=Severity.SEV3,
        priority=Priority.P2,
        title="orders is down",
        opened_at=T,
        updated_at=T,
        symptoms=1,
        previous="i0",
        services=("orders",),
    )


def test_a_promotion_opens_only_its_own_episode() -> None:
    """Mixing two up is an error, not an incident."""
    other = replace(EPISODE, id="e2")

    with pytest.raises(ValueError, match="another episode"):
        lifecycle.opened(other, gate.promote(EPISODE, None, T), "x", None, T)


LEGAL = {
    (Status.OPEN, Change.REPAIR_STARTED, Status.MITIGATING),
    (Status.MITIGATING, Change.REPAIR_ENDED, Status.OPEN),
    (Status.MITIGATING, Change.RECOVERED, Status.MITIGATED),
    (Status.MITIGATED, Change.RELAPSED, Status.OPEN),
    (Status.OPEN, Change.EPISODE_ENDED, Status.RESOLVED),
    (Status.MITIGATING, Change.EPISODE_ENDED, Status.RESOLVED),
    (Status.MITIGATED, Change.EPISODE_ENDED, Status.RESOLVED),
    (Status.RESOLVED, Change.CLOSE, Status.CLOSED),
    (Status.OPEN, Change.MERGED, Status.CLOSED),
    (Status.MITIGATING, Change.MERGED, Status.CLOSED),
    (Status.MITIGATED, Change.MERGED, Status.CLOSED),
    (Status.OPEN, Change.RESOLVE, Status.RESOLVED),
    (Status.MITIGATING, Change.RESOLVE, Status.RESOLVED),
    (Status.MITIGATED, Change.RESOLVE, Status.RESOLVED),
}


PEOPLE_MAY = {
    Status.OPEN: "acknowledge, assign, comment, merge, resolve",
    Status.MITIGATING: "acknowledge, assign, comment, merge, resolve",
    Status.MITIGATED: "acknowledge, assign, comment, merge, resolve",
    Status.RESOLVED: "acknowledge, assign, comment, close, reopen",
    Status.CLOSED: "comment, reopen",
}


@pytest.mark.parametrize(("before", "change"), list(product(Status, Change)))
def test_every_change_from_every_status(before: Status, change: Change) -> None:
    """Those listed are possible; every other is refused by name, with what a person could ask for
    instead, and nothing that only opx does."""
    after = next((end for start, what, end in LEGAL if (start, what) == (before, change)), None)

    if after is None:
        with pytest.raises(IllegalChange) as caught:
            lifecycle.apply(incident(before), change, T + 9)
        verb = {Change.MERGED: "merge"}.get(change, change)
        assert str(caught.value) == (
            f"{verb} is not possible while an incident is {before}; possible: {PEOPLE_MAY[before]}"
        )
    else:
        changed = lifecycle.apply(incident(before), change, T + 9)
        assert (changed.status, changed.version, changed.updated_at) == (after, 2, T + 9)


def test_each_status_keeps_its_time() -> None:
    """A relapse forgets when it was mitigated; the rest stays."""
    one = lifecycle.apply(incident(), Change.REPAIR_STARTED, T + 1)
    one = lifecycle.apply(one, Change.RECOVERED, T + 2)
    assert one.mitigated_at == T + 2

    one = lifecycle.apply(one, Change.RELAPSED, T + 3)
    assert one.mitigated_at is None

    one = lifecycle.apply(one, Change.EPISODE_ENDED, T + 4)
    one = lifecycle.apply(one, Change.CLOSE, T + 5)
    assert (one.resolved_at, one.closed_at, one.version) == (T + 4, T + 5, 6)


@given(changes=st.lists(st.sampled_from(Change), max_size=30))
def test_no_transition_leaves_closed_and_versions_rise_by_one(changes: list[Change]) -> None:
    """Whatever is tried in whatever order; and what is resolved can only be closed."""
    one = incident()
    for change in changes:
        try:
            after = lifecycle.apply(one, change, T)
        except IllegalChange:
            assert change not in lifecycle.legal(one.status)
            continue
        assert one.status is not Status.CLOSED
        assert one.status is not Status.RESOLVED or after.status is Status.CLOSED
        assert after.version == one.version + 1
        one = after
    assert one.version <= len(changes) + 1


def test_nothing_is_possible_once_closed() -> None:
    """Not even an acknowledgement; but a word on it, and that it goes on as another, unless it does
    already."""
    assert lifecycle.legal(Status.CLOSED) == ()
    closed = incident(Status.CLOSED)
    with pytest.raises(IllegalChange, match=r"^acknowledge is not .*: comment, reopen$"):
        lifecycle.acknowledge(closed, "ann", T)
    with pytest.raises(IllegalChange, match=r"assign is not possible.*possible: comment$"):
        lifecycle.assign(replace(closed, merged_into="i7"), "bob", T)


def test_a_person_resolves_and_says_as_what() -> None:
    """It is over then, with who said so, as what and why; closing it keeps that."""
    said = Resolution(kind=ResolutionKind.WONT_FIX, by="ann", text="it is going away")

    one = lifecycle.resolve(incident(), said, T + 3)

    assert (one.status, one.resolution, one.resolved_at) == (Status.RESOLVED, said, T + 3)
    assert (one.version, one.updated_at) == (2, T + 3)
    assert lifecycle.apply(one, Change.CLOSE, T + 4).resolution == said


def test_it_is_assigned_to_the_last_who_was_named() -> None:
    """One version further each time; the status stays."""
    one = lifecycle.assign(lifecycle.assign(incident(), "ann", T + 1), "bob", T + 2)

    assert (one.assigned_to, one.status, one.version) == ("bob", Status.OPEN, 3)


@pytest.mark.parametrize("status", [Status.RESOLVED, Status.CLOSED])
def test_what_is_reopened_is_a_new_incident(status: Status) -> None:
    """It names the old one, is as severe, and nobody has it yet; the old one is not touched."""
    said = Resolution(kind=ResolutionKind.FIXED, by="ann")
    old = replace(
        incident(status),
        runs=2,
        insight="x",
        acknowledged_by="ann",
        assigned_to="bob",
        resolution=said,
        resolved_at=T + 5,
        closed_at=T + 6,
        version=9,
    )

    new = lifecycle.reopen(old, T + 60)

    expected = replace(
        incident(),
        id=Incident.id_after(old.id),
        previous=old.id,
        opened_at=T + 60,
        updated_at=T + 60,
    )
    assert new == expected
    assert new.id != old.id


@pytest.mark.parametrize("status", [Status.OPEN, Status.MITIGATING, Status.MITIGATED])
def test_what_is_not_over_is_not_reopened(status: Status) -> None:
    """And the refusal names what is possible instead."""
    with pytest.raises(IllegalChange, match=r"reopen is not possible.*possible: .*resolve"):
        lifecycle.reopen(incident(status), T)


def test_what_was_merged_is_reopened_where_it_went_on() -> None:
    """The refusal names that incident."""
    with pytest.raises(IllegalChange, match=r"merged into i7, .*; possible: see to that one"):
        lifecycle.reopen(replace(incident(Status.CLOSED), merged_into="i7"), T)


def test_an_episode_whose_incident_people_ended_opens_the_next() -> None:
    """Its id is not the first one's, and it names that."""
    old = incident(Status.RESOLVED)
    promotion = gate.promote(EPISODE, old, T + 9, fresh=True)

    new = lifecycle.opened(EPISODE, promotion, "orders is down", "i0", T + 9, old)

    assert (new.id, new.previous) == (Incident.id_after(old.id), old.id)


@pytest.mark.parametrize("status", list(Status))
def test_attaching_takes_over_counts_and_leaves_the_status(status: Status) -> None:
    """Counts follow the episode in every status; one version further."""
    grown = replace(EPISODE, symptoms=4, evidence=2)

    attached = lifecycle.attach(incident(status), grown, T + 7)

    assert (attached.symptoms, attached.evidence, attached.status) == (4, 2, status)
    assert (attached.version, attached.updated_at) == (2, T + 7)


def test_attaching_nothing_new_is_nothing() -> None:
    """The very same incident comes back, so that nothing is written."""
    one = incident()

    assert lifecycle.attach(one, EPISODE, T + 7) is one


@pytest.mark.parametrize(
    ("episode", "kept", "priority"),
    [
        (Severity.SEV1, Severity.SEV1, Priority.P0),
        (Severity.SEV3, Severity.SEV3, Priority.P2),
        (Severity.SEV5, Severity.SEV3, Priority.P2),
    ],
)
def test_severity_only_worsens(episode: Severity, kept: Severity, priority: Priority) -> None:
    """And the priority with it."""
    attached = lifecycle.attach(incident(), replace(EPISODE, severity=episode, symptoms=2), T)

    assert (attached.severity, attached.priority) == (kept, priority)


def test_a_person_acknowledges() -> None:
    """The last one who did is who has it; the status stays."""
    one = lifecycle.acknowledge(lifecycle.acknowledge(incident(), "ann", T + 1), "bob", T + 2)

    assert (one.acknowledged_by, one.status, one.version) == ("bob", Status.OPEN, 3)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ("production", ["P0", "P1", "P2", "P3", "P3"]),
        ("playground", ["P0", "P1", "P2", "P3", "P3"]),
        ("staging", ["P1", "P2", "P3", "P3", "P3"]),
    ],
)
def test_priorities(environment: str, expected: list[str]) -> None:
    """By severity and environment; a name nobody knows counts as production."""
    assert [lifecycle.priority(severity, environment) for severity in Severity] == expected
