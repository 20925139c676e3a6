# SPDX-License-Identifier: Apache-2.0

"""Episodes that span services: what suffers joins its cause, and a bridge makes two one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from opx.core.base.time import MINUTE, SECOND, Ms
from opx.core.correlate import problems, stage
from opx.core.correlate.episode import Episode, Group, Ruling, Suppressed
from opx.core.correlate.problems import Topology
from opx.core.correlate.stage import Correlated, SenseState
from opx.core.detect.finding import ClearReason, Finding, FindingKind, FindingState
from opx.core.ingest.services import Catalogue, Service
from opx.core.ingest.signals import Identity, Severity

T: Ms = 1_767_225_600_000


def topology(depends: Mapping[str, Sequence[str]]) -> Topology:
    services = [
        Service(name=name, environment="shop", depends_on=tuple(on)) for name, on in depends.items()
    ]
    return Topology.of(Catalogue(services={("shop", one.name): one for one in services}))


SHOP = topology(
    {
        "gateway": ("orders", "worker"),
        "orders": ("payments",),
        "payments": ("store",),
        "worker": ("store",),
        "store": (),
    }
)


def ill(service: str, at: Ms, kind: FindingKind = FindingKind.SYMPTOM) -> Finding:
    """``service`` falls ill ``at`` seconds after ``T``."""
    return Finding(
        id=Finding.id_of("r", service, T + at * SECOND),
        rule="r",
        stream=service,
        identity=Identity("shop", service),
        kind=kind,
        state=FindingState.FIRING,
        severity=Severity.SEV2,
        since=T + at * SECOND,
        at=T + at * SECOND,
    )


def well(finding: Finding, at: Ms) -> Finding:
    return finding.clear(ClearReason.RESOLVED, T + at * SECOND, {})


def feed(state: SenseState, *findings: Finding) -> Correlated:
    return stage.step(state, findings, T, SHOP)


def names(episode: Episode) -> list[str]:
    return [group.service for group in episode.groups]


def test_a_caller_joins_the_trouble_it_suffers_from() -> None:
    """A slow store takes payments and orders along: one episode, which comes from the store."""
    [episode] = feed(SenseState(), ill("store", 0), ill("payments", 1), ill("orders", 2)).episodes
    assert names(episode) == ["orders", "payments", "store"]
    assert (episode.group.service, episode.symptoms) == ("store", 3)


def test_the_cause_found_last_is_still_the_root() -> None:
    """Found from the top down it is the same episode; its root moves as deeper ones fall ill."""
    state = SenseState()
    first = feed(state, ill("orders", 0)).episodes[-1]
    second = feed(state, ill("payments", 1)).episodes[-1]
    third = feed(state, ill("store", 2)).episodes[-1]
    assert first.id == second.id == third.id
    assert [one.group.service for one in (first, second, third)] == ["orders", "payments", "store"]
    assert names(third) == ["orders", "payments", "store"]


def test_a_bridge_merges_two_and_the_older_goes_on() -> None:
    """gateway and payments are two until orders connects them; the counts add up."""
    state = SenseState()
    one, two = feed(state, ill("gateway", 0), ill("payments", 5)).episodes
    merged, kept = feed(state, ill("orders", 9)).episodes
    assert (merged.id, merged.merged_into) == (two.id, one.id)
    assert merged.ended_at == T + 9 * SECOND
    assert (kept.id, kept.group.service, kept.symptoms) == (one.id, "payments", 3)
    assert names(kept) == ["gateway", "orders", "payments"]
    assert state.open_episodes() == [kept]


def test_what_people_know_of_goes_on() -> None:
    """Mere evidence that is older than a symptom becomes part of the symptom's episode."""
    state = SenseState()
    odd, known = feed(state, ill("gateway", 0, FindingKind.EVIDENCE), ill("payments", 5)).episodes
    merged, kept = feed(state, ill("orders", 9)).episodes
    assert (merged.id, kept.id) == (odd.id, known.id)


def test_findings_of_one_step_are_told_with_the_episode_that_goes_on() -> None:
    """None is left with an episode that ended in the same step."""
    out = feed(SenseState(), ill("gateway", 0), ill("payments", 5), ill("orders", 9))
    merged, kept = out.episodes
    assert merged.merged_into == kept.id
    assert out.members.keys() == {kept.id}
    assert len(out.members[kept.id]) == 3


def test_a_common_caller_leaves_two_troubles_two() -> None:
    """payments and worker stay two episodes although gateway suffers from both: it is part of
    the older, as soon as orders says that it feels that one."""
    state = SenseState()
    feed(state, ill("payments", 0), ill("worker", 1), ill("gateway", 2), ill("orders", 3))
    live = {one.group.service: names(one) for one in state.open_episodes()}
    assert live == {"payments": ["gateway", "orders", "payments"], "worker": ["worker"]}


def test_it_ends_when_all_of_it_is_well() -> None:
    """Five minutes after the last of its services; the next trouble of any names it."""
    state = SenseState()
    store, payments = ill("store", 0), ill("payments", 1)
    feed(state, store, payments, well(store, 10))
    assert stage.tick(state, T + 6 * MINUTE) == []
    feed(state, well(payments, 60))
    [ended] = stage.tick(state, T + 6 * MINUTE)
    assert ended.ended_at == T + 6 * MINUTE
    [later] = feed(state, ill("payments", 3_000)).episodes
    assert later.previous == ended.id


def test_a_trouble_that_is_over_connects_nothing() -> None:
    """Ten minutes after orders was well, gateway is a trouble of its own, although no tick has
    ended the other; the tick that does is not of ten minutes, but of when it was over."""
    state = SenseState()
    orders = ill("orders", 0)
    feed(state, orders, well(orders, 1))
    [begun] = feed(state, ill("gateway", 600)).episodes
    assert names(begun) == ["gateway"]
    [ended] = stage.tick(state, T + 10 * MINUTE)
    assert (names(ended), ended.ended_at) == (["orders"], T + SECOND + 5 * MINUTE)


def test_a_restart_goes_on_from_the_rows() -> None:
    """Members, root and since come back: what comes next is the same as without it."""
    told = [ill("gateway", 0), ill("payments", 5), ill("worker", 6), ill("orders", 9)]
    straight, rows, open_now = SenseState(), dict[str, Episode](), list[Finding]()
    for finding in told:
        restarted = SenseState.load(
            [row for row in rows.values() if row.ended_at is None], open_now
        )
        expected, got = feed(straight, finding), feed(restarted, finding)
        assert got == expected
        rows |= {row.id: row for row in got.episodes}
        open_now.append(finding)
    assert sum(row.ended_at is None for row in rows.values()) == 2


def test_a_common_caller_belongs_to_the_older_trouble() -> None:
    """gateway was found first with the younger of two; when the older is told, late, gateway and
    its findings are taken there, and both episodes say so."""
    state = SenseState()
    gateway = ill("gateway", 9)
    feed(state, gateway)
    [younger] = feed(state, ill("worker", 5)).episodes
    assert (names(younger), younger.symptoms) == (["gateway", "worker"], 2)
    out = feed(state, ill("orders", 1))
    told = {one.group.service: (names(one), one.symptoms) for one in out.episodes}
    assert told == {"worker": (["worker"], 1), "orders": (["gateway", "orders"], 2)}
    [cleared] = feed(state, well(gateway, 20)).episodes
    assert cleared.group.service == "orders"


def test_it_counts_how_long_a_trouble_was_there_not_when_it_was_told() -> None:
    """orders was ill before worker, as a finding that comes late says: gateway is taken there."""
    state = SenseState()
    feed(state, ill("orders", 9), ill("worker", 5), ill("gateway", 10))
    live = {one.group.service: names(one) for one in state.open_episodes()}
    assert live == {"orders": ["orders"], "worker": ["gateway", "worker"]}
    feed(state, ill("orders", 1))
    live = {one.group.service: names(one) for one in state.open_episodes()}
    assert live == {"orders": ["gateway", "orders"], "worker": ["worker"]}


def test_findings_told_at_once_go_with_the_group_that_is_moved() -> None:
    """Each is told with the episode in which it is in the end."""
    out = feed(SenseState(), ill("gateway", 9), ill("worker", 5), ill("orders", 1))
    by_id = {episode.id: episode.group.service for episode in out.episodes}
    told = {by_id[id]: sorted(f.stream for f in those) for id, those in out.members.items()}
    assert told == {"worker": ["worker"], "orders": ["gateway", "orders"]}


# ---------------------------------------------------------------- what people rule


def ruling(episode: Episode, into: str = "") -> Ruling:
    return Ruling(id=episode.id, into=into, symptoms=episode.symptoms, at=T + 30 * SECOND)


def test_an_episode_is_over_when_a_person_says_so() -> None:
    """What still fires changes nothing from then on, told again or cleared; what is new begins
    the next episode, which names this one."""
    state = SenseState()
    store = ill("store", 0)
    [known] = feed(state, store).episodes
    out = stage.step(state, [store], T, SHOP, [ruling(known)])
    [ended] = out.episodes
    assert (ended.id, ended.ended_at) == (known.id, T + 30 * SECOND)
    assert out.suppressed == [(store, Suppressed.DUPLICATE)]
    [begun] = feed(state, ill("store", 40)).episodes
    assert (begun.previous, begun.symptoms) == (known.id, 1)
    cleared = feed(state, well(store, 50))
    assert (cleared.episodes, cleared.members) == ([], {})
    assert [one.id for one in cleared.findings] == [store.id]


def test_what_a_person_did_not_know_of_is_not_over() -> None:
    """One symptom more than they saw, and the episode goes on."""
    state = SenseState()
    [known] = feed(state, ill("store", 0)).episodes
    feed(state, ill("store", 29))
    assert stage.step(state, [], T, SHOP, [ruling(known)]).episodes == []
    assert [one.id for one in state.open_episodes()] == [known.id]


def test_a_person_merges_what_nothing_connects() -> None:
    """worker becomes part of payments' episode, and what comes of it later goes there."""
    state = SenseState()
    payments, worker = feed(state, ill("payments", 0), ill("worker", 1)).episodes
    out = stage.step(state, [ill("worker", 31)], T, SHOP, [ruling(worker, payments.id)])
    merged, kept = out.episodes
    assert (merged.id, merged.merged_into) == (worker.id, payments.id)
    assert (kept.id, names(kept), kept.symptoms) == (payments.id, ["payments", "worker"], 3)
    assert out.members.keys() == {payments.id}


def over(state: SenseState, service: str) -> Episode:
    """An episode of a second, which has ended."""
    one = ill(service, 0)
    feed(state, one)
    feed(state, well(one, 1))
    [ended] = stage.tick(state, T + 10 * MINUTE)
    return ended


def test_a_ruling_on_what_is_over_is_nothing() -> None:
    """On an episode that has ended, or into one that nobody knows; asked twice it is done once."""
    state = SenseState()
    ended = over(state, "payments")
    [worker] = feed(state, ill("worker", 700)).episodes
    into_nothing = replace(ruling(worker, "unknown"), at=T + 701 * SECOND)
    rulings = [ruling(ended), into_nothing, into_nothing]
    [last] = stage.step(state, [], T, SHOP, rulings).episodes
    assert (last.id, last.merged_into, last.ended_at) == (worker.id, None, T + 701 * SECOND)


def test_what_is_merged_into_what_has_ended_makes_it_go_on() -> None:
    """Nothing of either is lost, and the group that was well again is its too."""
    state = SenseState()
    ended = over(state, "payments")
    sick = ill("worker", 700)
    [worker] = feed(state, sick).episodes
    merged = [ruling(worker, ended.id)] * 2
    closed, goes_on = stage.step(state, [], T, SHOP, merged).episodes
    assert (closed.id, closed.merged_into) == (worker.id, ended.id)
    assert (goes_on.id, goes_on.ended_at, goes_on.quiet_since) == (ended.id, None, None)
    assert {group.service for group in goes_on.groups} == {"payments", "worker"}
    assert (goes_on.symptoms, goes_on.open_symptoms) == (2, 1)
    [again] = feed(state, ill("payments", 710)).episodes
    assert (again.id, again.symptoms) == (ended.id, 3)
    feed(state, well(sick, 720), well(ill("payments", 710), 720))
    [last] = stage.tick(state, T + 1100 * SECOND)
    assert last.id == ended.id
    assert state.ended.keys() == set(goes_on.groups)
    assert not state.live


# ---------------------------------------------------------------- one incident, any order

NAMES = "abcdefg"
KINDS = st.sampled_from(FindingKind)
TOLD = st.tuples(st.sampled_from(NAMES), st.integers(0, 200), KINDS)
GRAPHS = st.dictionaries(
    st.sampled_from(NAMES), st.lists(st.sampled_from(NAMES), max_size=3), min_size=1
)


def fed(graph: Topology, *told: Sequence[Finding]) -> SenseState:
    """After steps of these findings."""
    state = SenseState()
    for findings in told:
        stage.step(state, findings, T, graph)
    return state


def restarted(graph: Topology, told: Sequence[Finding]) -> SenseState:
    """One at a time, each time from the rows."""
    rows: dict[str, Episode] = {}
    state = SenseState()
    for n, finding in enumerate(told):
        state = SenseState.load([one for one in rows.values() if one.ended_at is None], told[:n])
        rows |= {row.id: row for row in stage.step(state, [finding], T, graph).episodes}
    return state


def divided(state: SenseState, findings: Sequence[Finding]) -> dict[Group, set[str]]:
    """The findings of each open episode, by its root: what is an incident, and of what."""
    where = {group: one.group for one in state.open_episodes() for group in one.groups}
    assert len({one.group for one in state.open_episodes()}) == len(state.open_episodes())
    found: dict[Group, set[str]] = {}
    for finding in findings:
        found.setdefault(where[stage.group_of(finding)], set()).add(finding.id)
    for episode in state.open_episodes():
        mine = [one for one in findings if one.id in found[episode.group]]
        kinds = [one.kind for one in mine]
        assert episode.symptoms == kinds.count(FindingKind.SYMPTOM)
        assert episode.evidence == kinds.count(FindingKind.EVIDENCE)
        assert episode.started_at == min(one.at for one in mine)
    return found


@given(GRAPHS, st.lists(TOLD, min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_in_any_order_it_is_the_same_incidents(
    depends: dict[str, list[str]], told: list[tuple[str, int, FindingKind]], random: Random
) -> None:
    """However findings arrive, one at a time, at once, or with a restart after each, they are
    divided among the same incidents: a function of who was ill since when, whoever is told to
    be the bridge last. Symptoms open them, whatever came before."""
    graph = topology({one: [o for o in on if o != one] for one, on in depends.items()})
    one_each = {(name, at): kind for name, at, kind in told}
    findings = [ill(name, at, kind) for (name, at), kind in one_each.items()]
    shuffled = random.sample(findings, len(findings))

    since: dict[Group, Ms] = {}
    for finding in findings:
        group = stage.group_of(finding)
        since[group] = min(finding.at, since.get(group, finding.at))
    root = problems.roots(since, graph.below)
    expected: dict[Group, set[str]] = {}
    for finding in findings:
        expected.setdefault(root[stage.group_of(finding)], set()).add(finding.id)

    assert divided(fed(graph, *([one] for one in findings)), findings) == expected
    assert divided(fed(graph, *([one] for one in shuffled)), findings) == expected
    assert divided(fed(graph, shuffled), findings) == expected
    assert divided(restarted(graph, shuffled), findings) == expected


@given(GRAPHS, st.lists(TOLD, min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_in_any_order_they_end_in_the_same_way(
    depends: dict[str, list[str]], told: list[tuple[str, int, FindingKind]], random: Random
) -> None:
    """What is over is told in any order too, and every incident is over at the same time, of the
    same services and with the same counts."""
    graph = topology({one: [o for o in on if o != one] for one, on in depends.items()})
    findings = [
        ill(name, at, kind) for name, at, kind in {(n, a): (n, a, k) for n, a, k in told}.values()
    ]
    cleared = [well(finding, 201 + n) for n, finding in enumerate(findings)]

    def ends(one: Sequence[Finding], other: Sequence[Finding]) -> set[object]:
        state = fed(graph, one, *([each] for each in other))
        return {
            (row.group, row.groups, row.started_at, row.ended_at, row.by_severity, row.symptoms)
            for row in stage.tick(state, T + 60 * MINUTE)
        }

    shuffled = random.sample(findings, len(findings)), random.sample(cleared, len(cleared))
    assert ends(*shuffled) == ends(findings, cleared)
