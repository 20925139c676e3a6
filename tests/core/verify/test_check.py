# SPDX-License-Identifier: Apache-2.0

"""N of the last M answers, and what is not a recovery."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opx.core.act.run import Run, RunStatus
from opx.core.base.reads import Answer, MetricRead, Probe, ProbeKind
from opx.core.base.time import Window
from opx.core.correlate.episode import Group
from opx.core.decide.runbooks import Check, Proposal, Runbook
from opx.core.detect.rules import Limit, Ratio, Selector, Side
from opx.core.detect.witness import Witness
from opx.core.ingest.services import Health, Service
from opx.core.ingest.signals import Identity
from opx.core.verify import check
from opx.core.verify.verdict import Verdict, VerdictKind

NOW = 1_767_225_600_000
HEALTH = Probe(kind=ProbeKind.HTTP, address="http://127.0.0.1:9101/health")
SERVICE = Service(name="orders", environment="shop", health=Health(probe=HEALTH))
RUNBOOK = Runbook(
    name="restart",
    hash="hash-1",
    purpose="bring it back",
    when=(),
    inputs={},
    steps=(),
    verify=Check(passes=2, of=3, every=500, within=5_000),
)
RUN = Run(
    id="run-1",
    incident="incident-1",
    group=Group("shop", "orders"),
    number=1,
    status=RunStatus.VERIFYING,
    proposal=Proposal(
        runbook="restart",
        runbook_hash="hash-1",
        inputs={},
        target="t",
        environment="shop",
        service="orders",
    ),
    created_at=NOW - 9_000,
    due_at=NOW,
    verify_from=NOW,
    version=5,
)
YES, NO, NONE = True, False, None
RECOVERED, NO_EFFECT = VerdictKind.RECOVERED, VerdictKind.NO_EFFECT
INCONCLUSIVE = VerdictKind.INCONCLUSIVE


def asked(answers: list[bool | None], runbook: Runbook = RUNBOOK) -> tuple[Run, Verdict | None]:
    """A run that got these answers, each when it was due, until there is a verdict."""
    run, verdict = RUN, None
    for ok in answers:
        assert run.due_at is not None
        answer = Answer(key="verify", at=run.due_at, ok=ok)
        run, verdict = check.step(run, runbook, answer, run.due_at)
        if verdict is not None:
            break
    return run, verdict


class TestNeeds:
    """What is asked, and when."""

    def test_the_health_probe(self) -> None:
        """Without a probe of its own a runbook is verified by the service's health probe."""
        (read,) = check.needs(RUN, RUNBOOK, SERVICE, NOW)
        assert read.probe == HEALTH

    def test_its_own_probe(self) -> None:
        """A runbook's own probe comes first."""
        deep = Probe(kind=ProbeKind.TCP, address="127.0.0.1:5432")
        runbook = replace(RUNBOOK, verify=replace(RUNBOOK.verify, probe=deep))
        (read,) = check.needs(RUN, runbook, SERVICE, NOW)
        assert read.probe == deep

    @pytest.mark.parametrize(
        ("run", "service"),
        [
            (RUN, None),
            (RUN, replace(SERVICE, health=None)),
            (replace(RUN, due_at=NOW + 1), SERVICE),
            (replace(RUN, due_at=None), SERVICE),
            (replace(RUN, status=RunStatus.ACTING), SERVICE),
        ],
    )
    def test_nothing_to_ask(self, run: Run, service: Service | None) -> None:
        """Nobody to ask, not due yet, or not verifying: no question."""
        assert check.needs(run, RUNBOOK, service, NOW) == []


class TestStep:
    """One answer at a time."""

    def test_one_answer_on(self) -> None:
        """The sample is kept, the next question is due, and the version is one on."""
        run, verdict = asked([NO])
        assert verdict is None
        assert (run.samples, run.due_at, run.version) == ((False,), NOW + 500, 6)
        assert run.status is RunStatus.VERIFYING

    @pytest.mark.parametrize("answers", [[YES, YES], [YES], [NO, YES], []])
    def test_fewer_than_all_answers_are_no_recovery(self, answers: list[bool | None]) -> None:
        """Two of three means three were asked."""
        assert asked(answers)[1] is None

    def test_recovered(self) -> None:
        """Two yes of the last three, as soon as they are there."""
        run, verdict = asked([NO, YES, YES])
        assert verdict == Verdict(kind=RECOVERED, at=NOW + 1_000, yes=2, no=1, unknown=0)
        assert run.due_at is None

    def test_only_the_last_ones_count(self) -> None:
        """Early failures while it starts do not matter later."""
        run, verdict = asked([NO, NO, NO, NO, YES, YES])
        assert verdict is not None
        assert verdict.kind is RECOVERED
        assert run.samples == (False, True, True)

    def test_no_answer_is_not_a_yes(self) -> None:
        """What could not be asked never counts for a recovery."""
        _, verdict = asked([NONE] * 20)
        assert verdict is not None
        assert (verdict.kind, verdict.yes, verdict.unknown) == (INCONCLUSIVE, 0, 3)

    def test_nothing_to_ask_is_inconclusive(self) -> None:
        """Without any probe the verdict is that nobody knows."""
        run, verdict = RUN, None
        while verdict is None:
            assert run.due_at is not None
            run, verdict = check.step(run, RUNBOOK, None, run.due_at)
        assert verdict.kind is INCONCLUSIVE

    def test_an_answer_from_before_does_not_count(self) -> None:
        """A yes from before the verification says nothing about the repair."""
        answer = Answer(key="verify", at=NOW - 1, ok=True)
        run, _ = check.step(RUN, RUNBOOK, answer, NOW)
        assert run.samples == (None,)

    @pytest.mark.parametrize("status", [RunStatus.ACTING, RunStatus.RECOVERED])
    def test_only_while_verifying(self, status: RunStatus) -> None:
        """A run that is not being verified takes no answer."""
        with pytest.raises(ValueError, match="not verifying"):
            check.step(replace(RUN, status=status), RUNBOOK, None, NOW)


@pytest.mark.parametrize(
    ("last", "kind"), [((NO, NONE, NONE), INCONCLUSIVE), ((NO, NO, NONE), NO_EFFECT)]
)
def test_mostly_unknown_is_inconclusive(last: tuple[bool | None, ...], kind: VerdictKind) -> None:
    """Where all three must be yes one no settles it, but not when most of it is unknown."""
    runbook = replace(RUNBOOK, verify=replace(RUNBOOK.verify, passes=3))
    run = replace(RUN, samples=last[:2], due_at=NOW + 5_000)
    answer = Answer(key="verify", at=NOW + 5_000, ok=last[2])
    _, verdict = check.step(run, runbook, answer, NOW + 5_000)
    assert verdict is not None
    assert verdict.kind is kind


@pytest.mark.parametrize(
    ("last", "kind"),
    [
        ((NO, NO, NO), NO_EFFECT),
        ((YES, NO, NO), NO_EFFECT),
        ((NO, NO, NONE), NO_EFFECT),
        ((NO, NONE, NONE), INCONCLUSIVE),
        ((YES, NO, NONE), INCONCLUSIVE),
        ((YES, NONE, NONE), INCONCLUSIVE),
        ((NONE, NONE, NONE), INCONCLUSIVE),
    ],
)
def test_when_time_is_up(last: tuple[bool | None, ...], kind: VerdictKind) -> None:
    """A plain no is without effect; where the unknown could have made the difference, or is
    most of it, nobody knows."""
    run = replace(RUN, samples=(NO, *last[:2]), due_at=NOW + 5_000)
    answer = Answer(key="verify", at=NOW + 5_000, ok=last[2])
    _, verdict = check.step(run, RUNBOOK, answer, NOW + 5_000)
    assert verdict is not None
    assert verdict.kind is kind


def test_time_is_up_only_then() -> None:
    """A millisecond before the time is up it is still asked again."""
    run = replace(RUN, samples=(NO, NO, NO), due_at=NOW + 4_999)
    answer = Answer(key="verify", at=NOW + 4_999, ok=False)
    assert check.step(run, RUNBOOK, answer, NOW + 4_999)[1] is None


def test_a_pause_does_not_cost_the_verdict() -> None:
    """If nobody could ask while the time ran out, it is still asked the full number of times."""
    late = NOW + 60_000
    run, verdicts = RUN, []
    for at in (late, late + 500, late + 1_000):
        run, verdict = check.step(run, RUNBOOK, Answer(key="verify", at=at, ok=True), at)
        verdicts.append(verdict.kind if verdict else None)
    assert verdicts == [None, None, RECOVERED]


answers = st.lists(st.sampled_from([True, False, None]), min_size=30, max_size=30)
checks = st.integers(1, 5).flatmap(
    lambda of: st.builds(
        Check, passes=st.integers(1, of), of=st.just(of), every=st.just(500), within=st.just(5_000)
    )
)


@given(answers=answers, wanted=checks)
def test_a_verdict_always_comes_and_is_earned(answers: list[bool | None], wanted: Check) -> None:
    """Soon after its time every verification has a verdict; it is RECOVERED exactly when
    enough of the last answers were yes, and rests on as many as it says."""
    run, verdict = asked(answers, replace(RUNBOOK, verify=wanted))
    assert verdict is not None
    assert verdict.at <= NOW + 5_000
    assert verdict.yes + verdict.no + verdict.unknown == wanted.of == len(run.samples)
    assert (verdict.kind is RECOVERED) == (verdict.yes >= wanted.passes)
    assert verdict.kind is not NO_EFFECT or verdict.no > 0


WITNESS = Witness(
    rule="ratio/errors",
    check=Ratio(
        part=Selector(metric="errors"),
        whole=Selector(metric="requests"),
        window=10_000,
        limit=Limit(Side.ABOVE, 0.05),
        at_least=20,
    ),
    identity=Identity("shop", "orders"),
)


def told(**values: float | None) -> dict[str, Answer]:
    keys = {what: f"ratio/errors|shop/orders/|{what}" for what in values}
    return {keys[w]: Answer(key=keys[w], at=NOW, ok=True, value=v) for w, v in values.items()}


class TestNumbers:
    """The numbers by which a rule found the service ill must say that it is well."""

    @pytest.mark.parametrize(
        ("after", "window"),
        [(1_000, (0, 1_000)), (9_999, (0, 9_999)), (25_000, (15_000, 25_000))],
    )
    def test_they_are_of_the_time_since_the_repair(
        self, after: int, window: tuple[int, int]
    ) -> None:
        """What was before it is not asked about, nor more than the rule's own window."""
        reads = check.needs(replace(RUN, due_at=NOW), RUNBOOK, None, NOW + after, [WITNESS])
        windows = [read.window for read in reads if isinstance(read, MetricRead)]
        assert windows == [Window(NOW + window[0], NOW + window[1])] * 2

    def test_at_first_there_is_too_little_to_ask(self) -> None:
        """In the first second nothing is asked, and the answer is unknown."""
        assert check.needs(RUN, RUNBOOK, None, NOW + 999, [WITNESS]) == []
        seen = check.seen(RUN, {}, [WITNESS], NOW + 999, NOW + 999)
        assert seen is not None
        assert seen.ok is None

    @pytest.mark.parametrize(
        ("health", "numbers", "ok"),
        [
            (True, {"part": 0.5, "whole": 10.0}, True),
            (True, {"part": 0.6, "whole": 10.0}, False),
            (False, {"part": 0.0, "whole": 10.0}, False),
            (True, {"part": 0.6, "whole": 1.9}, None),
            (True, {"part": None, "whole": None}, None),
            (None, {"part": 0.6, "whole": 10.0}, False),
            (None, {"part": 0.5, "whole": 10.0}, None),
        ],
    )
    def test_all_must_say_yes(
        self, health: bool | None, numbers: dict[str, float | None], ok: bool | None
    ) -> None:
        """One no is a no, and only where all say yes is it one; silence is neither."""
        answers = {"verify": Answer(key="verify", at=NOW + 20_000, ok=health), **told(**numbers)}
        seen = check.seen(RUN, answers, [WITNESS], NOW + 20_000, NOW + 20_001)
        assert seen is not None
        assert (seen.ok, seen.at) == (ok, NOW + 20_000)

    def test_without_anybody_to_ask_there_is_no_answer(self) -> None:
        """None, which a verdict counts as unknown."""
        assert check.seen(RUN, {}, [], NOW, NOW) is None
