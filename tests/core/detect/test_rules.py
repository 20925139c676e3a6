# SPDX-License-Identifier: Apache-2.0

"""The DetectionRule document."""

from __future__ import annotations

from typing import Any

import pytest

from opx.core.base.documents import Document, Node, envelope
from opx.core.base.reads import Stat
from opx.core.detect.finding import FindingKind
from opx.core.detect.rules import (
    Absence,
    DetectionRule,
    Happening,
    Limit,
    LogBurst,
    Ratio,
    Selector,
    Side,
    Signal,
    Threshold,
    bind_rule,
    restored,
)
from opx.core.ingest.signals import Identity, LogLevel, Series, Severity
from opx.errors import DocumentError

THRESHOLD: dict[str, Any] = {
    "metric": "http_latency_ms",
    "labels": {"service": "orders"},
    "stat": "p95",
    "window": "10s",
    "above": 250,
}
RATIO: dict[str, Any] = {
    "part": {"metric": "requests", "labels": {"code": "500"}},
    "whole": {"metric": "requests"},
    "window": "1m",
    "above": 0.05,
    "atLeast": 20,
}
ABSENCE: dict[str, Any] = {"metric": "up", "after": "30s"}
EVENT: dict[str, Any] = {
    "type": "opx.file.drifted",
    "source": "/watch",
    "when": ["event.data.path != '/tmp'"],
    "expires": "1h",
    "clears": {"type": "opx.file.restored"},
}
LOGS: dict[str, Any] = {
    "level": "error",
    "matches": "refused|reset",
    "window": "1m",
    "above": 3,
    "atLeast": 10,
}
BLOCKS = {
    "threshold": THRESHOLD,
    "ratio": RATIO,
    "absence": ABSENCE,
    "event": EVENT,
    "logs": LOGS,
}


def node(value: Any) -> Node:
    if isinstance(value, dict):
        value = {name: node(item) for name, item in value.items()}
    elif isinstance(value, list):
        value = [node(item) for item in value]
    return Node(value, 7, "rules.yaml")


def without(told: dict[str, Any]) -> dict[str, Any]:
    """What is left when every field that is ``...`` is left out."""
    return {name: value for name, value in told.items() if value is not ...}


def document(
    block: str = "threshold",
    change: dict[str, Any] | None = None,
    of: str = "DetectionRule",
    **spec: Any,
) -> Document:
    """A rule with this block, its fields changed, and ``spec`` around it."""
    around = {"severity": "sev3", "justification": "the contract promises 250 ms"}
    inner = without({**BLOCKS[block], **(change or {})})
    merged = without({**around, block: inner, **spec})
    tree = {"apiVersion": "opx/v1", "kind": of, "metadata": {"name": "slow"}, "spec": merged}
    return envelope(node(tree))


def bound(block: str = "threshold", **spec: Any) -> DetectionRule:
    return bind_rule(document(block, **spec))


def test_a_full_document_is_read() -> None:
    """Every field has its place, its type and its unit."""
    rule = bound(kind="evidence", signal="latency", **{"for": "30s"})

    assert (rule.name, rule.rule, rule.hold) == ("slow", "threshold/slow", 30_000)
    assert rule.check == Threshold(
        series=Selector(metric="http_latency_ms", labels={"service": "orders"}),
        stat=Stat.P95,
        window=10_000,
        limit=Limit(Side.ABOVE, 250.0),
    )
    assert (rule.severity, rule.kind) == (Severity.SEV3, FindingKind.EVIDENCE)
    assert rule.signal is Signal.LATENCY
    assert rule.justification == "the contract promises 250 ms"
    assert rule.hash == document(kind="evidence", signal="latency", **{"for": "30s"}).hash


def test_what_may_be_left_out() -> None:
    """Without labels, for and kind it is a symptom on every series, after one window."""
    rule = bound(change={"labels": ...})

    assert isinstance(rule.check, Threshold)
    assert (rule.check.series.labels, rule.hold, rule.kind) == ({}, 0, FindingKind.SYMPTOM)


def test_the_other_blocks_are_read() -> None:
    """Each in its own terms."""
    whole = Selector(metric="requests")
    assert bound("ratio").check == Ratio(
        part=Selector(metric="requests", labels={"code": "500"}),
        whole=whole,
        window=60_000,
        limit=Limit(Side.ABOVE, 0.05),
        at_least=20.0,
    )
    assert bound("absence").check == Absence(series=Selector(metric="up"), after=30_000)
    assert bound("logs").check == LogBurst(
        level=LogLevel.ERROR, window=60_000, above=3.0, at_least=10, pattern="refused|reset"
    )
    happening = bound("event").check
    assert isinstance(happening, Happening)
    assert happening.clears is not None
    assert (happening.event.type, happening.event.source) == ("opx.file.drifted", "/watch")
    assert [when.text for when in happening.event.when] == ["event.data.path != '/tmp'"]
    assert (happening.expires, happening.clears.type) == (3_600_000, "opx.file.restored")


@pytest.mark.parametrize(
    ("block", "kind"),
    [
        ("threshold", FindingKind.SYMPTOM),
        ("ratio", FindingKind.SYMPTOM),
        ("event", FindingKind.SYMPTOM),
        ("absence", FindingKind.EVIDENCE),
        ("logs", FindingKind.EVIDENCE),
    ],
)
def test_what_a_block_finds_by_itself(block: str, kind: FindingKind) -> None:
    """What is merely odd is evidence; a document may say otherwise."""
    assert bound(block).kind is kind
    assert bound(block, kind="symptom").kind is FindingKind.SYMPTOM
    assert bound(block).rule == f"{block}/slow"


def test_a_number_needs_its_reason() -> None:
    """In every block but of an event, which has one if a condition of it does."""
    for block in ("threshold", "ratio", "absence", "logs"):
        with pytest.raises(DocumentError, match="'justification' is missing"):
            bound(block, justification=...)
    assert bound("event", justification=...).justification == ""


@pytest.mark.parametrize(
    ("when", "needed"),
    [
        ("event.data.load > 80", True),
        ("0.9 <= event.data.used / event.data.total", True),
        ("event.data.path != '/tmp' && size(event.data.path) < 0x10", True),
        ("event.severity <= 2", True),
        ("event.data.load > event.data.limit", False),
        ("event.data.version > '80' // > 80", False),
        ("event.data.exit != 0 || event.data.code in [137, 143]", False),
        ("event.data.path != '/tmp'", False),
    ],
)
def test_a_condition_with_a_limit_needs_its_reason(when: str, needed: bool) -> None:
    """Of what fires and of what clears: a number that something is above or below. One that it is,
    or is not, is a name."""
    for change in ({"when": [when]}, {"clears": {"type": "x", "when": ["true", when]}}):
        read = document("event", change, justification=...)
        if needed:
            with pytest.raises(DocumentError, match="'justification' is missing"):
                bind_rule(read)
        else:
            assert bind_rule(read).justification == ""
        assert bind_rule(document("event", change)).justification == "the contract promises 250 ms"


@pytest.mark.parametrize(
    ("block", "change", "message"),
    [
        ("threshold", {"below": 3}, "exactly one of"),
        ("threshold", {"above": ...}, "exactly one of"),
        ("threshold", {"above": "many"}, "a number is expected"),
        ("threshold", {"stat": "p42"}, "one of count, avg, min, max, sum"),
        ("threshold", {"window": "10ms"}, "not within"),
        ("threshold", {"windw": "10s"}, "did you mean 'window'"),
        ("ratio", {"atLeast": 0}, "nothing is no whole"),
        ("ratio", {"part": {"labels": {}}}, "'metric' is missing"),
        ("ratio", {"below": 3}, "exactly one of"),
        ("absence", {"after": "13h"}, "not within"),
        ("absence", {"above": 1}, "unknown field 'above'"),
        ("event", {"when": ["event.data.path ="]}, "is not a CEL expression"),
        ("event", {"when": ["event.dat.path == ''"]}, "did you mean 'data'"),
        ("event", {"when": ["event.data"]}, "is not a yes or no but {}"),
        ("event", {"when": ["insight.risk > 1"]}, "there is no 'insight' (known: event)"),
        ("event", {"clears": {"type": "x", "when": ["event.typ == 'x'"]}}, "did you mean 'type'"),
        ("event", {"clears": {"source": "/x"}}, "unknown field 'source'"),
        ("event", {"expires": "8d"}, "not within"),
        ("logs", {"above": 0.5}, "less than the usual is no burst"),
        ("logs", {"matches": "(("}, "is not a regular expression"),
        ("logs", {"level": "loud"}, "not known here"),
        ("logs", {"atLeast": 0}, "not within"),
    ],
)
def test_what_is_wrong_in_a_block_is_said_with_its_line(
    block: str, change: dict[str, Any], message: str
) -> None:
    """The error names file, line and what is wrong."""
    with pytest.raises(DocumentError, match=r"rules\.yaml:7: ") as caught:
        bind_rule(document(block, change))

    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("block", "spec", "message"),
    [
        ("threshold", {"justification": "  "}, "needs its reason"),
        ("threshold", {"severity": "sev9"}, "not known here"),
        ("threshold", {"signal": "noise"}, "one of latency, errors, traffic, saturation"),
        ("threshold", {"absence": ABSENCE}, "exactly one block"),
        ("threshold", {"threshold": ...}, "exactly one block"),
        ("absence", {"for": "30s"}, "'for' means nothing to 'absence'"),
        ("event", {"for": "30s"}, "'for' means nothing to 'event'"),
        ("logs", {"for": "30s"}, "'for' means nothing to 'logs'"),
    ],
)
def test_what_is_wrong_around_a_block_is_said_with_its_line(
    block: str, spec: dict[str, Any], message: str
) -> None:
    """Likewise."""
    with pytest.raises(DocumentError, match=r"rules\.yaml:7: ") as caught:
        bound(block, **spec)

    assert message in str(caught.value)


def test_another_kind_is_refused() -> None:
    """A Service is not a rule."""
    with pytest.raises(DocumentError, match="a DetectionRule is expected"):
        bind_rule(document(of="Service"))


@pytest.mark.parametrize("block", BLOCKS)
def test_a_rule_that_was_saved_is_the_same_rule(block: str) -> None:
    """From its plain form, without the document."""
    assert restored(bound(block).plain()) == bound(block)


@pytest.mark.parametrize(
    ("metric", "labels", "service", "matches"),
    [
        ("http_latency_ms", {"service": "orders", "host": "a"}, "orders", True),
        ("http_latency_ms", {"app": "orders"}, "orders", True),
        ("http_latency_ms", {"service": "store"}, "store", False),
        ("http_latency_ms", {}, "", False),
        ("http_latency", {"service": "orders"}, "orders", False),
    ],
)
def test_a_rule_matches_by_metric_and_equal_labels(
    metric: str, labels: dict[str, str], service: str, matches: bool
) -> None:
    """Labels the rule does not name do not matter; what the identity says is a label too."""
    series = Series(sid=0, metric=metric, labels=labels, identity=Identity("prod", service))
    check = bound().check

    assert isinstance(check, Threshold)
    assert check.series.matches(series) is matches


def test_a_limit_itself_is_no_breach() -> None:
    """Above and below are strict."""
    above, below = Limit(Side.ABOVE, 250.0), Limit(Side.BELOW, 250.0)

    assert [above.breached(value) for value in (249.9, 250.0, 250.1)] == [False, False, True]
    assert [below.breached(value) for value in (249.9, 250.0, 250.1)] == [True, False, False]


def test_a_pattern_is_found_anywhere_in_a_line_of_many_lines() -> None:
    """In time linear in it, and only at the level and above."""
    check = bound("logs").check

    assert isinstance(check, LogBurst)
    assert check.wants(LogLevel.FATAL, "first\nconnection refused\nlast")
    assert not check.wants(LogLevel.ERROR, "all is well")
    assert not check.wants(LogLevel.WARN, "connection refused")
