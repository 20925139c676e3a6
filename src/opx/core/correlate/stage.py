# SPDX-License-Identifier: Apache-2.0

"""Correlation: findings in, episodes out.

The step of stage 3. A finding joins the episode that its group has. A group without one
joins the trouble that it suffers from, or that suffers from it, along the dependencies
(``problems``); else it begins one. A group that connects two episodes merges them, and one
that turns out to suffer from another trouble is taken there, so the groups that are ill
together are divided in the same way in whatever order they were found. A group that was well
and falls ill together with what it depends on is that one's trouble: its own is over (``again``).

An episode has ended when no symptom is open and five minutes have passed since the last one
cleared (since its newest finding, where there was no symptom), by the findings' own times, so
it does not matter whether a tick came in between; or when a person has ruled so. A late finding
joins the episode that its group has now. It must never let two unmapped streams meet: each is a
group of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import groupby
from operator import attrgetter

from opx.core.base import ids
from opx.core.base.time import DAY, Ms
from opx.core.correlate import again, problems
from opx.core.correlate.episode import Episode, Group, Ruling, Suppressed
from opx.core.correlate.live import Live, Part, by_name, is_own, survivor
from opx.core.correlate.problems import Topology
from opx.core.detect.finding import Finding, FindingKind, FindingState

UNMAPPED = "?"
"""A group whose service begins like this is one stream that is nobody's yet."""
REMEMBERED: Ms = DAY
"""How long an ended episode is remembered as the one before the next."""
_ALONE = Topology()
_at = attrgetter("at")


@dataclass(slots=True, kw_only=True)
class Correlated:
    """``findings``: accepted, in order; ``members``: the same by episode id. ``episodes``:
    every version that came about, in order. ``suppressed``: what changed nothing, and why."""

    findings: list[Finding] = field(default_factory=list)
    members: dict[str, list[Finding]] = field(default_factory=dict)
    episodes: list[Episode] = field(default_factory=list)
    suppressed: list[tuple[Finding, Suppressed]] = field(default_factory=list)
    _touched: dict[str, Live] = field(default_factory=dict, repr=False, compare=False)

    def accept(self, finding: Finding, live: Live | None) -> None:
        self.findings.append(finding)
        if live is not None:
            self.goes_on(live)
            self.members.setdefault(live.episode.id, []).append(finding)

    def goes_on(self, live: Live) -> None:
        self._touched[live.episode.id] = live

    def ended(self, episode: Episode) -> None:
        self._touched.pop(episode.id, None)
        self.episodes.append(episode)
        if episode.merged_into is not None and episode.id in self.members:
            self.members.setdefault(episode.merged_into, []).extend(self.members.pop(episode.id))

    def moved(self, group: Group, one: Live, other: Live) -> None:
        """A group was taken from one episode to the other."""
        self.goes_on(one)
        self.goes_on(other)
        told = self.members.get(one.episode.id, [])
        mine = [finding for finding in told if group_of(finding) == group]
        if mine:
            self.members[one.episode.id] = [finding for finding in told if finding not in mine]
            self.members.setdefault(other.episode.id, []).extend(mine)

    def done(self) -> Correlated:
        """Give out what goes on, each once."""
        self.episodes += [live.give() for live in self._touched.values()]
        return self


@dataclass(slots=True)
class SenseState:
    """``live`` and the last ``ended`` episode by group; ``open``: ids of open findings;
    ``quiet``: the episodes, by id, that end by themselves if nothing more comes."""

    live: dict[Group, Live] = field(default_factory=dict)
    ended: dict[Group, Live] = field(default_factory=dict)
    open: set[str] = field(default_factory=set)
    quiet: dict[str, Live] = field(default_factory=dict)

    @classmethod
    def load(cls, episodes: Iterable[Episode], findings: Iterable[Finding]) -> SenseState:
        """From stored rows: the episodes that have not ended (of others, those that a next
        one is to name) and the open findings."""
        state = cls()
        for episode in sorted(episodes, key=lambda episode: (episode.started_at, episode.id)):
            if episode.merged_into is not None:
                continue  # it goes on in another
            live = Live.of(episode)
            known = state.live if episode.ended_at is None else state.ended
            known.update(dict.fromkeys(episode.groups, live))
        for finding in findings:
            state.open.add(finding.id)
            group = group_of(finding)
            found = state.live.get(group) or state.ended.get(group)
            part = found.parts[group] if found is not None else None
            if part is not None and finding.at >= part.since:
                part.adopt(finding)
        for live in state.live.values():
            state.rest(live)
        return state

    def rest(self, live: Live) -> None:
        """Note whether an episode ends by itself."""
        if live.open:
            self.quiet.pop(live.episode.id, None)
        else:
            self.quiet[live.episode.id] = live

    def open_episodes(self) -> list[Episode]:
        return list({live.episode.id: live.episode for live in self.live.values()}.values())


def group_of(finding: Finding) -> Group:
    """Its service; for a finding that is nobody's, its stream alone."""
    identity = finding.identity
    if identity.service:
        return _group(identity.environment, identity.service)
    stream = ids.derived("unmapped", finding.rule, finding.stream)
    return Group(identity.environment, UNMAPPED + stream[:16])


@lru_cache(maxsize=8_192)
def _group(environment: str, service: str) -> Group:
    """The same object each time: a dictionary tells it by a look."""
    return Group(environment, service)


def identity_of(group: Group) -> tuple[str, str]:
    """The (environment, service) of its findings' identities; service "" when unmapped."""
    return group.environment, "" if group.service.startswith(UNMAPPED) else group.service


def step(
    state: SenseState,
    findings: Sequence[Finding],
    now: Ms,
    topology: Topology = _ALONE,
    rulings: Sequence[Ruling] = (),
) -> Correlated:
    """Do as people ruled, then put each finding in its episode; told twice is told once.
    Episodes that end because time has passed by ``now`` are the business of ``tick``."""
    out = Correlated()
    for ruling in rulings:
        _obey(state, out, ruling)
    for finding in _callees_first(findings, topology):
        group = group_of(finding)
        live = state.live.get(group)
        part = live.parts[group] if live is not None else None
        idle = _idle(state, group, part, finding)
        if idle is not None:
            out.suppressed.append((finding, idle))
            continue
        if live is not None and live.over(finding.at):
            out.ended(_end(state, live, live.ends_at))
            live = None
        if finding.state is FindingState.FIRING:
            live = _fall_ill(state, out, live, finding, topology)
        elif live is not None and part is not None and finding.id in part.seen:
            _clear(state, live, part, finding)
        else:
            live = None  # it outlived its episode
            state.open.discard(finding.id)
        out.accept(finding, live)
    return out.done()


def tick(state: SenseState, now: Ms) -> list[Episode]:
    """End the episodes that have been quiet for long enough by ``now``."""
    due = [live for live in state.quiet.values() if live.over(now)]
    due.sort(key=lambda live: (live.ends_at or 0, live.root.environment, live.root.service))
    ended = [_end(state, live, live.ends_at) for live in due]
    _forget(state, now)
    return ended


def _idle(
    state: SenseState, group: Group, part: Part | None, finding: Finding
) -> Suppressed | None:
    """Why a finding changes nothing, or None when it does. ``part``: its group's of an episode."""
    if finding.kind is FindingKind.EVIDENCE and not finding.identity.service:
        return Suppressed.UNMAPPED
    is_open = finding.id in state.open
    if finding.state is FindingState.CLEARED and is_open:
        return None
    if is_open or (part is not None and finding.id in part.seen):
        return Suppressed.DUPLICATE
    before = state.ended.get(group)
    if before is not None and before.seen(group, finding.id):
        return Suppressed.DUPLICATE
    if finding.state is FindingState.CLEARED:
        return Suppressed.CLEARED_BEFORE_FIRING
    return None


def _obey(state: SenseState, out: Correlated, ruling: Ruling) -> None:
    """End an episode, or let another go on for it, as a person has ruled; not when it is over
    anyhow. Where more symptoms have come than they knew of, it does not end."""
    lives = {live.episode.id: live for live in state.live.values()}
    live = lives.get(ruling.id)
    if live is None or ruling.id == ruling.into:
        return
    into = lives.get(ruling.into) or _revived(state, ruling.into)
    if into is not None:
        _absorb(state, out, into, live, ruling.at)
    elif live.symptoms <= ruling.symptoms:
        out.ended(_end(state, live, max(ruling.at, live.last_at)))


def _revived(state: SenseState, id: str) -> Live | None:
    """An ended episode, which goes on: its incident was reopened, and is given another's. Without
    those of its groups that have been in a later one, and what cleared meanwhile."""
    ended = {group: live for group, live in state.ended.items() if live.episode.id == id}
    mine = [group for group in ended if group not in state.live]
    live = next(iter(ended.values()), None)
    if live is None or live.root not in mine:
        return None
    live.parts = {group: live.parts[group] for group in mine}
    for group, part in live.parts.items():
        part.keep(state.open)
        del state.ended[group]
        state.live[group] = live
    return live


def _place(state: SenseState, out: Correlated, finding: Finding, topology: Topology) -> Live:
    """The episode that a group belongs to as it falls ill, or is found to have been ill for
    longer: its neighbours', which may become one by it or be divided otherwise, or a new one."""
    group = group_of(finding)

    def is_ill(other: Group) -> bool:
        live = state.live.get(other)
        return live is not None and not live.over(finding.at) and live.ill(other, finding.since)

    near = topology.around(group, is_ill)
    if not near:
        return state.live.get(group) or _begun(state, group, finding)
    since = {one: state.live[one].parts[one].since for one in near}

    def below(one: Group) -> tuple[Group, ...]:
        own = is_own(finding) if one == group else bool(state.live[one].parts[one].own)
        return () if own else topology.below(one)

    root = problems.roots({**since, group: finding.at}, below)
    held = [one for one in root if one in state.live]
    by_root: dict[Group, dict[str, Live]] = {}
    for live in (state.live[one] for one in held):
        if live.root in root:
            by_root.setdefault(root[live.root], {})[live.episode.id] = live
    homes = {
        place: _merge(state, out, place, list(lives.values()), finding.at)
        for place, lives in by_root.items()
    }
    before = state.live.get(group)
    if root[group] == group and group not in homes and (before is None or before.root != group):
        homes[group] = _begun(state, group, finding)
    for one in held:
        live, home = state.live[one], homes.get(root[one]) or state.live[root[one]]
        if live is not home and (live.root in root or one in homes or one == group):
            home.parts[one] = live.parts.pop(one)
            state.live[one] = home
            out.moved(one, live, home)
            state.rest(live)
            state.rest(home)
    return homes.get(root[group]) or state.live[root[group]]


def _fall_ill(
    state: SenseState, out: Correlated, live: Live | None, finding: Finding, topology: Topology
) -> Live:
    """Put what fires into the episode of its group, which is ``live``, or into another's."""
    group = group_of(finding)
    if live is not None:
        shared = again.shared(state.live, live, group, finding, topology)
        if shared and live.root == group:
            out.ended(_end(state, live, live.last_at))
            live = None
        elif shared or again.relapsed(live, group, finding):
            _part(state, out, live, group)
            live = None
    if live is None or _displaced(live, group, finding):
        live = state.live[group] = _place(state, out, finding, topology)
    live.fire(group, finding)
    state.open.add(finding.id)
    state.rest(live)
    return live


def _displaced(live: Live, group: Group, finding: Finding) -> bool:
    """Whether a finding may tell that its group belongs elsewhere: it was ill for longer, or is
    ill by itself, which was not known."""
    part = live.parts[group]
    return finding.at < part.since or (is_own(finding) and not part.own and live.root != group)


def _callees_first(findings: Sequence[Finding], topology: Topology) -> Iterable[Finding]:
    """In their order; of those of one instant what others depend on comes before who does, so
    that they find it ill."""
    if not topology.callees or len(findings) < 2:
        return findings

    def rank(finding: Finding) -> int:
        return topology.rank.get(group_of(finding), 0)

    return [one for _, same in groupby(findings, _at) for one in sorted(same, key=rank)]


def _part(state: SenseState, out: Correlated, live: Live, group: Group) -> None:
    """Let an episode go on without a group that was well again."""
    live.parts.pop(group)
    del state.live[group]
    out.goes_on(live)
    state.rest(live)


def _begun(state: SenseState, group: Group, finding: Finding) -> Live:
    before = state.ended.get(group)
    return Live.begun(group, finding, before.episode.id if before is not None else None)


def _merge(state: SenseState, out: Correlated, root: Group, lives: list[Live], at: Ms) -> Live:
    """Let one of the episodes that have one root go on for all of them."""
    kept = survivor(lives)
    kept.root = root
    for other in lives:
        if other is not kept:
            _absorb(state, out, kept, other, at)
    out.goes_on(kept)
    return kept


def _absorb(state: SenseState, out: Correlated, kept: Live, other: Live, at: Ms) -> None:
    """Let one episode go on for another, which ends."""
    kept.parts.update(other.parts)
    state.live.update(dict.fromkeys(other.parts, kept))
    state.quiet.pop(other.episode.id, None)
    out.ended(other.give(max(at, other.last_at), kept.episode.id))
    out.goes_on(kept)
    state.rest(kept)


def _clear(state: SenseState, live: Live, part: Part, finding: Finding) -> None:
    part.clear(finding)
    state.open.discard(finding.id)
    state.rest(live)


def _end(state: SenseState, live: Live, at: Ms | None) -> Episode:
    state.quiet.pop(live.episode.id, None)
    for group in by_name(live.parts):
        del state.live[group]
        state.ended.pop(group, None)
        state.ended[group] = live
    return live.give(at)


def _forget(state: SenseState, now: Ms) -> None:
    """Drop the oldest ended episodes; they stand in the order in which they ended."""
    old = []
    for group, live in state.ended.items():
        if (live.episode.ended_at or 0) + REMEMBERED > now:
            break
        old.append(group)
    for group in old:
        del state.ended[group]
