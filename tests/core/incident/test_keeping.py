# SPDX-License-Identifier: Apache-2.0

"""What of the past may go."""

from __future__ import annotations

from dataclasses import replace

import pytest

from opx.core.base.time import DAY, Ms
from opx.core.correlate.episode import Episode, Group
from opx.core.incident.incident import Incident, Priority, Status
from opx.core.incident.keeping import Keep, may_go
from opx.core.ingest.signals import Severity

T: Ms = 1_767_225_600_000
GROUP = Group("prod", "orders")
ENDED = Episode(id="e", group=GROUP, started_at=T - 9, last_at=T - 5, ended_at=T)
LIVE = replace(ENDED, id="f", ended_at=None, previous="e")
RESOLVED = Incident(
    id="i",
    episode="e",
    group=GROUP,
    status=Status.RESOLVED,
    severity=Severity.SEV3,
    priority=Priority.P2,
    title="orders does not answer",
    opened_at=T - 9,
    updated_at=T,
    resolved_at=T,
)


def test_what_was_over_by_then_may_go() -> None:
    """An episode that ended by then goes, with a resolved or closed incident or without any,
    also when the next one, that names it, is over."""
    assert may_go(ENDED, None, None, False, T)
    assert may_go(ENDED, RESOLVED, None, False, T)
    assert may_go(ENDED, replace(RESOLVED, status=Status.CLOSED), None, False, T)
    assert may_go(ENDED, RESOLVED, replace(LIVE, ended_at=T + DAY), False, T)


def test_what_lives_or_is_lived_on_stays() -> None:
    """Not yet over, over too late, touched since, still firing, or named by what is going on."""
    assert not may_go(LIVE, None, None, False, T)
    assert not may_go(ENDED, None, None, False, T - 1)
    assert not may_go(ENDED, replace(RESOLVED, updated_at=T + 1), None, False, T)
    for status in (Status.OPEN, Status.MITIGATING, Status.MITIGATED):
        assert not may_go(ENDED, replace(RESOLVED, status=status), None, False, T)
    assert not may_go(ENDED, None, None, True, T)
    assert not may_go(ENDED, RESOLVED, LIVE, False, T)


def test_nothing_is_forgotten_at_once() -> None:
    """Less than two days is refused: the next episode may still name the one before."""
    assert Keep(incidents=2 * DAY, telemetry=2 * DAY, records=2 * DAY)
    with pytest.raises(ValueError, match="before 2 days"):
        Keep(incidents=2 * DAY - 1)
