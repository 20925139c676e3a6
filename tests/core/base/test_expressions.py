# SPDX-License-Identifier: Apache-2.0
"""An expression answers yes or no, or says why it cannot."""

from __future__ import annotations

from collections.abc import Callable

import cel
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opx.core.base import expressions
from opx.core.base.expressions import MAX_LENGTH, MAX_PATTERN, Expression, Pattern
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


LOOPS = [
    "[1].all(x, x > 0)",
    "[[1]].exists(a, a.exists(b, b > 0))",
    "[1].exists_one(x, x > 0)",
    "[1].existsOne(x, x > 0)",
    "[1] . map (x, x) == [1]",
    "[1].filter(x, x > 0) == [1]",
]


@pytest.mark.parametrize("text", [*LOOPS, "", "1 +", "insight.", "x" * (MAX_LENGTH + 1)])
def test_what_is_no_expression_is_refused_at_once(text: str) -> None:
    """Compiling is where a document's mistake shows."""
    with pytest.raises(ExpressionError):
        Expression(text)


BLANKS = st.lists(
    st.sampled_from([" ", "\t", "\r", "\n", "\f", "//\n", "// all(\n", "//a\r//b\n", "///\n"]),
    max_size=3,
).map("".join)


@given(loop=st.sampled_from(LOOPS), before=BLANKS, between=BLANKS)
def test_no_remark_hides_a_loop(loop: str, before: str, between: str) -> None:
    """The evaluator passes over blanks and remarks wherever they stand, and finds the loop."""
    head, _, tail = loop.partition(".")
    name, _, rest = tail.partition("(")
    hidden = f"{head}.{before}{name}{between}({rest}"
    assert cel.evaluate(hidden, {}) is True
    with pytest.raises(ExpressionError, match="walks a list"):
        Expression(hidden)


def test_a_remark_or_a_name_is_no_loop() -> None:
    """What only looks like one is left alone."""
    assert Expression("ok // .all is well\n && filter.map > 1").holds(
        {"ok": True, "filter": {"map": 2}}
    )


ERRORS = ["nobody", "insight.owner == 'x'", "insight.risk", "1 / 0 == 1", "[true][1]", "[true][-1]"]


@pytest.mark.parametrize("text", ERRORS)
def test_an_error_is_never_an_answer(text: str) -> None:
    """A missing fact, a number, a division by zero, a place beyond a list: none of them is a
    no."""
    with pytest.raises(ExpressionError):
        Expression(text).holds(FACTS)


ODD = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(codec=None), max_size=5)
    | st.sampled_from([2**63, -(2**63) - 1, "\ud800", "9999-12-31T23:59:59Z", "-1s", "("]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "b", "\ud800", ""]), inner, max_size=3)
    ),
    max_leaves=8,
)
ASKED = [
    Expression(text)
    for text in (
        "d[0] == 'prod'",
        "d['a'].b[1] == d.b",
        "d.a + d.b > d.a * 2 - d.b % 3 / d.a",
        "has(d.a.b) || d.a in d.b",
        "{d.a: d.b}[d.b] == -d.a",
        "int(d.a) > 0 && uint(d.a) > 0u && double(d.b) > 0.0",
        "size(d) > 0 ? string(d.a) == 'x' : d",
        "d.a.matches(d.b) || d.a.contains(d.b)",
        "timestamp(d.a) + duration(d.b) > timestamp(d.b)",
    )
]


@given(data=ODD)
def test_whatever_was_sent_it_holds_or_does_not_or_is_an_error(data: object) -> None:
    """Facts of any shape: nothing but ``ExpressionError`` ever comes out of an expression."""
    for asked in ASKED:
        try:
            held = asked.holds({"d": data})
        except ExpressionError:
            continue
        assert held in (True, False)


KNOWN = {
    "insight": {"type": "process_down", "risk": 80},
    "service": {"name": "orders", "owner": "ann"},
    "event": {"severity": 2, "data": {}},
    "ok": True,
    "value": 1.0,
}
"""Facts for example; in ``event.data`` anything may stand."""
ALL, SERVICE = ("insight", "service", "event", "ok", "value"), ("name", "owner")


@pytest.mark.parametrize(
    ("text", "name", "instead"),
    [
        ("nobody == 'x'", "nobody", ALL),
        ("ok || nobody.knows", "nobody", ALL),
        (".service.name == 'x'", ".service", ALL),
        ("insight.typ == 'x'", "insight.typ", ("type", "risk")),
        ("insight['typ'] == 'x'", "insight.typ", ("type", "risk")),
        ('insight [ "typ" ] == "x"', "insight.typ", ("type", "risk")),
        ("insight.type == 'x' && service.nam == 'y'", "service.nam", SERVICE),
        ("true || !(service.nam in ['y'])", "service.nam", SERVICE),
        ("ok ? ok : service.nam == 'x'", "service.nam", SERVICE),
        ("has(service.nam)", "service.nam", SERVICE),
        ("service.nam.startsWith('x')", "service.nam", SERVICE),
        ("event.data[service.nam] == 1", "service.nam", SERVICE),
        ("size(service.nam) > 1", "service.nam", SERVICE),
        ("{'a': service.nam}.a == 'x'", "service.nam", SERVICE),
        ("event.date.load > 1", "event.date", ("severity", "data")),
        ("insight.risk.high", "insight.risk.high", ()),
        ('"it\'s" == service.nam', "service.nam", SERVICE),
        (r"'\'' == service.nam && '' == ''", "service.nam", SERVICE),
        (r"r'\' == service.nam && r'' == ''", "service.nam", SERVICE),
        ("'''it's''' == service.nam", "service.nam", SERVICE),
    ],
)
def test_a_name_that_can_never_be_there_is_found(
    text: str, name: str, instead: tuple[str, ...]
) -> None:
    """Wherever it stands, looked at or passed over; and what there is in its place."""
    assert Expression(text).unknown(KNOWN) == (name, instead)


@pytest.mark.parametrize(
    "text",
    [
        "ok",
        r"insight.type in ['typ', 'service.nam'] && service['name'] != 'it\'s service.nam'",
        "service.name.startsWith('o') && service.owner.size() > 1",
        "has(event.data.x) || has(event.data.x.y) && event.data.load.of['all'].kinds > 80",
        "event['data'] == {} || event['data']['anything'] == event.severity",
        "type(value) == double || type(ok) in [bool, int, uint, string, bytes, list, map]",
        "type(ok) != null_type && type(type(ok)) == type",
        "optional.of(ok).hasValue()",
        "{'a': 1}.a == 1 && [service.name][0] == 'x'",
        "ok // or service.nam\n",
        '"""say "service.nam" """ == service.name',
        "value > .5 && value < 1.5e3",
    ],
)
def test_what_may_be_there_is_left_alone(text: str) -> None:
    """What facts have, whatever is in a mapping that is free, the evaluator's own names; and what
    only looks like a name, in a text or a remark."""
    assert Expression(text).unknown(KNOWN) is None
    assert Expression(text).never(KNOWN) == ""


@given(one=BLANKS, two=BLANKS, three=BLANKS)
def test_no_remark_hides_a_name(one: str, two: str, three: str) -> None:
    """Nor is one that stands in a text or a remark taken for one."""
    hidden = Expression(f"ok ||{one}service{two}.{three}nam == 'x'")
    shown = Expression(f"ok ||{one}service{two}.{three}name == 'service.nam' // service.nam")

    assert hidden.unknown(KNOWN) == ("service.nam", SERVICE)
    assert shown.unknown(KNOWN) is None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("1 + 1", "is not a yes or no but 2"),
        ("insight.risk", "is not a yes or no but 80"),
        ("ok ? service.name : ''", "is not a yes or no but 'orders'"),
        ("event.data", "is not a yes or no but {}"),
        ("null", "is not a yes or no but None"),
        ("insight.type > 5", "can never be evaluated: No such overload"),
        ("service.name && true", "can never be evaluated: No such overload"),
        ("service.name.startswith('o')", "can never be evaluated: Undefined variable or function"),
    ],
)
def test_what_is_no_yes_or_no_whatever_the_values_is_found(text: str, why: str) -> None:
    """By its types: it could not hold over any facts like these."""
    assert Expression(text).never(KNOWN).startswith(f"{text!r} {why}")


@pytest.mark.parametrize(
    "text",
    [
        "event.data.load > 80",
        "event.data.flag",
        "event.data.a + event.data.b",
        "int(service.owner) > 5",
        "100 / (insight.risk - 80) > 1",
        "timestamp(service.owner) < timestamp('2026-01-01T00:00:00Z')",
    ],
)
def test_what_other_values_could_make_a_yes_or_no_is_left_alone(text: str) -> None:
    """Although over these it is an error."""
    with pytest.raises(ExpressionError):
        Expression(text).holds(KNOWN)
    assert Expression(text).never(KNOWN) == ""


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
    assert Pattern(pattern).matches(text) is whole
    assert expressions.found(text, pattern) is anywhere


@pytest.mark.parametrize("pattern", ["(", "((a{99}){99}){99}", "(?=a)"])
@pytest.mark.parametrize("ask", [Pattern, lambda pattern: expressions.found("text", pattern)])
def test_what_is_no_pattern_is_an_error(ask: Callable[[str], object], pattern: str) -> None:
    """Not a no; nor is one that the engine would need too much memory for, or cannot do."""
    with pytest.raises(ExpressionError, match="is not a regular expression"):
        ask(pattern)


def test_a_pattern_is_short() -> None:
    """What is longer is refused before it costs anything."""
    assert Pattern("a" * MAX_PATTERN).matches("a" * MAX_PATTERN)
    with pytest.raises(ExpressionError, match="at most 200 characters"):
        Pattern("a" * (MAX_PATTERN + 1))


def test_patterns_are_equal_by_their_text() -> None:
    """Like expressions."""
    assert Pattern("a") == Pattern("a")
    assert Pattern("a") != Pattern("b")


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        ("event.data.load > 80", True),
        ("80 <= event.data.load", True),
        ("event.data.change < -5.5", True),
        ("event.data.code == 500", False),
        ("event.data.code == 500 && event.data.now < event.data.before", False),
        ("event.data.list[0] > event.data.list[1]", False),
        ("event.data.text == '> 5'", False),
    ],
)
def test_a_limit_is_a_number_beside_a_sign(text: str, limits: bool) -> None:
    """Neither a number that is looked for, nor two things of which one is more."""
    assert Expression(text).limits is limits
