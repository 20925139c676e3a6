# SPDX-License-Identifier: Apache-2.0
"""Readers of document trees: strict, and every error with its place and its mend."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import pytest

from opx.core.base import documents
from opx.core.base.documents import Node
from opx.core.ingest.signals import Severity
from opx.errors import DocumentError


class Side(StrEnum):
    ABOVE = "above"
    BELOW = "below"


def tree(value: Any, line: int = 7) -> Node:
    """``value`` as a parser would give it, all on one line."""
    if isinstance(value, dict):
        return Node({name: tree(each, line) for name, each in value.items()}, line, "a.yaml")
    if isinstance(value, list):
        return Node([tree(each, line) for each in value], line, "a.yaml")
    return Node(value, line, "a.yaml")


def test_an_unknown_field_is_named_with_a_hint() -> None:
    """File, line, the field, and what was probably meant."""
    with pytest.raises(DocumentError) as caught:
        tree({"intervall": "1s"}).fields((), ("interval", "timeout"))

    assert str(caught.value) == ("a.yaml:7: unknown field 'intervall' (did you mean 'interval'?)")
    assert (caught.value.line, caught.value.source) == (7, "a.yaml")


def test_a_missing_field_is_named() -> None:
    """What is required must be there."""
    with pytest.raises(DocumentError, match="'environment' is missing"):
        tree({}).fields(("environment",))


@pytest.mark.parametrize(
    ("value", "read", "wanted"),
    [
        ("5m", lambda node: node.duration(), 300_000),
        (3, lambda node: node.integer(1, 5), 3),
        (0.5, lambda node: node.number(), 0.5),
        (True, lambda node: node.boolean(), True),
        ("above", lambda node: node.choice(Side), Side.ABOVE),
        ("sev2", lambda node: node.choice(Severity), Severity.SEV2),
        (2, lambda node: node.choice(Severity), Severity.SEV2),
        (["a", "b"], lambda node: node.texts(), ("a", "b")),
        ("a < 1", lambda node: node.expression({"a": 1}).text, "a < 1"),
    ],
)
def test_each_reader_gives_its_type(value: object, read: Any, wanted: object) -> None:
    """A value of the right type is read."""
    assert read(tree(value)) == wanted


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (5, lambda node: node.text()),
        ("x" * 11, lambda node: node.text(most=10)),
        ("UPPER", lambda node: node.text("[a-z]+")),
        ("5", lambda node: node.integer(1, 9)),
        (True, lambda node: node.integer(0, 1)),
        (10, lambda node: node.integer(1, 9)),
        (True, lambda node: node.number()),
        ("yes", lambda node: node.boolean()),
        ("between", lambda node: node.choice(Side)),
        (True, lambda node: node.choice(Severity)),
        (1.0, lambda node: node.choice(Severity)),
        ("5 minutes", lambda node: node.duration()),
        ("1h", lambda node: node.duration(1, 1_000)),
        ("1 +", lambda node: node.expression({})),
        ("1 + 1", lambda node: node.expression({})),
        ("a == 1", lambda node: node.expression({"b": 1})),
        ({}, lambda node: node.items()),
        ([], lambda node: node.entries()),
    ],
)
def test_anything_else_is_an_error_with_its_line(value: object, read: Any) -> None:
    """Nothing is converted, guessed or ignored."""
    with pytest.raises(DocumentError, match=r"^a\.yaml:7: "):
        read(tree(value))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("insight.typ == 'x'", "there is no 'insight.typ' (did you mean 'type'?)"),
        ("insight.owner == 'x'", "there is no 'insight.owner' (known: type, risk)"),
        ("insihgt.risk > 1", "there is no 'insihgt' (did you mean 'insight'?)"),
        ("x", "there is no 'x' (known: insight, labels)"),
        ("insight.risk.high", "there is no 'insight.risk.high'"),
        ("insight.risk", "'insight.risk' is not a yes or no but 80"),
    ],
)
def test_an_expression_that_could_never_hold_is_an_error(text: str, said: str) -> None:
    """It names what is not there, and what is there instead."""
    with pytest.raises(DocumentError) as caught:
        tree(text).expression({"insight": {"type": "x", "risk": 80}, "labels": {}})

    assert str(caught.value) == f"a.yaml:7: {said}"


def envelope(**changes: object) -> Node:
    told: dict[str, Any] = {
        "apiVersion": "opx/v1",
        "kind": "Service",
        "metadata": {"name": "orders"},
        "spec": {"environment": "shop"},
    }
    return tree({**told, **changes})


def test_an_envelope_is_checked_and_hashed() -> None:
    """The hash is of the content: where it stands makes no difference, what it says does."""
    document = documents.envelope(envelope())
    elsewhere = documents.envelope(Node(envelope().value, 99, "b.yaml"))
    other = documents.envelope(envelope(spec={"environment": "mall"}))

    assert (document.kind, document.name) == ("Service", "orders")
    assert document.hash == elsewhere.hash
    assert document.hash != other.hash


@pytest.mark.parametrize(
    "changes",
    [
        {"apiVersion": "v1"},
        {"metadata": {}},
        {"metadata": {"name": "Not A Name"}},
        {"extra": 1},
        {"spec": {"number": float("nan")}},
    ],
)
def test_a_wrong_envelope_is_refused(changes: dict[str, object]) -> None:
    """Version, name, fields and numbers are all checked."""
    with pytest.raises(DocumentError):
        documents.envelope(envelope(**changes))
