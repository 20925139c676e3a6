# SPDX-License-Identifier: Apache-2.0

"""Findings become episodes: one for each group at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from opx.core.base.time import DAY, MINUTE, SECOND, Ms
from opx.core.correlate import stage
from opx.core.correlate.episode import Episode, Group, Member, Suppressed
from opx.core.correlate.stage import SenseState
from opx.core.detect.finding import ClearReason, Finding, FindingKind, FindingState
from opx.core.ingest.signals import Identity, Severity

T: Ms = 1_767_225_600_000
ORDERS = Group("prod", "orders")


def fired(
    stream: str,
    at: Ms = 0,
    *,
    service: str = "orders",
    kind: FindingKind = FindingKind.SYMPTOM,
    severity: Severity = Severity.SEV3,
    rule: str = "alert",
) -> Finding:
    """A firing finding, ``at`` after ``T``."""
    return Finding(
        id=Finding.id_of(rule, stream, T + at),
        rule=rule,
        stream=stream,
        identity=Identity("prod", service),
        kind=kind,
        state=FindingState.FIRING,
        severity=severity,
        since=T + at,
        at=T + at,
        expires_at=T + DAY,
    )


def odd(stream: str, at: Ms = 0, **more: Any) -> Finding:
    return fired(stream, at, kind=FindingKind.EVIDENCE, **more)


def over(finding: Finding, at: Ms) -> Finding:
    return finding.clear(ClearReason.RESOLVED, T + at, {})


def step(state: SenseState, *findings: Finding) -> stage.Correlated:
    return stage.step(state, findings, T)


def why(correlated: stage.Correlated) -> list[Suppressed]:
    return [reason for _, reason in correlated.suppressed]


def test_the_first_finding_begins_an_episode() -> None:
    """Its id comes from the group and that finding; one symptom is open."""
    finding = fired("a")

    out = step(SenseState(), finding)

    assert out.findings == [finding]
    assert out.episodes == [
        Episode(
            id=Episode.id_of(ORDERS, finding.id),
            group=ORDERS,
            members=(
                Member(ORDERS, T, T, symptoms=1, rules=("alert",), by_severity=(0, 0, 1, 0, 0)),
            ),
            started_at=T,
            last_at=T,
            open_symptoms=1,
            symptoms=1,
            severity=Severity.SEV3,
            rules=("alert",),
            by_severity=(0, 0, 1, 0, 0),
            score=0.43,
        )
    ]
    assert out.members == {out.episodes[0].id: [finding]}


def test_a_step_gives_each_episode_once_with_all_that_joined() -> None:
    """Counts by kind, the worst severity, the rules, first and last time."""
    [episode] = step(
        SenseState(),
        fired("a", 5 * SECOND, severity=Severity.SEV2),
        odd("m", 2 * SECOND, rule="threshold/slow"),
        fired("b", 9 * SECOND),
    ).episodes

    assert (episode.symptoms, episode.evidence, episode.open_symptoms) == (2, 1, 2)
    assert episode.severity is Severity.SEV2
    assert episode.rules == ("alert", "threshold/slow")
    assert (episode.started_at, episode.last_at) == (T + 2 * SECOND, T + 9 * SECOND)
    assert episode.version == 1


def test_groups_are_kept_apart() -> None:
    """Two services have two episodes, each with its own findings."""
    out = step(SenseState(), fired("a"), fired("b", service="store"), fired("c"))

    assert [(e.group.service, e.symptoms) for e in out.episodes] == [("orders", 2), ("store", 1)]
    assert [len(out.members[e.id]) for e in out.episodes] == [2, 1]


def test_a_finding_told_twice_is_a_duplicate() -> None:
    """While it is open, after it cleared, and its clearing as well: nothing changes."""
    state, finding = SenseState(), fired("a")
    [begun] = step(state, finding).episodes

    assert why(step(state, finding)) == [Suppressed.DUPLICATE]
    step(state, over(finding, MINUTE))
    out = step(state, finding, over(finding, MINUTE))
    assert why(out) == [Suppressed.DUPLICATE, Suppressed.DUPLICATE]
    assert (out.episodes, out.findings) == ([], [])
    assert [episode.id for episode in state.open_episodes()] == [begun.id]


def test_a_clearing_of_what_never_fired_changes_nothing() -> None:
    """It is listed with its reason."""
    out = step(SenseState(), over(fired("a"), MINUTE))

    assert why(out) == [Suppressed.CLEARED_BEFORE_FIRING]
    assert (out.episodes, out.findings) == ([], [])


def test_all_clear_for_five_minutes_ends_an_episode() -> None:
    """Not a millisecond earlier, and its end is when the five minutes were over."""
    state, a, b = SenseState(), fired("a"), fired("b")
    step(state, a, b, over(a, MINUTE))
    assert stage.tick(state, T + DAY) == []
    [quiet] = step(state, over(b, 2 * MINUTE)).episodes

    assert (quiet.open_symptoms, quiet.quiet_since) == (0, T + 2 * MINUTE)
    assert stage.tick(state, T + 7 * MINUTE - 1) == []
    [ended] = stage.tick(state, T + 7 * MINUTE + 900)
    assert (ended.id, ended.ended_at) == (quiet.id, T + 7 * MINUTE)
    assert ended.version == quiet.version + 1
    assert state.open_episodes() == []


def test_evidence_does_not_keep_an_episode_alive_once_its_symptoms_are_clear() -> None:
    """Five minutes count from the last symptom's end, whatever odd things go on."""
    state, a = SenseState(), fired("a")
    step(state, a, over(a, 0), odd("m", 4 * MINUTE))

    assert [episode.ended_at for episode in stage.tick(state, T + 5 * MINUTE)] == [T + 5 * MINUTE]


def test_evidence_alone_ends_five_minutes_after_the_last_of_it() -> None:
    """There is no symptom to wait for."""
    state = SenseState()
    step(state, odd("m"), odd("n", 4 * MINUTE))

    assert stage.tick(state, T + 9 * MINUTE - 1) == []
    assert [episode.ended_at for episode in stage.tick(state, T + 9 * MINUTE)] == [T + 9 * MINUTE]


def test_a_new_symptom_in_the_quiet_joins() -> None:
    """Within five minutes of all clear it is the same trouble."""
    state, a = SenseState(), fired("a")
    [first] = step(state, a, over(a, MINUTE)).episodes

    [again] = step(state, fired("b", 6 * MINUTE - 1)).episodes

    assert (again.id, again.quiet_since, again.open_symptoms) == (first.id, None, 1)


@pytest.mark.parametrize("ticked", [True, False])
def test_after_the_end_a_new_episode_names_the_old(ticked: bool) -> None:
    """With or without a tick in between, the old one ends at the same time."""
    state, a, b = SenseState(), fired("a"), fired("b", 6 * MINUTE)
    [old] = step(state, a, over(a, MINUTE)).episodes

    ended = stage.tick(state, T + 6 * MINUTE) if ticked else []
    ended += step(state, b).episodes

    assert [(e.id, e.ended_at) for e in ended] == [
        (old.id, T + 6 * MINUTE),
        (Episode.id_of(ORDERS, b.id), None),
    ]
    assert ended[1].previous == old.id


def test_an_episode_that_ends_within_a_step_is_given_once() -> None:
    """A backlog brings a beginning, an end and the next beginning at one go."""
    a = fired("a")

    first, second = step(SenseState(), a, over(a, MINUTE), fired("b", 10 * MINUTE)).episodes

    assert (first.symptoms, first.ended_at, first.version) == (1, T + 6 * MINUTE, 1)
    assert (second.previous, second.ended_at) == (first.id, None)


def test_a_late_finding_joins_what_there_is() -> None:
    """The episode then began when the late one did."""
    state = SenseState()
    step(state, fired("a", 10 * MINUTE))

    [episode] = step(state, fired("b", MINUTE)).episodes

    assert (episode.started_at, episode.last_at) == (T + MINUTE, T + 10 * MINUTE)


def test_evidence_that_outlives_its_episode_still_clears() -> None:
    """Its end is accepted, belongs to no episode that lives, and begins none."""
    state, m = SenseState(), odd("m")
    step(state, m)
    stage.tick(state, T + 5 * MINUTE)

    out = step(state, over(m, 60 * MINUTE))

    assert out.findings == [over(m, 60 * MINUTE)]
    assert (out.episodes, out.suppressed, out.members) == ([], [], {})


def test_an_unmapped_symptom_is_a_group_of_its_own() -> None:
    """It is never silent, and two of them never meet."""
    state, a, b = SenseState(), fired("a", service=""), fired("b", service="")

    out = step(state, a, b, over(a, MINUTE))

    assert [episode.symptoms for episode in out.episodes] == [1, 1]
    assert [episode.open_symptoms for episode in out.episodes] == [0, 1]
    assert all(stage.identity_of(episode.group) == ("prod", "") for episode in out.episodes)
    assert out.suppressed == []


def test_unmapped_evidence_is_suppressed_with_its_reason() -> None:
    """It can speak for nobody; both its edges are listed."""
    out = step(SenseState(), odd("m", service=""), over(odd("m", service=""), MINUTE))

    assert why(out) == [Suppressed.UNMAPPED, Suppressed.UNMAPPED]
    assert (out.episodes, out.findings) == ([], [])


def test_the_identity_of_a_mapped_group_is_itself() -> None:
    """Environment and service, as its findings carry them."""
    assert stage.group_of(fired("a")) == ORDERS
    assert stage.identity_of(ORDERS) == ("prod", "orders")


def test_the_score_weighs_the_whole_episode() -> None:
    """Two SEV2 of two rules, half of five minutes apart: .15+.175+.12+.075+.03 = .55."""
    [episode] = step(
        SenseState(),
        odd("m", rule="threshold/a", severity=Severity.SEV2),
        odd("n", 150 * SECOND, rule="threshold/b", severity=Severity.SEV2),
    ).episodes

    assert episode.score == 0.55


def test_ended_episodes_are_remembered_for_a_day() -> None:
    """After that the next episode names none, and the memory is free."""
    state, a = SenseState(), fired("a")
    step(state, a, over(a, 0))
    stage.tick(state, T + 5 * MINUTE)
    assert list(state.ended) == [ORDERS]

    stage.tick(state, T + 5 * MINUTE + DAY)

    assert state.ended == {}


def test_a_restart_changes_nothing() -> None:
    """Rebuilt from the stored rows, the next episodes are the same as without it."""
    a, b, m = fired("a"), fired("b", SECOND, severity=Severity.SEV1), odd("m", rule="threshold/x")
    chunks: Sequence[tuple[Finding, ...]] = (
        (a, m),
        (b, over(a, MINUTE)),
        (over(m, 2 * MINUTE), odd("n", 3 * MINUTE)),
        (over(b, 4 * MINUTE),),
        (fired("c", 20 * MINUTE),),
    )
    straight, rows, findings = SenseState(), dict[str, Episode](), dict[str, Finding]()
    for chunk in chunks:
        live = [episode for episode in rows.values() if episode.ended_at is None]
        still = [f for f in findings.values() if f.state is FindingState.FIRING]
        restarted = SenseState.load(live, still)

        expected, got = step(straight, *chunk), step(restarted, *chunk)

        assert got == expected
        rows |= {episode.id: episode for episode in got.episodes}
        findings |= {finding.id: finding for finding in got.findings}
    assert len(rows) == 2
