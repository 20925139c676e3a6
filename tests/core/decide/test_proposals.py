# SPDX-License-Identifier: Apache-2.0

"""Which runbook is proposed, and the trace of how that came about."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import permutations

import pytest

from opx.core.base.expressions import Expression
from opx.core.decide import proposals
from opx.core.decide.case import Case
from opx.core.decide.proposals import Condition, Considered
from opx.core.decide.runbooks import Input, InputType, Runbook, Step

DOWN = "insight.type == 'process_down'"
AIMED = "service.target != ''"


@pytest.fixture(scope="session")
def book(case: Case) -> Callable[..., Runbook]:
    """A runbook by name with these conditions."""

    def made(name: str, *when: str, inputs: dict[str, Input] | None = None) -> Runbook:
        assert case.runbook is not None
        return replace(
            case.runbook,
            name=name,
            hash=f"hash of {name}",
            when=tuple(map(Expression, when)),
            inputs=inputs or {},
        )

    return made


Book = Callable[..., Runbook]


def proposed(case: Case, *books: Runbook) -> proposals.Proposed:
    return proposals.propose(case.insight, case.incident, case.service, books)


def shape(value: object) -> object:
    """Its names and types."""
    if isinstance(value, dict):
        return {name: shape(inner) for name, inner in value.items()}
    return type(value)


def test_the_facts(case: Case) -> None:
    """A condition sees the insight, the incident and the service, and nothing else."""
    seen = proposals.facts(case.insight, case.incident, case.service)
    assert seen == {
        "insight": {"type": "process_down", "risk": 85},
        "incident": {"severity": 3, "environment": "shop", "service": "orders"},
        "service": {
            "name": "orders",
            "environment": "shop",
            "target": "http://127.0.0.1:9001#orders",
            "owner": "crew",
        },
    }
    assert shape(proposals.FACTS) == shape(seen), "what a condition is held against when it is read"


def test_an_undeclared_service_has_no_target(case: Case) -> None:
    """Of a service nobody declared only its name is known."""
    known = proposals.facts(case.insight, case.incident, None)
    assert known["service"] == {
        "name": "orders",
        "environment": "shop",
        "target": "",
        "owner": "",
    }


def test_what_is_proposed(case: Case, book: Book) -> None:
    """The proposal names the runbook as it is now, the service's target and the defaults."""
    inputs = {
        "grace_s": Input(type=InputType.INTEGER, default=5),
        "note": Input(required=False),
    }
    made = proposed(case, book("restart", DOWN, AIMED, inputs=inputs)).proposal
    assert made is not None
    assert (made.runbook, made.runbook_hash) == ("restart", "hash of restart")
    assert made.target == "http://127.0.0.1:9001#orders"
    assert (made.environment, made.service, made.inputs) == ("shop", "orders", {"grace_s": 5})


def test_the_most_specific_wins_then_the_name(case: Case, book: Book) -> None:
    """More conditions beat fewer, names break ties, the order of loading does not matter."""
    books = [
        book("c", DOWN, AIMED),
        book("b", DOWN, AIMED),
        book("a", DOWN),
        book("z", DOWN, AIMED, "insight.risk > 90"),
    ]
    for order in permutations(books):
        made = proposed(case, *order)
        assert made.proposal is not None
        assert made.proposal.runbook == "b"
        assert [seen.runbook for seen in made.trace] == ["z", "b", "c", "a"]


def test_all_conditions_are_in_the_trace(case: Case, book: Book) -> None:
    """A condition that fails does not hide those after it, and one that cannot be evaluated
    does not hold and says why."""
    made = proposed(case, book("one", "insight.risk > 90", "insight.mood == 'bad'", AIMED))
    assert made.proposal is None
    (seen,) = made.trace
    assert seen.fits is False
    assert [condition.held for condition in seen.conditions] == [False, None, True]
    assert [condition.when for condition in seen.conditions] == [
        "insight.risk > 90",
        "insight.mood == 'bad'",
        AIMED,
    ]
    assert "mood" in seen.conditions[1].error
    assert seen.conditions[0].error == seen.conditions[2].error == ""


@pytest.mark.parametrize("when", ["insight.risk", "insight.risk + 1", "nobody.knows"])
def test_neither_yes_nor_no_does_not_hold(case: Case, book: Book, when: str) -> None:
    """A condition that is not a yes or no never proposes anything."""
    made = proposed(case, book("odd", when))
    assert made.proposal is None
    assert made.trace[0].conditions[0].held is None


def test_a_required_input_that_nobody_fills(case: Case, book: Book) -> None:
    """A runbook that needs what opx cannot know is not proposed, and the trace names it."""
    made = proposed(case, book("move", DOWN, inputs={"where": Input()}))
    assert made.proposal is None
    assert made.trace == (
        Considered(
            runbook="move",
            conditions=(Condition(when=DOWN, held=True),),
            unfilled=("where",),
        ),
    )


def test_an_empty_catalogue(case: Case) -> None:
    """Without runbooks there is no proposal and nothing was considered."""
    assert proposed(case) == proposals.Proposed(proposal=None, trace=())


def test_parameters_are_copied_from_the_service(case: Case, book: Book) -> None:
    """The proposal holds those that the runbook uses, in the rollback too, and its plan is
    another when one of them is."""
    assert case.service is not None
    steps = (Step(id="go", uses="file.restore", inputs={"path": "${{ service.config }}"}),)
    back = (Step(id="back", uses="file.restore", inputs={"path": "${{service.former}}"}),)
    runbook = replace(book("restore", DOWN), steps=steps, rollback=back)
    known = {"config": "/srv/a", "former": "/srv/b", "other": "x"}

    def proposed(parameters: dict[str, str]) -> proposals.Proposed:
        assert case.service is not None
        service = replace(case.service, parameters=parameters)
        return proposals.propose(case.insight, case.incident, service, [runbook])

    first, moved = proposed(known).proposal, proposed(known | {"former": "/srv/c"}).proposal
    assert first is not None
    assert moved is not None
    assert first.parameters == {"config": "/srv/a", "former": "/srv/b"}
    assert first.plan != moved.plan
    assert proposed(known | {"other": "y"}).proposal == first

    lacking = proposed({"config": "/srv/a"})
    assert lacking.proposal is None
    assert lacking.trace[0].unfilled == ("service.former",)
