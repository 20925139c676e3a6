# SPDX-License-Identifier: Apache-2.0

"""``why`` words every reason, and shows what stood behind a denial."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from opx.core.base.expressions import Expression
from opx.core.decide import gate, guards, proposals, why
from opx.core.decide.case import Automation, Autonomy, Breaker, Case, Grant, Mode
from opx.core.decide.decision import Reason
from opx.core.decide.runbooks import Input

NOW = 1_767_225_600_000
WHERE = "restart|shop|orders"
TARGET = "http://127.0.0.1:9001#orders"
PROBE = "http http://127.0.0.1:9101/health"
SAYS_YES = {Reason.OK, Reason.APPROVED, Reason.ON_PROBATION}


def test_every_reason_has_its_sentence() -> None:
    """No reason is without words, and each that stops says what would have changed it."""
    assert set(why.SENTENCES) == set(Reason)
    for reason, (because, change) in why.SENTENCES.items():
        assert because
        assert bool(change) == (reason not in SAYS_YES), reason


def test_a_plain_yes(case: Case) -> None:
    """When nothing spoke against it there is nothing more to say."""
    assert why.explain(gate.decide(case, NOW, "d")) == ["opx may act: every guard said yes."]


def test_a_yes_on_probation_says_so(but: Callable[..., Case]) -> None:
    """Acting without experience is shown as uncalibrated, with whose word it rests on."""
    probation = Grant(
        id=WHERE, autonomy=Autonomy.AUTO, by="ada", at=0, probation=True, expires_at=NOW + 1
    )
    case = but(
        record=None,
        grant=probation,
        grant__runbook_hash="hash-1",
        grant__target=TARGET,
        grant__probe=PROBE,
    )
    lines = why.explain(gate.decide(case, NOW, "d"))
    assert lines[1:] == [
        "p_fix: a person's probation stands in for missing experience "
        "(uncalibrated, n = 0 of 30; ada answers for it)."
    ]


def test_a_denial_shows_all_that_stood_in_the_way(but: Callable[..., Case]) -> None:
    """Both denials with their remedies come first, then what would have been asked anyway."""
    case = but(
        modes=(Mode(id="all", automation=Automation.HALTED, by="ada", reason="drill", at=0),),
        breaker=Breaker(id=WHERE, opened_at=7),
        grant=None,
    )
    assert why.explain(gate.decide(case, NOW, "d")) == [
        "opx must not act.",
        "mode: automation is halted here (halted for all).",
        "Resuming it would change that.",
        "breaker: the runbook has failed to help here too often in a row "
        "(open since 1970-01-01T00:00:00.007Z).",
        "A person closing the breaker would change that.",
        "Without that, opx would ask first. "
        "autonomy: the runbook may only suggest here (no grant).",
    ]


def test_what_no_longer_covers_is_named(but: Callable[..., Case]) -> None:
    """Of an outdated grant it is said what is another than granted, by each guard that asks."""
    lines = why.explain(gate.decide(but(grant__runbook_hash="old", grant__target="x"), NOW, "d"))
    assert lines[1] == (
        "autonomy: the runbook, the target or the probe is not what it was when autonomy was "
        "granted "
        "(another runbook and target than ada granted)."
    )
    assert lines[2] == "An approval, or a new grant, would change that."
    assert [line.partition(":")[0] for line in lines[1::2]] == ["autonomy", "p_fix"]


def test_why_each_runbook_does_not_fit(but: Callable[..., Case]) -> None:
    """Every condition that does not hold or cannot be evaluated, and every missing input, of
    every runbook that was considered; what holds is not in the way and not named."""
    case, book = but(), but().runbook
    assert book is not None
    hung = replace(
        book,
        name="b",
        when=(Expression("insight.type == 'process_hung'"), Expression("insight.risk > 50")),
    )
    queue = replace(
        book, name="a", when=(Expression("queue.length > 5"),), inputs={"host": Input()}
    )
    seen = proposals.propose(case.insight, case.incident, case.service, [hung, queue])
    *lines, last = why.explain(gate.none_fits(case.incident, seen.trace, NOW))
    assert lines == [
        "opx must not act.",
        "catalogue: no runbook is at hand for this (none of them fits).",
        "A runbook whose conditions all hold would change that.",
        "b does not fit: \"insight.type == 'process_hung'\" does not hold.",
    ]
    assert last.startswith("a does not fit: 'queue.length > 5' could not be evaluated: ")
    assert last.endswith("; its input 'host' has no value.")


def test_every_guard_is_described() -> None:
    """The docstring of each guard is the sentence it stands for."""
    assert all(guard.__doc__ for guard in guards.GUARDS)
