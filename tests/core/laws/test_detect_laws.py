# SPDX-License-Identifier: Apache-2.0

"""Laws of every detector by itself: cuts, restarts and repeats change no finding."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from opx.core.base import canonical
from opx.core.base.reads import Answer, Probe, ProbeKind, ProbeRead, Stat
from opx.core.base.time import MINUTE, SECOND, Ms
from opx.core.detect import alerts, events, probes, thresholds
from opx.core.detect.finding import Finding, FindingState
from opx.core.detect.rules import Side, ThresholdRule
from opx.core.ingest.services import Catalogue, Health, Service
from opx.core.ingest.signals import Alert, Event, Identity, MetricBatch, Series, Severity, Tick

T: Ms = 1_767_225_600_000
STEPS = st.sampled_from([0, 0, 1, SECOND, MINUTE, 3 * MINUTE, 5 * MINUTE, 15 * MINUTE])
CUTS = st.lists(st.integers(0, 40), max_size=10)
laws = settings(max_examples=300, deadline=None)


@dataclass
class Kept:
    """What a store would hold: every edge, and the newest row of each finding."""

    findings: list[Finding] = field(default_factory=list)
    rows: dict[str, Finding] = field(default_factory=dict)

    def keep(self, found: Sequence[Finding], refreshed: Sequence[Finding] = ()) -> None:
        self.findings += found
        self.rows |= {one.id: one for one in (*found, *refreshed)}

    @property
    def firing(self) -> list[Finding]:
        return [one for one in self.rows.values() if one.state is FindingState.FIRING]


def stored(value: object) -> Any:
    """As it comes back from a store."""
    return json.loads(canonical.dumps(value))


def cut(items: Sequence[Any], at: Iterable[int]) -> list[Sequence[Any]]:
    bounds = [0, *sorted({min(place, len(items)) for place in at}), len(items)]
    return [items[start:end] for start, end in pairwise(bounds) if start < end]


def now_of(items: Sequence[Any]) -> Ms:
    return max(one.at if isinstance(one, Tick) else one.received_at for one in items)


# ---------------------------------------------------------------- alerts


@dataclass
class Alerts(Kept):
    state: alerts.AlertState = field(default_factory=alerts.AlertState)

    def take(self, items: Sequence[Alert | Tick]) -> None:
        told = [one for one in items if isinstance(one, Alert)]
        found = alerts.step(self.state, told, now_of(items))
        self.keep(found, alerts.refreshed(self.state))

    def restart(self) -> None:
        self.state = alerts.AlertState.load(self.firing, stored(alerts.save(self.state)))


def alert(name: str, at: Ms, life: Ms, since: Ms = SECOND) -> Alert:
    return Alert(
        fingerprint=name,
        identity=Identity("prod", "orders"),
        severity=Severity.SEV3,
        labels={"alertname": name},
        starts_at=at - since,
        ends_at=at + life,
        received_at=at,
    )


@st.composite
def alert_logs(draw: st.DrawFn) -> list[Alert | Tick]:
    """Three alerts that fire for a while, are resolved, and tick by, often at one instant."""
    items: list[Alert | Tick] = []
    at = T
    for _ in range(draw(st.integers(1, 30))):
        at += draw(STEPS)
        life = draw(st.sampled_from([5 * MINUTE, 5 * MINUTE, 1, 0, 0]))
        since = draw(st.sampled_from([SECOND, MINUTE]))
        one = alert(draw(st.sampled_from("abc")), at, life, since)
        items.append(draw(st.sampled_from([one, one, one, Tick(at)])))
    return items


FLAP: list[Alert | Tick] = [alert("a", T, 5 * MINUTE), alert("a", T, 0), alert("a", T, 5 * MINUTE)]


@laws
@given(log=alert_logs(), cuts=CUTS)
def test_alerts_cut_in_any_way_give_the_same_findings(
    log: list[Alert | Tick], cuts: list[int]
) -> None:
    """One by one or in chunks: the same edges, the same rows."""
    single, chunked = Alerts(), Alerts()

    for item in log:
        single.take([item])
    for chunk in cut(log, cuts):
        chunked.take(chunk)

    assert chunked.findings == single.findings
    assert chunked.rows == single.rows


@laws
@given(log=alert_logs(), cuts=CUTS)
@example(log=FLAP, cuts=[1, 2])
def test_a_restart_of_the_alerts_changes_nothing(log: list[Alert | Tick], cuts: list[int]) -> None:
    """After any commit, from the open findings and the position's row."""
    steady, restarted = Alerts(), Alerts()

    for chunk in cut(log, cuts):
        steady.take(chunk)
        restarted.take(chunk)
        restarted.restart()

    assert restarted.findings == steady.findings
    assert restarted.rows == steady.rows


@laws
@given(log=alert_logs(), times=st.integers(2, 4))
def test_an_alert_told_again_changes_nothing(log: list[Alert | Tick], times: int) -> None:
    """The same telling once more, at once: no edge, no row."""
    once, often = Alerts(), Alerts()

    for item in log:
        once.take([item])
        often.take([item] * times)

    assert often.findings == once.findings
    assert often.rows == once.rows


# ---------------------------------------------------------------- events


@dataclass
class Events(Kept):
    state: events.EventState = field(default_factory=events.EventState)
    journal: list[Event] = field(default_factory=list)

    def take(self, items: Sequence[Event | Tick]) -> None:
        happened = [one for one in items if isinstance(one, Event)]
        self.journal += happened
        found = events.step(self.state, happened, now_of(items))
        self.keep(found, events.refreshed(self.state))

    def restart(self) -> None:
        newest = self.journal[-1].received_at if self.journal else 0
        since = newest - events.REMEMBERED
        late = [one for one in self.journal if one.received_at > since]
        self.state = events.EventState.load(self.firing, stored(late))


@st.composite
def event_logs(draw: st.DrawFn) -> list[Event | Tick]:
    """Few ids, so that redeliveries are as usual as events; some without a severity."""
    items: list[Event | Tick] = []
    at = T
    for _ in range(draw(st.integers(1, 30))):
        at += draw(STEPS)
        one = Event(
            id=draw(st.sampled_from("1234")),
            source=draw(st.sampled_from(["/a", "/b"])),
            type="stopped",
            subject=draw(st.sampled_from(["i-1", "i-2"])),
            identity=Identity("prod", draw(st.sampled_from(["orders", ""]))),
            severity=draw(st.sampled_from([Severity.SEV2, Severity.SEV2, Severity.SEV4, None])),
            at=at,
            received_at=at,
        )
        items.append(draw(st.sampled_from([one, one, one, Tick(at)])))
    return items


@laws
@given(log=event_logs(), cuts=CUTS)
def test_events_cut_in_any_way_give_the_same_findings(
    log: list[Event | Tick], cuts: list[int]
) -> None:
    """One by one or in chunks, ticks or none: the same edges, the same rows."""
    single, chunked = Events(), Events()

    for item in log:
        single.take([item])
    for chunk in cut(log, cuts):
        chunked.take(chunk)

    assert chunked.findings == single.findings
    assert chunked.rows == single.rows


@laws
@given(log=event_logs(), cuts=CUTS)
def test_a_restart_of_the_events_changes_nothing(log: list[Event | Tick], cuts: list[int]) -> None:
    """After any commit, from the open findings and the journal: no redelivery counts twice."""
    steady, restarted = Events(), Events()

    for chunk in cut(log, cuts):
        steady.take(chunk)
        restarted.take(chunk)
        restarted.restart()

    assert restarted.findings == steady.findings
    assert restarted.rows == steady.rows


@laws
@given(log=event_logs(), times=st.integers(2, 4))
def test_an_event_delivered_again_at_once_changes_nothing(
    log: list[Event | Tick], times: int
) -> None:
    """Once or four times: no edge, no row, and nothing lasts longer."""
    once, often = Events(), Events()

    for item in log:
        once.take([item])
        often.take([item] * times)

    assert often.findings == once.findings
    assert often.rows == once.rows


# ---------------------------------------------------------------- probes

PROBE = Probe(kind=ProbeKind.TCP, address="127.0.0.1:1")
CATALOGUE = Catalogue(
    services={
        ("prod", name): Service(
            name=name, environment="prod", health=Health(probe=PROBE, failures=failures)
        )
        for name, failures in (("orders", 1), ("store", 2), ("users", 3))
    }
)
Told = tuple[str, bool | None]
TOLD = st.lists(
    st.tuples(
        st.sampled_from(["prod/orders", "prod/store", "prod/users"]),
        st.sampled_from([True, False, False, False, None]),
    ),
    max_size=40,
)


@dataclass
class Probes(Kept):
    state: probes.ProbeState = field(default_factory=probes.ProbeState)

    def __post_init__(self) -> None:
        probes.bind(self.state, CATALOGUE, T)

    def take(self, answers: Sequence[tuple[int, Told]]) -> None:
        """One answer a second, by its number."""
        self.keep(
            probes.step(
                self.state,
                [
                    (ProbeRead(key=key, probe=PROBE), Answer(key=key, at=T + n * SECOND, ok=ok))
                    for n, (key, ok) in answers
                ],
            )
        )

    def restart(self) -> None:
        self.state = probes.ProbeState.load(self.firing)
        assert probes.bind(self.state, CATALOGUE, T) == []

    @property
    def edges(self) -> list[tuple[str, FindingState, Ms, Ms]]:
        return [(one.id, one.state, one.since, one.at) for one in self.findings]


@laws
@given(told=TOLD, cuts=CUTS)
def test_answers_taken_in_together_or_one_by_one_give_the_same_findings(
    told: list[Told], cuts: list[int]
) -> None:
    """However many came while the last ones were being taken in; and told twice is once."""
    single, together = Probes(), Probes()
    answers = list(enumerate(told))

    for one in answers:
        single.take([one, one])
        single.take([one])
    for chunk in cut(answers, cuts):
        together.take(chunk)

    assert together.findings == single.findings


@laws
@given(told=TOLD, restarts=st.sets(st.integers(0, 40), max_size=8))
def test_a_restart_of_the_probes_forgets_a_doubt_and_nothing_else(
    told: list[Told], restarts: set[int]
) -> None:
    """What is open stays open under its id. Noes that had not made a finding by then count as
    if nobody had been asked."""
    restarted, steady = Probes(), Probes()
    unasked: set[int] = set()
    doubts: dict[str, list[int]] = {}

    for number, (key, ok) in enumerate(told):
        if number in restarts:
            restarted.restart()
            unasked.update(*doubts.values())
            doubts.clear()
        restarted.take([(number, (key, ok))])
        if ok is True or key in restarted.state.firing:
            doubts.pop(key, None)
        elif ok is False:
            doubts.setdefault(key, []).append(number)
    for number, (key, ok) in enumerate(told):
        steady.take([(number, (key, None if number in unasked else ok))])

    assert restarted.edges == steady.edges


# ---------------------------------------------------------------- thresholds

SERIES = {
    sid: Series(sid=sid, metric="m", labels={"n": str(sid)}, identity=Identity("prod", "orders"))
    for sid in range(3)
}


def rule(name: str, version: int, **more: Any) -> ThresholdRule:
    values: dict[str, Any] = {"stat": Stat.AVG, "side": Side.ABOVE, "limit": 1.0 + version, **more}
    return ThresholdRule(
        name=name,
        hash=f"{name}{version}",
        metric="m",
        window=10 * SECOND,
        severity=Severity.SEV3,
        justification="a law",
        **values,
    )


FEW = {"stat": Stat.COUNT, "side": Side.BELOW}
RULES = st.lists(
    st.sampled_from(
        [
            rule("high", 1),
            rule("high", 2),
            rule("few", 1, **FEW),
            rule("few", 2, hold=20 * SECOND, **FEW),
            rule("low", 1, stat=Stat.MAX, side=Side.BELOW),
        ]
    ),
    max_size=3,
    unique_by=lambda one: one.name,
).map(tuple)
POINTS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 30), st.integers(0, 4)), min_size=1, max_size=6
)
Points = list[tuple[int, int, int]]


@st.composite
def metric_logs(draw: st.DrawFn) -> list[tuple[Ms, Points | tuple[ThresholdRule, ...]]]:
    """Points that are mostly in order, silences, and rules that change in between."""
    log: list[tuple[Ms, Points | tuple[ThresholdRule, ...]]] = [(T, draw(RULES))]
    at = T
    for _ in range(draw(st.integers(1, 25))):
        at += draw(st.sampled_from([SECOND, 5 * SECOND, 10 * SECOND, 16 * MINUTE]))
        changed = draw(st.integers(0, 5)) == 0
        log.append((at, draw(RULES if changed else POINTS)))
    return log


@dataclass
class Thresholds(Kept):
    """The detector and its log, as the sense beat drives it."""

    state: thresholds.ThresholdState = field(default_factory=thresholds.ThresholdState)
    log: list[tuple[Ms, Points]] = field(default_factory=list)
    saved: Any = field(default_factory=dict)
    saved_at: int = 0

    def take(self, at: Ms, what: Points | tuple[ThresholdRule, ...]) -> None:
        if isinstance(what, tuple):
            if not thresholds.in_force(self.state, what):
                self.keep(thresholds.bind(self.state, what, at))
                self.save()
            return
        self.log.append((at, what))
        self.keep(self._step(at, what))

    def save(self) -> None:
        self.saved, self.saved_at = stored(thresholds.save(self.state)), len(self.log)

    def restart(self) -> list[Finding]:
        """What the replay of the log since the last save found: known already."""
        self.state = thresholds.load(self.saved)
        again = [one for entry in self.log[self.saved_at :] for one in self._step(*entry)]
        thresholds.missed(self.state, self.firing)
        return again

    def _step(self, at: Ms, points: Points) -> list[Finding]:
        batch = MetricBatch(
            sid=np.array([sid for sid, _, _ in points], np.int32),
            at=np.array([at - ago * SECOND for _, ago, _ in points], np.int64),
            value=np.array([value for _, _, value in points], np.float64),
        )
        return thresholds.step(self.state, SERIES, batch, at)


@laws
@given(log=metric_logs(), saves=st.sets(st.integers(0, 25)), restarts=st.sets(st.integers(0, 25)))
def test_a_restart_of_the_thresholds_changes_nothing(
    log: list[tuple[Ms, Points | tuple[ThresholdRule, ...]]], saves: set[int], restarts: set[int]
) -> None:
    """Wherever it was last saved, and whichever rules were changed before, after or while it
    was down: no finding is lost, none is new, and what the replay finds again was known."""
    steady, restarted = Thresholds(), Thresholds()

    for number, (at, what) in enumerate(log):
        if number in saves:
            restarted.save()
        if number in restarts:
            assert all(one in restarted.findings for one in restarted.restart())
            assert restarted.state.strays == []
        steady.take(at, what)
        restarted.take(at, what)

    assert restarted.findings == steady.findings
    assert stored(thresholds.save(restarted.state)) == stored(thresholds.save(steady.state))


@laws
@given(log=metric_logs())
def test_only_rules_in_force_have_open_findings_and_no_two_share_an_id(
    log: list[tuple[Ms, Points | tuple[ThresholdRule, ...]]],
) -> None:
    """A changed or removed rule leaves nothing open behind; each firing is its own finding."""
    senses, in_force = Thresholds(), set[str]()

    for at, what in log:
        senses.take(at, what)
        if isinstance(what, tuple):
            in_force = {rule.rule for rule in what}
        assert {one.rule for one in senses.firing} <= in_force

    fired = [one.id for one in senses.findings if one.state is FindingState.FIRING]
    assert len(fired) == len(set(fired))
