# SPDX-License-Identifier: Apache-2.0

"""What was well and is ill again within the five minutes: it belongs where its new trouble does."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from random import Random

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from tests.core.correlate.test_merging import GRAPHS, NAMES, T, feed, ill, names, topology, well

from opx.core.base.time import MINUTE, SECOND, Ms
from opx.core.correlate import problems, stage
from opx.core.correlate.episode import Episode, Group, Ruling
from opx.core.correlate.problems import Topology
from opx.core.correlate.stage import SenseState
from opx.core.detect import probes
from opx.core.detect.finding import Finding, FindingKind, FindingState
from opx.core.detect.probes import Failure

ALL = ("gateway", "orders", "payments", "store")


def restarts(state: SenseState) -> dict[str, Episode]:
    """Each service was ill for a second by itself; the episodes by service."""
    rows = {}
    for n, service in enumerate(ALL):
        one = ill(service, 20 * n)
        rows[service] = feed(state, one, well(one, 20 * n + 1)).episodes[-1]
    return rows


def test_one_trouble_after_restarts_is_one() -> None:
    """Callers first or the store first: the store's own episode goes on with all of them, and
    those of the callers end as what they were."""
    for told in (ALL, ALL[::-1]):
        state = SenseState()
        before = restarts(state)
        rows = {}
        for service in told:
            rows |= {one.id: one for one in feed(state, ill(service, 100)).episodes}
        [episode] = state.open_episodes()
        assert (episode.id, episode.symptoms) == (before["store"].id, 5)
        assert names(episode) == sorted(ALL)
        ended = {one.group.service: one for one in rows.values() if one.ended_at is not None}
        assert set(ended) <= {"gateway", "orders", "payments"}
        for service, one in ended.items():
            assert (one.id, one.symptoms, names(one)) == (before[service].id, 1, [service])
            assert one.ended_at == T + 100 * SECOND


def test_a_relapse_by_itself_is_the_same_episode() -> None:
    """Nobody else is ill: it goes on, and counts both."""
    state = SenseState()
    before = restarts(state)
    [again] = feed(state, ill("payments", 100)).episodes
    assert (again.id, again.symptoms, again.started_at) == (
        before["payments"].id,
        2,
        before["payments"].started_at,
    )


def test_who_still_suffers_and_dies_by_itself_is_a_trouble_of_its_own() -> None:
    """The store is well again, payments's numbers are not yet, and its process dies: that is not
    the store's trouble, whose episode goes on without it."""
    state = SenseState()
    store, slow = ill("store", 0), ill("payments", 1)
    feed(state, store, slow)
    feed(state, well(store, 10))
    dead = replace(
        ill("payments", 12),
        rule=probes.RULE,
        id=Finding.id_of(probes.RULE, "payments", T + 12 * SECOND),
        evidence={"failure": Failure.NOT_RUNNING},
    )
    rows = {one.group.service: one for one in feed(state, dead).episodes}
    assert names(rows["payments"]) == ["payments"]
    assert rows["payments"].open_symptoms == 2
    assert names(rows["store"]) == ["store"]
    assert rows["store"].open_symptoms == 0


def test_what_people_put_together_stays_together() -> None:
    """worker was merged into payments' trouble, which goes on, and falls ill again there."""
    state = SenseState()
    worker = ill("worker", 1)
    payments, apart = feed(state, ill("payments", 0), worker).episodes
    rule = Ruling(id=apart.id, into=payments.id, symptoms=1, at=T + 2 * SECOND)
    stage.step(state, [well(worker, 3)], T, topology({}), [rule])
    feed(state, ill("worker", 60))
    [episode] = state.open_episodes()
    assert (episode.id, episode.symptoms) == (payments.id, 3)


def test_an_older_row_goes_on() -> None:
    """It says nothing of a past."""
    [row] = feed(SenseState(), ill("store", 0)).episodes
    plain = json.loads(msgspec.json.encode(row))
    del plain["past"], plain["again"]
    assert msgspec.convert(plain, Episode) == row


# ---------------------------------------------------------------- in any order

OLD = st.tuples(
    st.sampled_from(NAMES), st.integers(0, 100), st.integers(101, 240), st.sampled_from(FindingKind)
)
NEW = st.tuples(st.sampled_from(NAMES), st.integers(241, 300), st.sampled_from(FindingKind))


def rows_of(graph: Topology, told: Sequence[Finding], restart: bool) -> dict[str, Episode]:
    """Each episode's last version after these, one at a time, each time from the rows or not."""
    rows: dict[str, Episode] = {}
    open_now: dict[str, Finding] = {}
    state = SenseState()
    for finding in told:
        if restart:
            state = SenseState.load(rows.values(), open_now.values())
        for row in stage.step(state, [finding], T, graph).episodes:
            assert row.version == (rows[row.id].version + 1 if row.id in rows else 1)
            rows[row.id] = row
        open_now.pop(finding.id, None)
        if finding.state is FindingState.FIRING:
            open_now[finding.id] = finding
        for group, live in state.live.items():
            assert group in live.parts
            assert live.root in live.parts
            assert (live.episode.id in state.quiet) is not live.open
    later = T + 60 * MINUTE
    assert all(row.ended_at is not None for row in stage.tick(state, later))
    assert all(live.open for live in state.live.values())
    return rows


def now_ill(rows: dict[str, Episode]) -> set[frozenset[Group]]:
    """The groups that are ill together, whose trouble is."""
    live = (row for row in rows.values() if row.ended_at is None)
    return {
        those
        for row in live
        if (those := frozenset(one.group for one in row.members if one.well is None))
    }


@given(
    GRAPHS,
    st.lists(OLD, max_size=6),
    st.lists(NEW, min_size=1, max_size=7),
    st.randoms(use_true_random=False),
)
def test_what_is_over_does_not_say_who_is_ill_together(
    depends: dict[str, list[str]],
    old: list[tuple[str, Ms, Ms, FindingKind]],
    new: list[tuple[str, Ms, FindingKind]],
    random: Random,
) -> None:
    """After any troubles that are over, new ones are divided by when they began themselves, in
    any order and with a restart after each; every finding is counted once."""
    graph = topology({one: [o for o in on if o != one] for one, on in depends.items()})
    over = [
        (ill(name, at, kind), until)
        for name, at, until, kind in {(n, a): (n, a, u, k) for n, a, u, k in old}.values()
    ]
    edges = [*(one for one, _ in over), *(well(one, until) for one, until in over)]
    edges.sort(key=lambda one: one.at)
    begun = [
        ill(name, at, kind) for name, at, kind in {(n, a): (n, a, k) for n, a, k in new}.values()
    ]

    since: dict[Group, Ms] = {}
    for finding in begun:
        group = stage.group_of(finding)
        since[group] = min(finding.at, since.get(group, finding.at))
    root = problems.roots(since, graph.below)
    expected = {frozenset(g for g in root if root[g] == one) for one in set(root.values())}

    shuffled = random.sample(begun, len(begun))
    rows = rows_of(graph, [*edges, *shuffled], restart=False)
    assert now_ill(rows) == expected
    assert now_ill(rows_of(graph, [*edges, *begun], restart=False)) == expected
    assert rows_of(graph, [*edges, *shuffled], restart=True) == rows
    counted = sum(r.symptoms + r.evidence for r in rows.values() if r.merged_into is None)
    assert counted == len(over) + len(begun)
