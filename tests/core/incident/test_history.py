# SPDX-License-Identifier: Apache-2.0

"""What the journal says of an incident's state."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from opx.core.correlate.episode import Group
from opx.core.incident import history, lifecycle
from opx.core.incident.incident import Incident, Priority, Resolution, ResolutionKind, Status
from opx.core.incident.lifecycle import Change
from opx.core.ingest.signals import Severity
from opx.errors import IllegalChange

INCIDENT = Incident(
    id="i",
    episode="e",
    group=Group("prod", "orders"),
    status=Status.OPEN,
    severity=Severity.SEV2,
    priority=Priority.P1,
    title="down",
    opened_at=5,
    updated_at=5,
)


def test_a_change_is_the_fields_that_changed() -> None:
    """In their plain form, and neither version nor time."""
    said = Resolution(kind=ResolutionKind.FIXED, by="ann", text="rebooted")
    after = lifecycle.resolve(lifecycle.assign(INCIDENT, "bob", 8), said, 9)

    assert history.changes(INCIDENT, after) == {
        "status": "resolved",
        "resolved_at": 9,
        "assigned_to": "bob",
        "resolution": {"kind": "fixed", "by": "ann", "text": "rebooted"},
    }
    assert history.changes(INCIDENT, INCIDENT) == {}


def test_a_hash_is_of_the_canonical_json() -> None:
    """Sorted names, no spaces, SHA-256: anybody can work it out."""
    assert history.hash_of({"b": [1, None], "a": "x"}) == (
        hashlib.sha256(b'{"a":"x","b":[1,null]}').hexdigest()
    )


def test_a_version_is_no_state() -> None:
    """Two writes of the same are one state."""
    again = lifecycle.acknowledge(lifecycle.acknowledge(INCIDENT, "ann", 7), "ann", 8)
    once = lifecycle.acknowledge(INCIDENT, "ann", 7)

    assert history.state(again) == history.state(once)
    assert {"version", "updated_at"}.isdisjoint(history.state(again))


def test_differences_are_told_field_by_field() -> None:
    """Also a field that only one of them has, even where it is nothing there."""
    assert history.differences({"a": 1, "b": 2, "c": None}, {"a": 1, "b": 3}) == {
        "b": (2, 3),
        "c": (None, None),
    }


@given(st.lists(st.sampled_from([*Change, "ack", "assign"]), max_size=20))
def test_the_changes_put_together_are_the_state(whats: list[str]) -> None:
    """Whatever became of an incident: the first state and every change give the last."""
    one, state = INCIDENT, history.state(INCIDENT)
    for at, what in enumerate(whats):
        try:
            if what == "ack":
                after = lifecycle.acknowledge(one, f"p{at}", at)
            elif what == "assign":
                after = lifecycle.assign(one, f"p{at}", at)
            else:
                after = lifecycle.apply(one, Change(what), at)
        except IllegalChange:
            continue
        state = {**state, **history.changes(one, after)}
        one = after
    assert state == history.state(one)
    assert history.hash_of(state) == history.hash_of(history.state(one))
