# SPDX-License-Identifier: Apache-2.0

"""What was well and is ill again within the five minutes: the same trouble, or another's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.correlate.test_merging import (
    GRAPHS,
    NAMES,
    SHOP,
    T,
    feed,
    ill,
    names,
    topology,
    well,
)

from opx.core.base.time import MINUTE, SECOND
from opx.core.correlate import stage
from opx.core.correlate.episode import Episode, Group, Ruling
from opx.core.correlate.problems import Topology
from opx.core.correlate.stage import SenseState
from opx.core.detect import probes
from opx.core.detect.finding import Finding, FindingKind, FindingState
from opx.core.detect.probes import Failure

ALL = ("gateway", "orders", "payments", "store")


def dead(service: str, at: int) -> Finding:
    """Its process is gone."""
    return replace(
        ill(service, at),
        id=Finding.id_of(probes.RULE, service, T + at * SECOND),
        rule=probes.RULE,
        evidence={"failure": Failure.NOT_RUNNING},
    )


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
    feed(state, ill("store", 100), dead("payments", 100))
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


def test_the_stores_trouble_is_not_over_because_a_caller_of_two_falls_ill() -> None:
    """payments suffered from the store; later it falls ill together with the ledger. That is the
    ledger's; the store's own, in which it was, goes on without it."""
    graph = topology({"payments": ("store", "ledger")})
    state = SenseState()
    first = [ill("store", 0), ill("payments", 1)]
    stage.step(state, first, T, graph)
    [before] = stage.step(state, [well(one, 9) for one in first], T, graph).episodes
    stage.step(state, [ill("ledger", 20), ill("payments", 20)], T, graph)
    assert names(state.live[Group("shop", "payments")].episode) == ["ledger", "payments"]
    [again] = stage.step(state, [ill("store", 30)], T, graph).episodes
    assert (again.id, names(again)) == (before.id, ["store"])


def test_who_suffered_and_dies_is_in_one_episode_alone() -> None:
    """The store is well again, its callers not yet, and one of them dies: its own trouble, with
    what it had; the store's is over when the other caller is well."""
    state = SenseState()
    store, payments, orders = ill("store", 0), ill("payments", 1), ill("orders", 1)
    feed(state, store, payments, orders)
    feed(state, well(store, 10))
    gone = dead("payments", 12)
    feed(state, gone)
    places = [names(one) for one in state.open_episodes()]
    assert sorted(name for place in places for name in place) == ["orders", "payments", "store"]
    feed(state, *(well(one, 20) for one in (payments, orders, gone)))
    assert len(stage.tick(state, T + 10 * MINUTE)) == len(places)
    assert not state.live


def test_what_cleared_while_an_episode_was_over_is_over() -> None:
    """A person resolved it while it fired. It cleared, and then another was merged into it: the
    two end when the other is well, also after a restart in between."""
    for restart in (False, True):
        state = SenseState()
        one, other = ill("payments", 0), ill("worker", 40)
        [before] = feed(state, one).episodes
        rule = Ruling(id=before.id, into="", symptoms=1, at=T + 10 * SECOND)
        [ended] = stage.step(state, [], T, SHOP, [rule]).episodes
        feed(state, well(one, 20))
        [apart] = feed(state, other).episodes
        if restart:
            state = SenseState.load([ended, apart], [other])
        into = Ruling(id=apart.id, into=before.id, symptoms=1, at=T + 50 * SECOND)
        stage.step(state, [], T, SHOP, [into])
        feed(state, well(other, 60))
        [over] = stage.tick(state, T + 10 * MINUTE)
        assert (over.id, over.symptoms) == (before.id, 2)


def test_what_still_fires_when_an_episode_goes_on_fires_after_a_restart() -> None:
    """A person resolved it while it fires: once it goes on, it does so until that is over."""
    one, other = ill("payments", 0), ill("worker", 40)
    state = SenseState()
    [before] = feed(state, one).episodes
    rule = Ruling(id=before.id, into="", symptoms=1, at=T + 10 * SECOND)
    [ended] = stage.step(state, [], T, SHOP, [rule]).episodes
    [apart] = feed(state, other).episodes
    state = SenseState.load([ended, apart], [one, other])
    into = Ruling(id=apart.id, into=before.id, symptoms=1, at=T + 50 * SECOND)
    goes_on = stage.step(state, [well(other, 60)], T, SHOP, [into]).episodes[-1]
    assert (goes_on.id, goes_on.open_symptoms) == (before.id, 1)
    assert stage.tick(state, T + 10 * MINUTE) == []


# ---------------------------------------------------------------- whatever comes

CAME = st.tuples(
    st.sampled_from(NAMES),
    st.integers(0, 300),
    st.integers(1, 200),
    st.sampled_from([*FindingKind, None]),
)
Came = tuple[str, int, int, FindingKind | None]


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
        lives = {live.episode.id: live for live in state.live.values()}.values()
        for live in lives:
            assert live.root in live.parts
            assert (live.episode.id in state.quiet) is not live.open
        assert sorted(str(one) for live in lives for one in live.parts) == sorted(
            map(str, state.live)
        )
    for row in stage.tick(state, T + 60 * MINUTE):
        rows[row.id] = row
    assert not state.live
    assert all(row.ended_at is not None for row in rows.values())
    return sorted(rows.values(), key=lambda row: row.id)


@given(GRAPHS, st.lists(CAME, max_size=12))
def test_whatever_comes_everything_ends(graph: dict[str, list[str]], came: list[Came]) -> None:
    """Symptoms, evidence and deaths that all clear: a group is in one episode, with its root, and
    at last each has ended."""
    rows_of(topology(graph), steps(came), restart=False)


@given(GRAPHS, st.lists(CAME, max_size=12))
def test_a_restart_loses_nobody(graph: dict[str, list[str]], came: list[Came]) -> None:
    """Likewise when brain begins anew between any two steps."""
    rows_of(topology(graph), steps(came), restart=True)


def steps(came: list[Came]) -> list[list[Finding]]:
    """An instant at a time, what begins and what is over."""
    instants: dict[int, dict[tuple[str, str], Finding]] = {}
    for name, at, lasts, kind in came:
        one = dead(name, at) if kind is None else ill(name, at, kind)
        for finding in (one, well(one, at + lasts)):
            instants.setdefault(finding.at, {}).setdefault((finding.id, finding.state), finding)
    return [list(instants[at].values()) for at in sorted(instants)]
