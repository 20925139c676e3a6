# SPDX-License-Identifier: Apache-2.0

"""An episode that goes on: what its row says, and what the row does not.

Part of stage 3; ``stage`` alone changes it. It is the sum of its parts, one for each group,
so that a group can be taken from one episode to another. Its row is given out a version at
a time, and a restart goes on from the row.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass, field, replace
from operator import attrgetter

from opx.core.base.time import Ms
from opx.core.correlate import score
from opx.core.correlate.episode import QUIET, Episode, Group, Member
from opx.core.detect import probes
from opx.core.detect.finding import Finding, FindingKind
from opx.core.detect.probes import Failure
from opx.core.ingest.signals import Severity

_open = attrgetter("open")
_DEAD = frozenset({Failure.REFUSED, Failure.NOT_RUNNING})


def is_own(finding: Finding) -> bool:
    """Whether it is trouble of its own, whatever is ill beneath: a process that is not there
    does not suffer from whom it calls."""
    return finding.rule == probes.RULE and finding.evidence.get("failure") in _DEAD


@dataclass(slots=True)
class Part:
    """One group's share. ``firing``: the ids of what speaks against it now, ``open``: of the
    symptoms among them, with since when, ``seen``: of all that has fired, ``own``: of what still
    does and is nobody else's doing. ``well``, ``cleared_at``: when the last of the firing, of the
    open, was over."""

    since: Ms
    last_at: Ms
    well: Ms | None = None
    cleared_at: Ms | None = None
    symptoms: int = 0
    rules: set[str] = field(default_factory=set)
    by_severity: list[int] = field(default_factory=lambda: [0] * len(Severity))
    firing: set[str] = field(default_factory=set)
    open: dict[str, Ms] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)
    own: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, member: Member) -> Part:
        """Go on from a stored row; who still fires is for the caller to say."""
        return cls(
            since=member.since,
            last_at=member.last_at,
            well=member.well,
            cleared_at=member.quiet_since,
            symptoms=member.symptoms,
            rules=set(member.rules),
            by_severity=list(member.by_severity),
        )

    def fire(self, finding: Finding) -> None:
        self.adopt(finding)
        self.rules.add(finding.rule)
        self.by_severity[finding.severity - 1] += 1
        self.symptoms += finding.kind is FindingKind.SYMPTOM
        self.since = min(self.since, finding.at)
        self.last_at = max(self.last_at, finding.at)

    def adopt(self, finding: Finding) -> None:
        """It fires, and is counted already."""
        self.firing.add(finding.id)
        self.seen.add(finding.id)
        if finding.kind is FindingKind.SYMPTOM:
            self.open[finding.id] = finding.at
        if is_own(finding):
            self.own.add(finding.id)

    def clear(self, finding: Finding) -> None:
        self.firing.discard(finding.id)
        self.own.discard(finding.id)
        if not self.firing:
            self.well = max(finding.at, self.well or 0)
        if finding.id in self.open:
            del self.open[finding.id]
            self.cleared_at = max(finding.at, self.cleared_at or 0)
        self.last_at = max(self.last_at, finding.at)

    def keep(self, open: Container[str]) -> None:
        """Of what fires only these do: the rest was over while nobody asked."""
        still = bool(self.open)
        self.firing = {id for id in self.firing if id in open}
        self.own = {id for id in self.own if id in open}
        self.open = {id: at for id, at in self.open.items() if id in open}
        if still and not self.open:
            self.cleared_at = max(self.last_at, self.cleared_at or 0)

    def member(self, group: Group) -> Member:
        return Member(
            group,
            self.since,
            self.last_at,
            None if self.firing else self.well,
            self.cleared_at,
            self.symptoms,
            tuple(sorted(self.rules)),
            tuple(self.by_severity),
        )


@dataclass(slots=True)
class Live:
    """``root``: where it comes from; it is one of the groups that ``parts`` has."""

    episode: Episode
    root: Group
    parts: dict[Group, Part] = field(default_factory=dict)

    @classmethod
    def begun(cls, group: Group, first: Finding, previous: str | None) -> Live:
        episode = Episode(
            id=Episode.id_of(group, first.id),
            group=group,
            started_at=first.at,
            last_at=first.at,
            previous=previous,
            version=0,
        )
        return cls(episode, group)

    @classmethod
    def of(cls, episode: Episode) -> Live:
        """Go on from a stored row. One of before groups could join is one group's alone."""
        alone = Member(
            episode.group,
            episode.started_at,
            episode.last_at,
            quiet_since=episode.quiet_since,
            symptoms=episode.symptoms,
            rules=episode.rules,
            by_severity=episode.by_severity,
        )
        members = episode.members or (alone,)
        return cls(episode, episode.group, {one.group: Part.of(one) for one in members})

    @property
    def open(self) -> bool:
        """Whether a symptom is."""
        return any(map(_open, self.parts.values()))

    @property
    def symptoms(self) -> int:
        return sum(part.symptoms for part in self.parts.values())

    @property
    def started_at(self) -> Ms:
        return min(part.since for part in self.parts.values())

    @property
    def last_at(self) -> Ms:
        return max(part.last_at for part in self.parts.values())

    @property
    def cleared_at(self) -> Ms | None:
        times = [one.cleared_at for one in self.parts.values() if one.cleared_at is not None]
        return max(times, default=None)

    @property
    def ends_at(self) -> Ms | None:
        """When it ends if nothing more comes; None while a symptom is open."""
        if self.open:
            return None
        cleared_at = self.cleared_at
        return (self.last_at if cleared_at is None else cleared_at) + QUIET

    def over(self, at: Ms) -> bool:
        ends_at = self.ends_at
        return ends_at is not None and ends_at <= at

    def ill(self, group: Group, since: Ms) -> bool:
        """Whether a group was ill when something that began at ``since`` did: trouble that
        begins after it was well again is not felt from there. Who had symptoms is well when
        they are over: what else is odd lingers."""
        part = self.parts[group]
        if part.cleared_at is not None:
            return bool(part.open) or since <= part.cleared_at
        return bool(part.firing) or (part.well is not None and since <= part.well)

    def seen(self, group: Group, finding: str) -> bool:
        part = self.parts.get(group)
        return part is not None and finding in part.seen

    def fire(self, group: Group, finding: Finding) -> None:
        part = self.parts.get(group)
        if part is None:
            part = self.parts[group] = Part(finding.at, finding.at)
        part.fire(finding)

    def give(self, ended_at: Ms | None = None, merged_into: str | None = None) -> Episode:
        """The next version of the row."""
        parts = self.parts.values()
        by_severity = [sum(counts) for counts in zip(*(p.by_severity for p in parts), strict=True)]
        rules = set[str]().union(*(part.rules for part in parts))
        started_at, last_at, symptoms = self.started_at, self.last_at, self.symptoms
        weights = score.factors(
            by_severity,
            rules=len(rules),
            signals=sum(by_severity),
            spread=last_at - started_at,
            window=QUIET,
        )
        self.episode = replace(
            self.episode,
            group=self.root,
            members=tuple(self.parts[group].member(group) for group in by_name(self.parts)),
            started_at=started_at,
            last_at=last_at,
            quiet_since=None if self.open else self.cleared_at,
            ended_at=ended_at,
            open_symptoms=sum(len(part.open) for part in parts),
            symptoms=symptoms,
            evidence=sum(by_severity) - symptoms,
            severity=next(level for level, n in zip(Severity, by_severity, strict=True) if n),
            rules=tuple(sorted(rules)),
            by_severity=tuple(by_severity),
            score=weights.score,
            merged_into=merged_into,
            version=self.episode.version + 1,
        )
        return self.episode


def by_name(groups: Iterable[Group]) -> list[Group]:
    return sorted(groups, key=lambda group: (group.environment, group.service))


def survivor(lives: Iterable[Live]) -> Live:
    """The one of several that goes on: one with a symptom, of which people know already;
    among those the older."""
    return min(lives, key=lambda live: (not live.symptoms, live.started_at, live.episode.id))
