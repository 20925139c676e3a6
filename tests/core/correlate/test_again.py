# SPDX-License-Identifier: Apache-2.0

"""What was well and is ill again within the five minutes: the same trouble, or another's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.correlate.test_merging import GRAPHS, NAMES, T, feed, ill, names, topology, well

from opx.core.base.time import MINUTE, SECOND
from opx.core.correlate import stage
from opx.core.correlate.episode import Episode, Group
from opx.core.correlate.problems import Topology
from opx.core.correlate.stage import SenseState
from opx.core.detect import probes
from opx.core.detect.finding import Finding, FindingKind, FindingState
from opx.core.detect.probes import Failure

ALL = ("gateway", "orders", "payments", "store")


def restarts(state: SenseState) -> dict[str, Episode]:
    """Each service was ill for a second by itself, the last until 61; the episodes by service."""
    rows = {}
    for n, service in enumerate(ALL):
        one = ill(service, 20 * n)
        rows[service] = feed(state, one, well(one, 20 * n + 1)).episodes[-1]
    return rows


@pytest.mark.parametrize("told", [ALL, ALL[::-1]])
def test_one_trouble_after_restarts_is_one(told: tuple[str, ...]) -> None:
    """Callers first or the store first: the store's own episode goes on with all of them, and
    those of the callers end as what they were, when they were well."""
    state = SenseState()
    before = restarts(state)
    rows = {one.id: one for one in feed(state, *(ill(name, 100) for name in told)).episodes}
    [episode] = state.open_episodes()
    assert (episode.id, episode.symptoms) == (before["store"].id, 5)
    assert names(episode) == sorted(ALL)
    ended = {one.group.service: one for one in rows.values() if one.ended_at is not None}
    assert set(ended) == {"gateway", "orders", "payments"}
    for n, service in enumerate(ALL[:-1]):
        one = ended[service]
        assert (one.id, one.symptoms, names(one)) == (before[service].id, 1, [service])
        assert one.ended_at == T + (20 * n + 1) * SECOND


def test_a_relapse_by_itself_is_the_same_episode() -> None:
    """Nobody else is ill: it goes on, and counts both."""
    state = SenseState()
    before = restarts(state)
    [again] = feed(state, ill("payments", 100)).episodes
    assert (again.id, again.symptoms) == (before["payments"].id, 2)
    assert again.started_at == before["payments"].started_at


@pytest.mark.parametrize(("at", "shared"), [(100, True), (110, True), (111, False)])
def test_only_what_comes_together_is_one(at: int, shared: bool) -> None:
    """Who falls ill later than ten seconds after what it depends on may be ill by itself."""
    state = SenseState()
    before = restarts(state)
    feed(state, ill("store", 100))
    feed(state, ill("payments", at))
    payments = next(one for one in state.open_episodes() if "payments" in names(one))
    assert payments.id == before["store" if shared else "payments"].id


@pytest.mark.parametrize(("at", "shared"), [(65, False), (66, True)])
def test_who_was_hardly_well_is_not_taken_away(at: int, shared: bool) -> None:
    """For five seconds what comes is the same trouble again."""
    state = SenseState()
    store, payments = ill("store", 0), ill("payments", 60)
    feed(state, store, well(store, 1))
    [before] = feed(state, payments, well(payments, 61)).episodes
    feed(state, ill("store", at), ill("payments", at))
    assert len(state.open_episodes()) == (1 if shared else 2)
    kept = next(one for one in state.open_episodes() if "payments" in names(one))
    assert (kept.id == before.id) is not shared


def test_who_dies_by_itself_is_its_own_trouble() -> None:
    """Though the store falls ill in the same instant: a process that is gone suffers from none."""
    state = SenseState()
    before = restarts(state)
    dead = replace(
        ill("payments", 100), rule=probes.RULE, evidence={"failure": Failure.NOT_RUNNING}
    )
    feed(state, ill("store", 100), dead)
    assert {one.id: names(one) for one in state.open_episodes() if one.open_symptoms} == {
        before["store"].id: ["store"],
        before["payments"].id: ["payments"],
    }


def test_what_is_odd_still_is_no_illness() -> None:
    """orders suffered from payments; both are well, and of payments something odd is left. That
    orders falls ill by itself a minute later is no trouble of payments'."""
    state = SenseState()
    payments, orders = ill("payments", 0), ill("orders", 1)
    odd = replace(ill("payments", 2, FindingKind.EVIDENCE), id="odd", rule="odd")
    [before] = {row.id: row for row in feed(state, payments, orders, odd).episodes}.values()
    assert names(before) == ["orders", "payments"]
    feed(state, well(payments, 10), well(orders, 11))
    feed(state, ill("orders", 70))
    assert {one.id: names(one) for one in state.open_episodes() if one.open_symptoms} == {
        state.live[Group("shop", "orders")].episode.id: ["orders"]
    }
    assert names(state.live[Group("shop", "payments")].episode) == ["payments"]


def test_what_is_odd_is_ill_where_no_symptom_came() -> None:
    """A store of which only something odd is seen is what payments suffers from."""
    state = SenseState()
    odd = replace(ill("store", 0, FindingKind.EVIDENCE), rule="odd")
    rows = feed(state, odd, ill("payments", 60)).episodes
    assert [(row.group.service, names(row)) for row in rows] == [("store", ["payments", "store"])]


def test_an_episode_in_which_somebody_is_ill_is_not_over() -> None:
    """payments and orders were one trouble, and orders is still ill: payments stays there."""
    state = SenseState()
    payments = ill("payments", 0)
    feed(state, payments, ill("orders", 1))
    feed(state, well(payments, 2))
    feed(state, ill("store", 100), ill("payments", 100))
    assert sorted(names(one) for one in state.open_episodes()) == [
        ["orders", "payments"],
        ["store"],
    ]


# ---------------------------------------------------------------- whatever is restarted

Old = tuple[str, int, int, FindingKind]
New = tuple[str, int, FindingKind]
OLD = st.tuples(
    st.sampled_from(NAMES), st.integers(0, 100), st.integers(101, 240), st.sampled_from(FindingKind)
)
NEW = st.tuples(st.sampled_from(NAMES), st.integers(241, 300), st.sampled_from(FindingKind))


def rows_of(graph: Topology, told: Sequence[Sequence[Finding]], restart: bool) -> list[Episode]:
    """Each episode's last version after these steps, each time from the rows or not."""
    rows: dict[str, Episode] = {}
    open_now: dict[str, Finding] = {}
    state = SenseState()
    for findings in told:
        if restart:
            state = SenseState.load(rows.values(), open_now.values())
        for row in stage.step(state, findings, T, graph).episodes:
            assert row.version >= (rows[row.id].version + 1 if row.id in rows else 1)
            rows[row.id] = row
        for finding in findings:
            open_now.pop(finding.id, None)
            if finding.state is FindingState.FIRING:
                open_now[finding.id] = finding
        for group, live in state.live.items():
            assert group in live.parts
            assert live.root in live.parts
            assert (live.episode.id in state.quiet) is not live.open
    assert all(row.ended_at is not None for row in stage.tick(state, T + 60 * MINUTE))
    assert all(live.open for live in state.live.values())
    return sorted(rows.values(), key=lambda row: row.id)


@given(GRAPHS, st.lists(OLD, max_size=8), st.lists(NEW, max_size=8))
def test_a_restart_changes_nothing(
    graph: dict[str, list[str]], old: list[Old], new: list[New]
) -> None:
    """What was over and what is ill again, an instant at a time: after a restart between any two
    it is the same."""
    told = [(ill(name, begin, kind), end) for name, begin, end, kind in old]
    findings = [one for one, _ in told] + [well(one, end) for one, end in told]
    findings += [ill(name, at, kind) for name, at, kind in new]
    unique = {(one.id, one.state): one for one in findings}.values()
    instants: dict[int, list[Finding]] = {}
    for finding in sorted(unique, key=lambda one: one.at):
        instants.setdefault(finding.at, []).append(finding)
    steps = list(instants.values())
    plain = rows_of(topology(graph), steps, restart=False)
    assert rows_of(topology(graph), steps, restart=True) == plain
