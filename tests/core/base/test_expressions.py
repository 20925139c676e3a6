# SPDX-License-Identifier: Apache-2.0
"""An expression answers yes or no, or says why it cannot."""

from __future__ import annotations

from collections.abc import Callable

import cel
import pytest

from opx.core.base import expressions
from opx.core.base.expressions import MAX_LENGTH, Expression
from opx.errors import ExpressionError

FACTS = {"insight": {"type": "process_down", "risk": 80}, "ok": True}


@pytest.mark.parametrize(
    ("text", "held"),
    [
        ("ok", True),
        ("insight.risk >= 80", True),
        ("insight.risk > 80", False),
        ("insight.type in ['process_down', 'process_hung']", True),
        ("has(insight.owner)", False),
        ("ok && !ok", False),
    ],
)
def test_it_holds_or_does_not(text: str, held: bool) -> None:
    """CEL over plain facts."""
    assert Expression(text).holds(FACTS) is held


LOOPS = ["[1].all(x, x > 0)", "[1] . map (x, x)", "[[1]].exists(a, a.exists(b, b > 0))"]


@pytest.mark.parametrize("text", [*LOOPS, "", "1 +", "insight.", "x" * (MAX_LENGTH + 1)])
def test_what_is_no_expression_is_refused_at_once(text: str) -> None:
    """Compiling is where a document's mistake shows."""
    with pytest.raises(ExpressionError):
        Expression(text)


@pytest.mark.parametrize("text", ["nobody", "insight.owner == 'x'", "insight.risk", "1 / 0 == 1"])
def test_an_error_is_never_an_answer(text: str) -> None:
    """A missing fact, a number, a division by zero: none of them is a no."""
    with pytest.raises(ExpressionError):
        Expression(text).holds(FACTS)


def test_expressions_are_equal_by_their_text() -> None:
    """So that documents can be compared."""
    assert Expression("ok") == Expression("ok")
    assert Expression("ok") != Expression("!ok")


def test_the_evaluator_is_the_packages_own() -> None:
    """Loading the extension alone leaves the whole package usable."""
    assert cel.evaluate("1 + 1", {}) == 2


@pytest.mark.parametrize(
    ("text", "pattern", "whole", "anywhere"),
    [
        ("time out", "time.out", True, True),
        ("a time out\nof mind", "time.out", False, True),
        ("timeout", "a|out", False, True),
        ("calm", "storm", False, False),
    ],
)
def test_patterns_match_as_a_whole_or_anywhere(
    text: str, pattern: str, whole: bool, anywhere: bool
) -> None:
    """Alternatives are one pattern, and a line break is no end."""
    assert expressions.matches(text, pattern) is whole
    assert expressions.found(text, pattern) is anywhere


@pytest.mark.parametrize("ask", [expressions.matches, expressions.found])
def test_what_is_no_pattern_is_an_error(ask: Callable[[str, str], bool]) -> None:
    """Not a no."""
    with pytest.raises(ExpressionError):
        ask("text", "(")
