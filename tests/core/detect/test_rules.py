# SPDX-License-Identifier: Apache-2.0

"""The DetectionRule document."""

from __future__ import annotations

from typing import Any

import pytest

from opx.core.base.documents import Document, Node, envelope
from opx.core.base.reads import Stat
from opx.core.detect.finding import FindingKind
from opx.core.detect.rules import Side, bind_rule
from opx.core.ingest.signals import Identity, Series, Severity
from opx.errors import DocumentError

SPEC: dict[str, Any] = {
    "metric": "http_latency_ms",
    "labels": {"service": "orders"},
    "stat": "avg",
    "window": "10s",
    "above": 250,
    "for": "30s",
    "severity": "sev3",
    "kind": "evidence",
    "justification": "the contract promises 250 ms",
}


def node(value: Any) -> Node:
    if isinstance(value, dict):
        value = {name: node(item) for name, item in value.items()}
    return Node(value, 7, "rules.yaml")


def document(of: str = "DetectionRule", **spec: Any) -> Document:
    """``SPEC`` with changes; a change to ``...`` leaves the field out."""
    merged = {name: value for name, value in {**SPEC, **spec}.items() if value is not ...}
    tree = {"apiVersion": "opx/v1", "kind": of, "metadata": {"name": "slow"}, "spec": merged}
    return envelope(node(tree))


def test_a_full_document_is_read() -> None:
    """Every field has its place, its type and its unit."""
    rule = bind_rule(document())

    assert (rule.name, rule.rule, rule.metric) == ("slow", "threshold/slow", "http_latency_ms")
    assert (rule.stat, rule.window, rule.hold) == (Stat.AVG, 10_000, 30_000)
    assert (rule.side, rule.limit) == (Side.ABOVE, 250.0)
    assert (rule.severity, rule.kind) == (Severity.SEV3, FindingKind.EVIDENCE)
    assert rule.labels == {"service": "orders"}
    assert rule.justification == "the contract promises 250 ms"
    assert rule.hash == document().hash


def test_what_may_be_left_out() -> None:
    """Without labels, for and kind it is a symptom on every series, after one window."""
    rule = bind_rule(document(labels=..., kind=..., **{"for": ...}))

    assert (rule.labels, rule.hold, rule.kind) == ({}, 0, FindingKind.SYMPTOM)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"justification": ...}, "'justification' is missing"),
        ({"justification": "  "}, "needs its reason"),
        ({"below": 3}, "exactly one of"),
        ({"above": ...}, "exactly one of"),
        ({"above": "many"}, "a number is expected"),
        ({"stat": "p99"}, "one of count, avg, min, max, sum"),
        ({"severity": "sev9"}, "not known here"),
        ({"window": "10ms"}, "not within"),
        ({"windw": "10s"}, "did you mean 'window'"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(change: dict[str, Any], message: str) -> None:
    """The error names file, line and what is wrong."""
    with pytest.raises(DocumentError, match=r"rules\.yaml:7: ") as caught:
        bind_rule(document(**change))

    assert message in str(caught.value)


def test_another_kind_is_refused() -> None:
    """A Service is not a rule."""
    with pytest.raises(DocumentError, match="a DetectionRule is expected"):
        bind_rule(document(of="Service"))


@pytest.mark.parametrize(
    ("metric", "labels", "matches"),
    [
        ("http_latency_ms", {"service": "orders", "host": "a"}, True),
        ("http_latency_ms", {"service": "store"}, False),
        ("http_latency_ms", {}, False),
        ("http_latency", {"service": "orders"}, False),
    ],
)
def test_a_rule_matches_by_metric_and_equal_labels(
    metric: str, labels: dict[str, str], matches: bool
) -> None:
    """Labels the rule does not name do not matter."""
    series = Series(sid=0, metric=metric, labels=labels, identity=Identity("prod", "orders"))

    assert bind_rule(document()).matches(series) is matches


def test_a_limit_itself_is_no_breach() -> None:
    """Above and below are strict."""
    above, below = bind_rule(document()), bind_rule(document(above=..., below=250))

    assert [above.breached(value) for value in (249.9, 250.0, 250.1)] == [False, False, True]
    assert [below.breached(value) for value in (249.9, 250.0, 250.1)] == [True, False, False]
