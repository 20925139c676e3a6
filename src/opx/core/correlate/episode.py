# SPDX-License-Identifier: Apache-2.0

"""``Episode``: the findings of one group that belong together in time. The noun of stage 3."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from opx.core.base import ids
from opx.core.base.time import MINUTE, Ms
from opx.core.ingest.signals import Severity

QUIET: Ms = 5 * MINUTE
"""A finding this soon after the last belongs to the episode; this long all clear ends it."""


@dataclass(frozen=True, slots=True)
class Group:
    """What is grouped together: one service in one environment."""

    environment: str
    service: str


@dataclass(frozen=True, slots=True)
class Member:
    """A group that an episode holds, and its share of it, so that it can be taken out again:
    ``since`` when it is ill and when its last symptom was over (``quiet_since``), since when
    nothing at all speaks against it (``well``), its newest finding and what it counts for."""

    group: Group
    since: Ms
    last_at: Ms
    well: Ms | None = None
    quiet_since: Ms | None = None
    symptoms: int = 0
    rules: tuple[str, ...] = ()
    by_severity: tuple[int, ...] = (0, 0, 0, 0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """``group``: the root, where the trouble comes from; ``members``: everybody who suffers
    from it, the root included, by name. ``started_at``, ``last_at``: its oldest and newest
    finding, either state. ``quiet_since``: when the last open symptom cleared, None while one
    is open. ``rules``, ``by_severity`` (SEV1 first): what it was scored by, so that a restart
    goes on from the row. ``previous``: the episode before it, if any. ``merged_into``: the
    episode that goes on for both, since ``ended_at``."""

    id: str
    group: Group
    members: tuple[Member, ...] = ()
    started_at: Ms
    last_at: Ms
    quiet_since: Ms | None = None
    ended_at: Ms | None = None
    open_symptoms: int = 0
    symptoms: int = 0
    evidence: int = 0
    severity: Severity = Severity.SEV5
    rules: tuple[str, ...] = ()
    by_severity: tuple[int, ...] = (0, 0, 0, 0, 0)
    score: float = 0.0
    previous: str | None = None
    merged_into: str | None = None
    version: int = 1

    @property
    def groups(self) -> tuple[Group, ...]:
        return tuple(member.group for member in self.members) or (self.group,)

    @staticmethod
    def id_of(group: Group, first_finding: str) -> str:
        return ids.derived("episode", group, first_finding)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """What a person has decided about an episode that goes on. ``id``: the episode's; ``into``:
    the one that goes on for it, if that still does; empty: it is over for them, whatever still
    fires. ``symptoms``: how many it had when they looked."""

    id: str
    into: str = ""
    symptoms: int = 0
    at: Ms


class Suppressed(StrEnum):
    """Why a finding did not change anything. Counted and listed, never silent."""

    DUPLICATE = "duplicate"
    CLEARED_BEFORE_FIRING = "cleared_before_firing"
    UNMAPPED = "unmapped"
    SILENCED = "silenced"
