# SPDX-License-Identifier: Apache-2.0

"""Correlation: findings in, episodes out.

The step of stage 3. A finding joins the episode that its group has; a group without one
begins one. An episode has ended when no symptom is open and five minutes have passed
since the last one cleared (since its newest finding, where there was no symptom), by the
findings' own times, so it does not matter whether a tick came in between. A late finding
joins the episode that its group has now. It must never let two unmapped streams meet:
each is a group of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from opx.core.base import ids
from opx.core.base.time import DAY, Ms
from opx.core.correlate import score
from opx.core.correlate.episode import QUIET, Episode, Group, Suppressed
from opx.core.detect.finding import Finding, FindingKind, FindingState
from opx.core.ingest.signals import Severity

UNMAPPED = "?"
"""A group whose service begins like this is one stream that is nobody's yet."""
REMEMBERED: Ms = DAY
"""How long an ended episode is remembered as the one before the next."""


@dataclass(slots=True)
class _Live:
    """An episode and what its row does not say. ``seen``: the ids that have fired in it."""

    episode: Episode
    seen: set[str] = field(default_factory=set)
    open: set[str] = field(default_factory=set)
    rules: set[str] = field(default_factory=set)
    by_severity: list[int] = field(default_factory=lambda: [0] * len(Severity))
    symptoms: int = 0
    evidence: int = 0
    started_at: Ms = 0
    last_at: Ms = 0
    cleared_at: Ms | None = None

    @classmethod
    def begun(cls, group: Group, first: Finding, previous: str | None) -> _Live:
        episode = Episode(
            id=Episode.id_of(group, first.id),
            group=group,
            started_at=first.at,
            last_at=first.at,
            previous=previous,
            version=0,
        )
        return cls(episode=episode, started_at=first.at, last_at=first.at)

    @classmethod
    def of(cls, episode: Episode) -> _Live:
        """Go on from a stored row; who is still open is for the caller to say."""
        return cls(
            episode=episode,
            rules=set(episode.rules),
            by_severity=list(episode.by_severity),
            symptoms=episode.symptoms,
            evidence=episode.evidence,
            started_at=episode.started_at,
            last_at=episode.last_at,
            cleared_at=episode.quiet_since,
        )

    @property
    def ends_at(self) -> Ms | None:
        """When it ends if nothing more comes; None while a symptom is open."""
        if self.open:
            return None
        return (self.last_at if self.cleared_at is None else self.cleared_at) + QUIET

    def fire(self, finding: Finding) -> None:
        self.seen.add(finding.id)
        self.rules.add(finding.rule)
        self.by_severity[finding.severity - 1] += 1
        if finding.kind is FindingKind.SYMPTOM:
            self.open.add(finding.id)
            self.symptoms += 1
        else:
            self.evidence += 1
        self._stretch(finding.at)

    def clear(self, finding: Finding) -> None:
        if finding.id in self.open:
            self.open.discard(finding.id)
            self.cleared_at = max(finding.at, self.cleared_at or 0)
        self._stretch(finding.at)

    def _stretch(self, at: Ms) -> None:
        self.started_at = min(self.started_at, at)
        self.last_at = max(self.last_at, at)

    def give(self, ended_at: Ms | None = None) -> Episode:
        """The next version of the row."""
        quiet_since = None if self.open else self.cleared_at
        weights = score.factors(
            self.by_severity,
            rules=len(self.rules),
            signals=sum(self.by_severity),
            spread=self.last_at - self.started_at,
            window=QUIET,
        )
        worst = next(level for level, n in zip(Severity, self.by_severity, strict=True) if n)
        self.episode = replace(
            self.episode,
            started_at=self.started_at,
            last_at=self.last_at,
            quiet_since=quiet_since,
            ended_at=ended_at,
            open_symptoms=len(self.open),
            symptoms=self.symptoms,
            evidence=self.evidence,
            severity=worst,
            rules=tuple(sorted(self.rules)),
            by_severity=tuple(self.by_severity),
            score=weights.score,
            version=self.episode.version + 1,
        )
        return self.episode


@dataclass(slots=True, kw_only=True)
class Correlated:
    """``findings``: accepted, in order; ``members``: the same by episode id. ``episodes``:
    every version that came about, in order. ``suppressed``: what changed nothing, and why."""

    findings: list[Finding] = field(default_factory=list)
    members: dict[str, list[Finding]] = field(default_factory=dict)
    episodes: list[Episode] = field(default_factory=list)
    suppressed: list[tuple[Finding, Suppressed]] = field(default_factory=list)

    def accept(self, finding: Finding, live: _Live | None) -> None:
        self.findings.append(finding)
        if live is not None:
            self.members.setdefault(live.episode.id, []).append(finding)


@dataclass(slots=True)
class SenseState:
    """``live`` and the last ``ended`` episode by group; ``open``: ids of open findings;
    ``quiet``: the groups whose episode ends by itself if nothing more comes."""

    live: dict[Group, _Live] = field(default_factory=dict)
    ended: dict[Group, _Live] = field(default_factory=dict)
    open: set[str] = field(default_factory=set)
    quiet: set[Group] = field(default_factory=set)

    @classmethod
    def load(cls, episodes: Iterable[Episode], findings: Iterable[Finding]) -> SenseState:
        """From stored rows: the episodes that have not ended (of others, those that a next
        one is to name) and the open findings."""
        state = cls()
        for episode in sorted(episodes, key=lambda episode: (episode.started_at, episode.id)):
            known = state.live if episode.ended_at is None else state.ended
            known[episode.group] = _Live.of(episode)
        for finding in findings:
            state.open.add(finding.id)
            live = state.live.get(group_of(finding))
            if live is not None and finding.at >= live.started_at:
                live.seen.add(finding.id)
                if finding.kind is FindingKind.SYMPTOM:
                    live.open.add(finding.id)
        state.quiet = {group for group, live in state.live.items() if not live.open}
        return state

    def open_episodes(self) -> list[Episode]:
        return [live.episode for live in self.live.values()]


def group_of(finding: Finding) -> Group:
    """Its service; for a finding that is nobody's, its stream alone."""
    identity = finding.identity
    if identity.service:
        return Group(identity.environment, identity.service)
    stream = ids.derived("unmapped", finding.rule, finding.stream)
    return Group(identity.environment, UNMAPPED + stream[:16])


def identity_of(group: Group) -> tuple[str, str]:
    """The (environment, service) of its findings' identities; service "" when unmapped."""
    return group.environment, "" if group.service.startswith(UNMAPPED) else group.service


def step(state: SenseState, findings: Sequence[Finding], now: Ms) -> Correlated:
    """Put each finding in its episode; told twice is told once. Episodes that end because
    time has passed by ``now`` are the business of ``tick``."""
    out = Correlated()
    touched: dict[str, _Live] = {}
    for finding in findings:
        group = group_of(finding)
        live = state.live.get(group)
        idle = _idle(state, group, live, finding)
        if idle is not None:
            out.suppressed.append((finding, idle))
            continue
        if live is not None and live.ends_at is not None and live.ends_at <= finding.at:
            touched.pop(live.episode.id, None)
            out.episodes.append(_end(state, live, live.ends_at))
            live = None
        if finding.state is FindingState.FIRING:
            live = _fire(state, group, live, finding)
            touched[live.episode.id] = live
        elif live is not None and finding.id in live.seen:
            touched[live.episode.id] = live
            _clear(state, live, finding)
        else:
            live = None  # evidence that outlived its episode
            state.open.discard(finding.id)
        out.accept(finding, live)
    out.episodes += [live.give() for live in touched.values()]
    return out


def tick(state: SenseState, now: Ms) -> list[Episode]:
    """End the episodes that have been quiet for long enough by ``now``."""
    due = []
    for group in state.quiet:
        ends_at = state.live[group].ends_at
        if ends_at is not None and ends_at <= now:
            due.append((ends_at, group.environment, group.service))
    ended = [
        _end(state, state.live[Group(environment, service)], ends_at)
        for ends_at, environment, service in sorted(due)
    ]
    _forget(state, now)
    return ended


def _idle(
    state: SenseState, group: Group, live: _Live | None, finding: Finding
) -> Suppressed | None:
    """Why a finding changes nothing, or None when it does. ``live``: its group's episode."""
    if finding.kind is FindingKind.EVIDENCE and not finding.identity.service:
        return Suppressed.UNMAPPED
    is_open = finding.id in state.open
    if finding.state is FindingState.CLEARED and is_open:
        return None
    if is_open or (live is not None and finding.id in live.seen):
        return Suppressed.DUPLICATE
    before = state.ended.get(group)
    if before is not None and finding.id in before.seen:
        return Suppressed.DUPLICATE
    if finding.state is FindingState.CLEARED:
        return Suppressed.CLEARED_BEFORE_FIRING
    return None


def _fire(state: SenseState, group: Group, live: _Live | None, finding: Finding) -> _Live:
    if live is None:
        before = state.ended.get(group)
        live = _Live.begun(group, finding, before.episode.id if before is not None else None)
        state.live[group] = live
        state.quiet.add(group)
    was_quiet = not live.open
    live.fire(finding)
    state.open.add(finding.id)
    if was_quiet and live.open:
        state.quiet.discard(group)
    return live


def _clear(state: SenseState, live: _Live, finding: Finding) -> None:
    live.clear(finding)
    state.open.discard(finding.id)
    if not live.open:
        state.quiet.add(live.episode.group)


def _end(state: SenseState, live: _Live, ended_at: Ms) -> Episode:
    group = live.episode.group
    del state.live[group]
    state.quiet.discard(group)
    state.ended.pop(group, None)
    state.ended[group] = live
    return live.give(ended_at)


def _forget(state: SenseState, now: Ms) -> None:
    """Drop the oldest ended episodes; they stand in the order in which they ended."""
    old = []
    for group, live in state.ended.items():
        if (live.episode.ended_at or 0) + REMEMBERED > now:
            break
        old.append(group)
    for group in old:
        del state.ended[group]
