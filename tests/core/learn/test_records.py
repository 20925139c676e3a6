# SPDX-License-Identifier: Apache-2.0

"""What is counted, when a breaker opens, and that only people close it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opx.core.analyse.insight import Probability
from opx.core.decide.case import Breaker, Policy, TrackRecord
from opx.core.ingest.signals import Severity
from opx.core.learn import records
from opx.core.verify.verdict import Verdict, VerdictKind

NOW = 1_767_225_600_000
WHERE = "restart|shop|orders"
BOOK, OTHER = "hash of the runbook", "hash of another"
NEW = TrackRecord(id=WHERE, version=0)
SHUT = Breaker(id=WHERE, version=0)
POLICY = Policy(breaker_after=3)
RECOVERED, NO_EFFECT = VerdictKind.RECOVERED, VerdictKind.NO_EFFECT
WORSE, INCONCLUSIVE = VerdictKind.WORSE, VerdictKind.INCONCLUSIVE


def verdict(kind: VerdictKind) -> Verdict:
    return Verdict(kind=kind, at=NOW, yes=0, no=0, unknown=0)


def counted(*kinds: VerdictKind) -> TrackRecord:
    record = NEW
    for number, kind in enumerate(kinds):
        record = records.after(record, verdict(kind), BOOK, NOW + number)
    return record


@pytest.mark.parametrize(
    ("kinds", "row"),
    [
        ((NO_EFFECT,), 1),
        ((NO_EFFECT, WORSE), 2),
        ((NO_EFFECT, INCONCLUSIVE, NO_EFFECT), 2),
        ((NO_EFFECT, NO_EFFECT, RECOVERED), 0),
        ((RECOVERED, NO_EFFECT), 1),
        ((INCONCLUSIVE,), 0),
    ],
)
def test_the_row(kinds: tuple[VerdictKind, ...], row: int) -> None:
    """Runs that did not help in a row; a recovery ends it, an unclear one neither way."""
    assert counted(*kinds).ineffective_in_a_row == row


def test_counts() -> None:
    """Each verdict is counted under its kind, and ``p_fix`` leaves the unclear ones out."""
    record = counted(RECOVERED, NO_EFFECT, WORSE, INCONCLUSIVE, RECOVERED)
    assert (record.recovered, record.no_effect, record.worse, record.inconclusive) == (2, 1, 1, 1)
    assert record.p_fix(BOOK) == Probability(0.5, 4)
    assert (record.last_acted_at, record.version) == (NOW + 4, 5)


def test_another_content_counts_from_the_start() -> None:
    """The first verdict about another content is its only one; the row of runs that did not
    help and the last action, which hold a runbook up, go on."""
    record = replace(counted(RECOVERED, NO_EFFECT, NO_EFFECT, INCONCLUSIVE), last_acted_at=NOW + 9)
    changed = records.after(record, verdict(WORSE), OTHER, NOW)
    assert changed == TrackRecord(
        id=WHERE,
        runbook_hash=OTHER,
        worse=1,
        ineffective_in_a_row=3,
        last_acted_at=NOW + 9,
        version=5,
    )
    assert records.breaker_after(changed, SHUT, POLICY, NOW).opened_at == NOW


@pytest.mark.parametrize("hash", [OTHER, ""])
def test_experience_is_with_one_content(hash: str) -> None:
    """A record says nothing of another content, nor one without a content of any."""
    assert counted(RECOVERED).p_fix(hash) == Probability(None, 0)
    assert TrackRecord(id=WHERE, recovered=9).p_fix(hash) == Probability(None, 0)


def test_the_first_one_is_new() -> None:
    """What was never stored becomes version 1, as the store wants it."""
    assert counted(RECOVERED).version == 1
    opened = records.breaker_after(counted(*[NO_EFFECT] * 3), SHUT, POLICY, NOW)
    assert opened.version == 1


def test_a_run_that_never_acted_starts_no_cooldown() -> None:
    """Without an action the time of the last one stays what it was."""
    record = records.after(NEW, verdict(INCONCLUSIVE), BOOK, None)
    assert record.last_acted_at is None
    acted = replace(NEW, last_acted_at=NOW)
    assert records.after(acted, verdict(INCONCLUSIVE), BOOK, None).last_acted_at == NOW
    assert records.after(acted, verdict(INCONCLUSIVE), BOOK, NOW - 5).last_acted_at == NOW


def test_how_bad_it_was_is_of_the_last_action() -> None:
    """An earlier action that ends later, and a run without one, leave it as it was."""
    one = records.after(NEW, verdict(NO_EFFECT), BOOK, NOW, Severity.SEV3)
    assert one.last_severity is Severity.SEV3
    for acted_at in (None, NOW - 1):
        same = records.after(one, verdict(NO_EFFECT), BOOK, acted_at, Severity.SEV1)
        assert (same.last_acted_at, same.last_severity) == (NOW, Severity.SEV3)
    later = records.after(one, verdict(NO_EFFECT), BOOK, NOW + 1, Severity.SEV1)
    assert (later.last_acted_at, later.last_severity) == (NOW + 1, Severity.SEV1)


def test_it_opens_at_the_third() -> None:
    """Two in a row leave it as it is, the third opens it."""
    assert records.breaker_after(counted(*[NO_EFFECT] * 2), SHUT, POLICY, NOW) == SHUT
    opened = records.breaker_after(counted(*[NO_EFFECT] * 3), SHUT, POLICY, NOW)
    assert opened == Breaker(id=WHERE, opened_at=NOW, version=1)


def test_it_opens_once() -> None:
    """More failures do not open it again, nor does a recovery close it."""
    opened = Breaker(id=WHERE, opened_at=NOW)
    for kinds in ([NO_EFFECT] * 4, [NO_EFFECT, NO_EFFECT, NO_EFFECT, RECOVERED]):
        assert records.breaker_after(counted(*kinds), opened, POLICY, NOW + 9) == opened


def test_a_person_closes_it() -> None:
    """Closing names who did; forgiving takes the row away and nothing else; then it takes
    another three to open it again."""
    opened = records.breaker_after(counted(*[NO_EFFECT] * 3), SHUT, POLICY, NOW)
    shut = records.closed(opened, "ada")
    assert shut == Breaker(id=WHERE, opened_at=None, closed_by="ada", version=2)
    record = records.forgiven(counted(*[NO_EFFECT] * 3))
    assert (record.ineffective_in_a_row, record.no_effect, record.version) == (0, 3, 4)
    for _ in range(2):
        record = records.after(record, verdict(NO_EFFECT), BOOK, NOW)
        assert records.breaker_after(record, shut, POLICY, NOW) == shut
    again = records.breaker_after(
        records.after(record, verdict(NO_EFFECT), BOOK, NOW), shut, POLICY, NOW + 7
    )
    assert again == Breaker(id=WHERE, opened_at=NOW + 7, closed_by=None, version=3)


@given(st.lists(st.sampled_from(VerdictKind), max_size=40), st.integers(1, 6))
def test_learning_never_closes_a_breaker(kinds: list[VerdictKind], limit: int) -> None:
    """Whatever the verdicts, an open breaker stays open, and it opened exactly when the row of
    runs that did not help first reached the limit."""
    policy = Policy(breaker_after=limit)
    record, breaker, row, due = NEW, SHUT, 0, False
    for kind in kinds:
        record = records.after(record, verdict(kind), BOOK, NOW)
        breaker = records.breaker_after(record, breaker, policy, NOW)
        row = {RECOVERED: 0, INCONCLUSIVE: row}.get(kind, row + 1)
        due = due or row >= limit
        assert (breaker.opened_at is not None) == due
