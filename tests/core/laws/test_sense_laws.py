# SPDX-License-Identifier: Apache-2.0

"""Laws of the sense stages together: alert in, incident out, in any order and any cut."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from opx.core.base.time import DAY, MINUTE, SECOND, Ms
from opx.core.correlate import stage
from opx.core.correlate.episode import Episode, Group
from opx.core.correlate.stage import SenseState
from opx.core.detect import alerts
from opx.core.detect.alerts import AlertState
from opx.core.detect.finding import ClearReason, Finding, FindingKind, FindingState
from opx.core.incident import gate, lifecycle
from opx.core.incident.incident import Incident, PromotionVerdict, Status
from opx.core.incident.lifecycle import Change
from opx.core.ingest.signals import Alert, Identity, Severity, Tick

T: Ms = 1_767_225_600_000
Item = Alert | Tick


@dataclass
class Senses:
    """The stages in a row, with everything they gave out kept by id. ``ended``: what the alerts
    save beside their findings."""

    alerts: AlertState = field(default_factory=AlertState)
    groups: SenseState = field(default_factory=SenseState)
    findings: list[Finding] = field(default_factory=list)
    rows: dict[str, Finding] = field(default_factory=dict)
    ended: dict[str, Ms] = field(default_factory=dict)
    episodes: dict[str, Episode] = field(default_factory=dict)
    incidents: dict[str, Incident] = field(default_factory=dict)

    def take(self, items: Sequence[Item]) -> None:
        """One commit: the clock is the latest time in it."""
        told = [item for item in items if isinstance(item, Alert)]
        now = max((i.at if isinstance(i, Tick) else i.received_at for i in items), default=0)
        found = alerts.step(self.alerts, told, now)
        self.findings += found
        correlated = stage.step(self.groups, found, now)
        kept = (*correlated.findings, *alerts.refreshed(self.alerts))  # in this order
        self.rows |= {finding.id: finding for finding in kept}
        self.ended = alerts.save(self.alerts)
        for episode in (*correlated.episodes, *stage.tick(self.groups, now)):
            self.hear(episode, now)

    def hear(self, episode: Episode, now: Ms) -> None:
        before = self.episodes.get(episode.id)
        assert episode.version == (before.version + 1 if before else 1)
        self.episodes[episode.id] = episode
        incident = self.incidents.get(Incident.id_of(episode.id))
        promotion = gate.promote(episode, incident, now)
        if promotion.verdict is PromotionVerdict.OPEN:
            incident = lifecycle.opened(episode, promotion, "trouble", None, now)
        elif incident is not None:
            incident = lifecycle.attach(incident, episode, now)
        if incident is None:
            return
        if episode.ended_at is not None:
            incident = lifecycle.apply(incident, Change.EPISODE_ENDED, now)
        self.incidents[incident.id] = incident

    def restart(self) -> None:
        """Forget everything but the rows and what was saved with them."""
        firing = [f for f in self.rows.values() if f.state is FindingState.FIRING]
        self.alerts = AlertState.load(firing, self.ended)
        self.groups = SenseState.load(self.episodes.values(), firing)


def alert(name: str, at: Ms, ends: Ms, groups: int = 3) -> Alert:
    number = int(name)
    return Alert(
        fingerprint=name,
        identity=Identity("prod", f"service{number % groups}"),
        severity=Severity(1 + number % 5),
        labels={"alertname": name},
        starts_at=T - SECOND,
        ends_at=ends,
        received_at=at,
    )


@st.composite
def logs(draw: st.DrawFn) -> list[Item]:
    """Alerts of three groups that fire, repeat, resolve, expire and stay away, with ticks."""
    items: list[Item] = []
    at = T
    for _ in range(draw(st.integers(1, 40))):
        at += draw(st.sampled_from([0, 1, SECOND, MINUTE, 3 * MINUTE, 6 * MINUTE]))
        name = str(draw(st.integers(0, 8)))
        kind = draw(st.sampled_from(["fire", "fire", "resolve", "tick"]))
        if kind == "tick":
            items.append(Tick(at))
        else:
            items.append(alert(name, at, at + 5 * MINUTE if kind == "fire" else at))
    return items


def cut(items: Sequence[Item], at: Iterable[int]) -> list[Sequence[Item]]:
    bounds = [0, *sorted({min(place, len(items)) for place in at}), len(items)]
    return [items[start:end] for start, end in pairwise(bounds) if start < end]


def unversioned(episodes: dict[str, Episode]) -> dict[str, Episode]:
    return {id: replace(episode, version=0) for id, episode in episodes.items()}


def finding(stream: str, at: Ms, *, service: str, kind: FindingKind) -> Finding:
    return Finding(
        id=Finding.id_of("alert", stream, at),
        rule="alert",
        stream=stream,
        identity=Identity("prod", service),
        kind=kind,
        state=FindingState.FIRING,
        severity=Severity.SEV3,
        since=at,
        at=at,
    )


@given(
    numbers=st.lists(st.integers(0, 4 * 60), min_size=1, max_size=12, unique=True),
    randomly=st.randoms(use_true_random=False),
    clears=st.booleans(),
)
def test_findings_in_any_order_give_one_incident_per_group(
    numbers: list[int], randomly: object, clears: bool
) -> None:
    """Within five minutes, whatever comes first: beginnings, ends, one by one or together."""
    told = []
    for number in numbers:
        at = T + number * SECOND
        one = finding(str(number), at, service=f"service{number % 2}", kind=FindingKind.SYMPTOM)
        told += [one, one.clear(ClearReason.RESOLVED, at + SECOND, {})] if clears else [one]
    randomly.shuffle(told)  # type: ignore[attr-defined]
    one_by_one, together = Senses(), Senses()

    for each in told:
        for episode in stage.step(one_by_one.groups, [each], T).episodes:
            one_by_one.hear(episode, T)
    for episode in stage.step(together.groups, told, T).episodes:
        together.hear(episode, T)

    expected = Counter({Group("prod", f"service{n % 2}"): 1 for n in numbers})
    for senses in (one_by_one, together):
        assert Counter(i.group for i in senses.incidents.values()) == expected
    assert unversioned(one_by_one.episodes) == unversioned(together.episodes)


@settings(max_examples=10)
@given(seed=st.integers(0, 1 << 32), cuts=st.lists(st.integers(0, 3000), max_size=20))
def test_a_thousand_alerts_in_twenty_groups_are_twenty_incidents(
    seed: int, cuts: list[int]
) -> None:
    """Three tellings each, shuffled, in chunks of any size: no more and no fewer."""
    told = [
        alert(str(number), T + again * SECOND, T + 5 * MINUTE, groups=20)
        for number in range(1000)
        for again in range(3)
    ]
    random.Random(seed).shuffle(told)
    senses = Senses()

    for chunk in cut(told, cuts):
        senses.take(chunk)

    assert len(senses.findings) == 1000
    assert len(senses.episodes) == len(senses.incidents) == 20
    assert {(i.symptoms, i.status) for i in senses.incidents.values()} == {(50, Status.OPEN)}


@given(log=logs(), cuts=st.lists(st.integers(0, 40), max_size=10))
def test_it_does_not_matter_how_the_log_is_cut(log: list[Item], cuts: list[int]) -> None:
    """Item by item or in chunks: the same findings, the same episodes, the same incidents."""
    single, chunked = Senses(), Senses()

    for item in log:
        single.take([item])
    for chunk in cut(log, cuts):
        chunked.take(chunk)

    assert chunked.findings == single.findings
    assert unversioned(chunked.episodes) == unversioned(single.episodes)
    assert chunked.incidents.keys() == single.incidents.keys()


@given(log=logs(), cuts=st.lists(st.integers(0, 40), max_size=10))
def test_a_restart_at_any_commit_changes_nothing(log: list[Item], cuts: list[int]) -> None:
    """Rebuilt from the rows it goes on as if nothing had happened."""
    steady, restarted = Senses(), Senses()

    for chunk in cut(log, cuts):
        steady.take(chunk)
        restarted.restart()
        restarted.take(chunk)

    assert restarted.findings == steady.findings
    assert restarted.episodes == steady.episodes
    assert restarted.incidents == steady.incidents


@given(log=logs())
def test_a_replay_is_identical(log: list[Item]) -> None:
    """The same log gives the same of everything, ids and versions included."""
    first, second = Senses(), Senses()

    for item in log:
        first.take([item])
        second.take([item])

    assert first == second


@given(log=logs())
def test_repeats_are_harmless(log: list[Item]) -> None:
    """Findings told again one commit later change no episode, and each is listed."""
    once, twice = Senses(), Senses()

    for item in log:
        told = len(once.findings)
        once.take([item])
        twice.take([item])
        repeated = stage.step(twice.groups, once.findings[told:], 0)
        assert (repeated.episodes, repeated.findings) == ([], [])
        assert len(repeated.suppressed) == len(once.findings) - told

    assert twice.episodes == once.episodes
    assert twice.incidents == once.incidents


@given(log=logs())
def test_edges_alternate_and_no_two_findings_share_an_id(log: list[Item]) -> None:
    """Of each stream: fires, clears, fires; times never go back; each firing has its own id."""
    senses = Senses()
    for item in log:
        senses.take([item])
    senses.take([Tick(T + DAY)])

    by_stream: dict[str, list[Finding]] = {}
    for one in senses.findings:
        by_stream.setdefault(one.stream, []).append(one)
    for edges in by_stream.values():
        states = [FindingState.FIRING, FindingState.CLEARED] * (len(edges) // 2)
        assert [edge.state for edge in edges] == states
        assert all(a.at <= b.at for a, b in pairwise(edges))
        assert all(
            fired.id == cleared.id for fired, cleared in zip(edges[::2], edges[1::2], strict=True)
        )
    firing = [one.id for one in senses.findings if one.state is FindingState.FIRING]
    assert len(firing) == len(set(firing))


@given(log=logs())
def test_every_alert_that_fires_has_an_incident_and_all_of_them_end(log: list[Item]) -> None:
    """One symptom is enough; a day of silence later nothing is open."""
    senses = Senses()
    for item in log:
        senses.take([item])
    groups = {stage.group_of(one) for one in senses.findings}
    assert groups == {incident.group for incident in senses.incidents.values()}

    senses.take([Tick(T + DAY)])
    senses.take([Tick(T + DAY + SECOND)])

    assert {i.status for i in senses.incidents.values()} <= {Status.RESOLVED}
    assert all(episode.ended_at is not None for episode in senses.episodes.values())
    assert all(one.state is FindingState.CLEARED for one in senses.rows.values())
