# SPDX-License-Identifier: Apache-2.0

"""Laws of every detector by itself: cuts, restarts and repeats change no finding."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise, product
from typing import Any
from unittest.mock import patch

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.core.detect.ruled.kit import rule

from opx.core.base import canonical
from opx.core.base.reads import Answer, Probe, ProbeKind, ProbeRead
from opx.core.base.time import MINUTE, SECOND, Ms
from opx.core.detect import alerts, events, probes
from opx.core.detect.finding import ClearReason, Finding, FindingState
from opx.core.detect.metrics import packing, stream
from opx.core.detect.metrics.odd import Odd
from opx.core.detect.ruled import book
from opx.core.detect.ruled.book import Book
from opx.core.detect.rules import DetectionRule
from opx.core.ingest.services import Catalogue, Health, Service
from opx.core.ingest.signals import (
    Alert,
    Event,
    Identity,
    LogLevel,
    LogLine,
    MetricBatch,
    Series,
    Severity,
    Tick,
)

T: Ms = 1_767_225_600_000
STEPS = (0, 0, 1, SECOND, MINUTE, 3 * MINUTE, 5 * MINUTE, 15 * MINUTE)
CUTS = st.lists(st.integers(0, 40), max_size=10)
laws = settings(max_examples=300)
long_laws = settings(max_examples=150)


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


def drawn(draw: st.DrawFn, kinds: Sequence[Any]) -> list[Any]:
    """1 to 30 of them, each one choice of Hypothesis, whose choices are what costs time."""
    count = draw(st.integers(1, 30))
    return draw(st.lists(st.sampled_from(kinds), min_size=count, max_size=count))


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


def alert(name: str, at: Ms, life: Ms, since: Ms = SECOND, timeout: bool = False) -> Alert:
    return Alert(
        fingerprint=name,
        identity=Identity("prod", "orders"),
        severity=Severity.SEV3,
        labels={"alertname": name},
        starts_at=at - since,
        ends_at=at + life,
        received_at=at,
        timeout=timeout,
    )


LIVES = (5 * MINUTE, 5 * MINUTE, MINUTE, 1, 0, 0)
ALERTS = tuple(product(STEPS, "abc", LIVES, (SECOND, MINUTE), (False, True), (0, 0, 0, 1)))
"""What may come next: how much later, of whom, how long it lives, since when, whether its end was
filled in, or but a tick."""


@st.composite
def alert_logs(draw: st.DrawFn) -> list[Alert | Tick]:
    """Three alerts that fire for a while, are resolved, and tick by, often at one instant."""
    items: list[Alert | Tick] = []
    at = T
    for later, name, life, since, timeout, ticks in drawn(draw, ALERTS):
        at += later
        items.append(Tick(at) if ticks else alert(name, at, life, since, timeout))
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


STOPPED = rule(
    "event",
    {
        "type": "stopped",
        "when": ["event.subject == 'i-1'"],
        "clears": {"type": "started"},
        "expires": "3m",
    },
)


@dataclass
class Events(Kept):
    state: events.EventState = field(default_factory=events.EventState)
    journal: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        events.bind(self.state, [STOPPED], T)

    def take(self, items: Sequence[Event | Tick]) -> None:
        happened = [one for one in items if isinstance(one, Event)]
        self.journal += happened
        found = events.step(self.state, happened, now_of(items))
        self.keep(found, events.refreshed(self.state))

    def restart(self) -> None:
        newest = self.journal[-1].received_at if self.journal else 0
        since = newest - events.REMEMBERED
        late = [one for one in self.journal if one.received_at > since]
        self.state = events.EventState.load(self.firing, late, stored(events.save(self.state)))
        assert events.bind(self.state, [STOPPED], T) == []


EVENTS = tuple(
    product(
        STEPS,
        "1234",
        ("/a", "/b"),
        ("stopped", "stopped", "started"),
        ("i-1", "i-2"),
        ("orders", ""),
        (Severity.SEV2, Severity.SEV2, Severity.SEV4, None),
        (0, 0, 0, 1),
    )
)
"""What may come next: how much later, what the event is, or but a tick."""


@st.composite
def event_logs(draw: st.DrawFn) -> list[Event | Tick]:
    """Few ids, so that redeliveries are as usual as events; some without a severity, some that a
    rule is about, some that clear what it found."""
    items: list[Event | Tick] = []
    at = T
    for later, name, source, kind, subject, service, severity, ticks in drawn(draw, EVENTS):
        at += later
        one = Event(
            id=name,
            source=source,
            type=kind,
            subject=subject,
            identity=Identity("prod", service),
            severity=severity,
            at=at,
            received_at=at,
        )
        items.append(Tick(at) if ticks else one)
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


# ---------------------------------------------------------------- rules over what flows

SERIES = {
    sid: Series(
        sid=sid,
        metric="m",
        labels={"n": str(sid)},
        identity=Identity("prod", ("orders", "store", "users")[sid % 3]),
    )
    for sid in range(12)
}
VERSIONS = [
    rule("threshold", {"metric": "m", "stat": stat, "window": "10s", **limit}, name, for_=hold)
    for name, stat, limit, hold in (
        ("high", "avg", {"above": 2}, "0ms"),
        ("high", "avg", {"above": 3}, "0ms"),
        ("few", "count", {"below": 1}, "0ms"),
        ("few", "count", {"below": 2}, "20s"),
        ("low", "max", {"below": 2}, "0ms"),
        ("slow", "p95", {"above": 2}, "0ms"),
        ("grows", "rate", {"above": 0.2}, "10s"),
    )
]
VERSIONS += [
    rule(
        "ratio",
        {
            "part": {"metric": "m", "labels": {"n": part}},
            "whole": {"metric": "m"},
            "window": "10s",
            "above": 0.3,
            "atLeast": 1,
        },
        "share",
    )
    for part in ("0", "1")
]
VERSIONS += [rule("absence", {"metric": "m", "after": f"{n}s"}, "gone") for n in (3, 7)]
VERSIONS += [
    rule("logs", {"level": "warn", "window": "2s", "above": 1, "atLeast": n}, "noise")
    for n in (1, 2)
]
RULES = st.lists(st.sampled_from(VERSIONS), max_size=5, unique_by=lambda one: one.rule).map(tuple)
Points = list[tuple[int, int, int]]
"""Each with a sid, how many seconds ago it is of, a value."""


@dataclass(frozen=True)
class Commit:
    """What one commit of the log brought."""

    points: Points = field(default_factory=list)
    lines: list[tuple[int, int]] = field(default_factory=list)
    """Each with who wrote it (a sid) and how many seconds ago."""


Told = tuple[Ms, Commit | tuple[DetectionRule, ...]]
POINTS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 30), st.integers(0, 4)), max_size=6)
LINES = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 20)), max_size=4)


@st.composite
def logs(draw: st.DrawFn) -> list[Told]:
    """Stretches in which some series come every second or two and lines are written, stretches
    in which nothing does, points that are late, silences, and rules that change in between."""
    log: list[Told] = [(T, draw(RULES))]
    at = T
    for _ in range(draw(st.integers(1, 6))):
        kind = draw(st.sampled_from(["steady", "steady", "ticks", "odd", "rules"]))
        if kind == "rules":
            log.append((at, draw(RULES)))
        elif kind == "odd":
            at += draw(st.sampled_from([0, 1, SECOND, 10 * SECOND, 16 * MINUTE]))
            log.append((at, Commit(draw(POINTS), draw(LINES))))
        else:
            here = draw(st.integers(1, 12)) if kind == "steady" else 0
            value, every = draw(st.integers(0, 4)), draw(st.integers(1, 2))
            loud = draw(st.integers(0, 2)) if here else 0
            for second in range(draw(st.integers(5, 40))):
                at += SECOND
                turn = range(here if second % every == 0 else 0)
                points = [(sid, 0, (value + second * (sid % 2)) % 5) for sid in turn]
                log.append((at, Commit(points, [(0, 0)] * loud)))
    return log


@dataclass
class Ruled(Kept):
    """The book and its log, as the sense beat drives it."""

    state: Book = field(default_factory=Book)
    log: list[tuple[Ms, Commit]] = field(default_factory=list)
    saved: Any = field(default_factory=dict)
    saved_at: int = 0

    def take(self, at: Ms, what: Commit | tuple[DetectionRule, ...]) -> None:
        if isinstance(what, tuple):
            if not book.in_force(self.state, what):
                self.keep(book.bind(self.state, what, at))
                self.save()
            return
        self.log.append((at, what))
        self.keep(self._step(at, what), book.refreshed(self.state))

    def save(self) -> None:
        self.saved, self.saved_at = stored(book.save(self.state)), len(self.log)

    def restart(self) -> list[Finding]:
        """What the replay of the log since the last save found: known already."""
        self.state = book.load(self.saved)
        again = [one for entry in self.log[self.saved_at :] for one in self._step(*entry)]
        book.missed(self.state, self.firing)
        return again

    def _step(self, at: Ms, brought: Commit) -> list[Finding]:
        points = brought.points
        batch = MetricBatch(
            sid=np.array([sid for sid, _, _ in points], np.int32),
            at=np.array([at - ago * SECOND for _, ago, _ in points], np.int64),
            value=np.array([value for _, _, value in points], np.float64),
        )
        lines = [
            LogLine(
                identity=SERIES[who].identity,
                at=at - ago * SECOND,
                received_at=at,
                level=LogLevel.ERROR,
                message="no",
            )
            for who, ago in brought.lines
        ]
        return book.step(self.state, SERIES, batch if points else None, lines, at)


@long_laws
@given(log=logs(), saves=st.sets(st.integers(0, 150)), restarts=st.sets(st.integers(0, 150)))
def test_a_restart_of_the_book_changes_nothing(
    log: list[Told], saves: set[int], restarts: set[int]
) -> None:
    """Wherever it was last saved, and whichever rules were changed before, after or while it
    was down: no finding is lost, none is new, and what the replay finds again was known."""
    steady, restarted = Ruled(), Ruled()

    for number, (at, what) in enumerate(log):
        if number in saves:
            restarted.save()
        if number in restarts:
            known = {one.id for one in restarted.findings}
            assert all(one.id in known for one in restarted.restart())
            assert restarted.state.strays == []
        steady.take(at, what)
        restarted.take(at, what)

    assert restarted.findings == steady.findings
    assert restarted.rows == steady.rows
    assert stored(book.save(restarted.state)) == stored(book.save(steady.state))


@long_laws
@given(log=logs(), cuts=st.data())
def test_it_does_not_matter_how_what_came_at_one_time_was_cut(
    log: list[Told], cuts: st.DataObject
) -> None:
    """As one commit, or as several of the same instant: the same edges, the same state."""
    whole, cut_up = Ruled(), Ruled()

    for at, what in log:
        whole.take(at, what)
        if isinstance(what, tuple):
            cut_up.take(at, what)
            continue
        middle = cuts.draw(st.integers(0, len(what.points))) if what.points else 0
        cut_up.take(at, Commit(what.points[:middle]))
        cut_up.take(at, Commit(what.points[middle:]))
        for one in what.lines:
            cut_up.take(at, Commit(lines=[one]))

    assert cut_up.findings == whole.findings
    assert stored(book.save(cut_up.state)) == stored(book.save(whole.state))


COUNTING = ("threshold/few", "logs/noise")


@long_laws
@given(log=logs())
def test_points_that_are_delivered_again_at_once_change_no_finding(log: list[Told]) -> None:
    """A counter has not grown, a series has not come twice, and an average, an extreme and a
    percentile are what they were. Only what counts points or lines counts them."""
    once, often = Ruled(), Ruled()

    for at, what in log:
        told = what
        if isinstance(what, tuple):
            told = tuple(one for one in what if one.rule not in COUNTING)
        once.take(at, told)
        often.take(at, told)
        if isinstance(what, Commit):
            often.take(at, Commit(what.points))

    assert [(one.id, one.state, one.at) for one in often.findings] == [
        (one.id, one.state, one.at) for one in once.findings
    ]


@long_laws
@given(log=logs())
def test_only_rules_in_force_have_open_findings_and_no_two_share_an_id(log: list[Told]) -> None:
    """A changed or removed rule leaves nothing open behind; each firing is its own finding, and
    each is over once at most."""
    senses, in_force = Ruled(), set[str]()

    for at, what in log:
        senses.take(at, what)
        if isinstance(what, tuple):
            in_force = {rule.rule for rule in what}
        assert {one.rule for one in senses.firing} <= in_force | {"observer"}

    for state in FindingState:
        ids = [one.id for one in senses.findings if one.state is state]
        assert len(ids) == len(set(ids))


def test_the_laws_are_about_something() -> None:
    """A log of the kind above in which every block and the observer find something."""
    senses = Ruled()
    senses.take(T, (VERSIONS[0], VERSIONS[8], VERSIONS[9], VERSIONS[11]))
    for second in range(1, 150):
        here = range(12 if second < 60 or second > 90 else 0)
        if second > 110:
            here = range(1, 12)
        points = [(sid, 0, second * (1 + sid % 2) % 90) for sid in here]
        lines = [(0, 0)] * (9 if second == 50 else 1 if second < 60 else 0)
        senses.take(T + second * SECOND, Commit(points, lines))

    found = {one.rule for one in senses.findings}
    assert found == {"threshold/high", "ratio/share", "absence/gone", "logs/noise", "observer"}


# ---------------------------------------------------------------- what is odd about metrics

Block = tuple[int, bool]
"""A sid, and whether its eight points, a second apart, are at twice the usual level."""
Came = tuple[Ms, list[Block], bool]
"""When, which blocks, and whether the clock ticked in it."""
odd_laws = settings(max_examples=60)
PIECES = st.sampled_from([20, stream.PIECE])
ALIKE = st.sampled_from([3, packing.MOST_ALIKE])


@cache
def warm() -> Any:
    """The saved state that has seen 1,000 points of each of three streams about 100."""
    rng, odd = np.random.default_rng(3), Odd()
    sid = np.tile(np.arange(3, dtype=np.int32), 1_000)
    at = T - 2_000 * SECOND + np.arange(1_000).repeat(3) * SECOND
    odd.take(MetricBatch(sid=sid, at=at, value=rng.uniform(95, 105, 3_000)), SERIES, T)
    assert odd.tick(SERIES, T) == []
    return stored(odd.save())


@st.composite
def odd_logs(draw: st.DrawFn) -> list[Came]:
    log: list[Came] = []
    at = T
    for _ in range(draw(st.integers(1, 20))):
        at += draw(st.sampled_from([8 * SECOND, 8 * SECOND, MINUTE, 5 * MINUTE, 16 * MINUTE]))
        sids = draw(st.lists(st.integers(0, 2), unique=True, max_size=3))
        blocks = [(sid, draw(st.sampled_from([True, True, False]))) for sid in sids]
        log.append((at, blocks, draw(st.booleans())))
    return log


@dataclass
class Odds(Kept):
    """The metric detector and its log, as the sense beat drives it."""

    state: Odd = field(default_factory=lambda: Odd.load(warm()))
    log: list[tuple[MetricBatch, bool, Ms]] = field(default_factory=list)
    saved: Any = field(default_factory=warm)
    saved_at: int = 0

    def take(self, points: MetricBatch, ticked: bool, at: Ms) -> None:
        self.log.append((points, ticked, at))
        self.keep(self._step(points, ticked, at), self.state.departures.refreshed())

    def save(self) -> None:
        self.saved, self.saved_at = stored(self.state.save()), len(self.log)

    def restart(self) -> None:
        self.state = Odd.load(self.saved)
        known = {one.id for one in self.findings}
        for entry in self.log[self.saved_at :]:
            assert {one.id for one in self._step(*entry)} <= known

    def _step(self, points: MetricBatch, ticked: bool, at: Ms) -> list[Finding]:
        edges = self.state.take(points, SERIES, at) if len(points) else []
        return edges + (self.state.tick(SERIES, at) if ticked else [])


def blocks(came: Came) -> MetricBatch:
    at, whole, _ = came
    back = np.tile(np.arange(7, -1, -1), len(whole))
    return MetricBatch(
        sid=np.array([sid for sid, _ in whole], np.int32).repeat(8),
        at=at - back * SECOND,
        value=np.array([200.0 if high else 100.0 for _, high in whole]).repeat(8) + back,
    )


def picked(points: MetricBatch, some: Any) -> MetricBatch:
    return MetricBatch(sid=points.sid[some], at=points.at[some], value=points.value[some])


@odd_laws
@given(log=odd_logs(), cuts=st.lists(st.integers(0, 24), max_size=5), piece=PIECES, alike=ALIKE)
def test_metric_points_of_one_time_cut_in_any_way_give_the_same_findings(
    log: list[Came], cuts: list[int], piece: int, alike: int
) -> None:
    """As one commit, or as several of the same instant: the same edges, the same rows, the same
    state, whether or not so many come that they cannot wait, or that some have to."""
    whole, cut_up = Odds(), Odds()

    with patch.object(stream, "PIECE", piece), patch.object(packing, "MOST_ALIKE", alike):
        for came in log:
            points, at, ticked = blocks(came), came[0], came[2]
            whole.take(points, ticked, at)
            for some in cut(range(len(points)), cuts):
                cut_up.take(picked(points, np.array(some)), False, at)
            cut_up.take(picked(points, slice(0)), ticked, at)

    assert cut_up.findings == whole.findings
    assert cut_up.rows == whole.rows
    assert stored(cut_up.state.save()) == stored(whole.state.save())


@odd_laws
@given(
    log=odd_logs(),
    saves=st.sets(st.integers(0, 20)),
    restarts=st.sets(st.integers(0, 20)),
    piece=PIECES,
    alike=ALIKE,
)
def test_a_restart_of_the_metrics_changes_nothing(
    log: list[Came], saves: set[int], restarts: set[int], piece: int, alike: int
) -> None:
    """After any commit, wherever they were last saved: the same edges, rows and state, and what
    the replay finds again was known."""
    steady, restarted = Odds(), Odds()

    with patch.object(stream, "PIECE", piece), patch.object(packing, "MOST_ALIKE", alike):
        for number, came in enumerate(log):
            if number in saves:
                restarted.save()
            if number in restarts:
                restarted.restart()
            for one in (steady, restarted):
                one.take(blocks(came), came[2], came[0])

    assert restarted.findings == steady.findings
    assert restarted.rows == steady.rows
    assert stored(restarted.state.save()) == stored(steady.state.save())


@odd_laws
@given(log=odd_logs(), times=st.integers(2, 4))
def test_metric_points_that_are_delivered_again_at_once_change_no_finding(
    log: list[Came], times: int
) -> None:
    """Each point once, or up to four times in a row."""
    once, often = Odds(), Odds()

    for came in log:
        points = blocks(came)
        once.take(points, came[2], came[0])
        often.take(picked(points, np.arange(len(points)).repeat(times)), came[2], came[0])

    assert often.findings == once.findings
    assert often.rows == once.rows


def test_the_laws_of_the_metrics_are_about_something() -> None:
    """A stream that leaves and comes back, one that leaves and is silent, one that stays."""
    odd, at = Odds(), T
    for number in range(150):
        at += 8 * SECOND
        here = [(0, number < 3), (1, False), *([(2, True)] if number < 3 else [])]
        odd.take(blocks((at, here, True)), True, at)

    edges = [(one.stream, one.state, one.cleared) for one in odd.findings]
    assert edges == [
        ("m{n=0}", FindingState.FIRING, None),
        ("m{n=2}", FindingState.FIRING, None),
        ("m{n=0}", FindingState.CLEARED, ClearReason.RESOLVED),
        ("m{n=2}", FindingState.CLEARED, ClearReason.EXPIRED),
    ]
