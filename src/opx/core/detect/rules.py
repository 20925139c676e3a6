# SPDX-License-Identifier: Apache-2.0

"""The ``DetectionRule`` document: one thing to look for, in one of five blocks.

Belongs to stage 2; ``ruled`` and ``events`` apply it. A number without a reason is not a
rule: ``justification`` says where a limit comes from, and is mandatory where there is one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any, ClassVar

from opx.core.base.documents import Document, Node
from opx.core.base.expressions import Expression, found
from opx.core.base.reads import Stat
from opx.core.base.time import DAY, SECOND, Ms
from opx.core.detect.finding import Finding, FindingKind
from opx.core.ingest import identity
from opx.core.ingest.signals import LogLevel, Series, Severity
from opx.errors import ExpressionError

KIND = "DetectionRule"


class Side(StrEnum):
    ABOVE = "above"
    BELOW = "below"


@dataclass(frozen=True, slots=True)
class Limit:
    """A value strictly on this side of ``value`` breaches it."""

    side: Side
    value: float

    def __str__(self) -> str:
        return f"{self.side} {self.value:g}"

    def breached(self, value: float) -> bool:
        return value > self.value if self.side is Side.ABOVE else value < self.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Selector:
    """The series of a metric that have these labels; others they may have too. What its identity
    says are labels of every series here."""

    metric: str
    labels: dict[str, str] = field(default_factory=dict)

    def matches(self, series: Series) -> bool:
        if series.metric != self.metric:
            return False
        return self.labels.items() <= identity.labels_of(series).items()


@dataclass(frozen=True, slots=True)
class Check:
    """What stands in one block. ``block``: its name. ``kind``: what it finds, unless the rule
    says otherwise. ``holds``: whether ``for`` means anything to it. ``lines``: whether log lines
    are what it looks at."""

    block: ClassVar[str]
    kind: ClassVar[FindingKind] = FindingKind.SYMPTOM
    holds: ClassVar[bool] = False
    lines: ClassVar[bool] = False

    @property
    def limited(self) -> bool:
        """Whether there is a number in it that needs its reason."""
        return True

    @property
    def metrics(self) -> set[str]:
        """Those whose series it looks at: one for each selector in it."""
        said = (getattr(self, one.name) for one in fields(self))
        return {one.metric for one in said if isinstance(one, Selector)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold(Check):
    """``stat`` of each series over each ``window`` breaches ``limit``."""

    block = "threshold"
    holds = True
    series: Selector
    stat: Stat
    window: Ms
    limit: Limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio(Check):
    """``part`` over ``whole`` breaches ``limit``: how much the counters of one identity grew in
    each ``window``. A whole below ``at_least`` says nothing."""

    block = "ratio"
    holds = True
    part: Selector
    whole: Selector
    window: Ms
    limit: Limit
    at_least: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Absence(Check):
    """A series that came regularly has been silent for ``after``."""

    block = "absence"
    kind = FindingKind.EVIDENCE
    series: Selector
    after: Ms


FACTS: dict[str, Any] = {
    "event": {
        "id": "1",
        "source": "/deploy",
        "type": "opx.release.deployed",
        "subject": "orders",
        "severity": 2,
        "environment": "shop",
        "service": "orders",
        "resource": "orders-1",
        "data": {},
    }
}
"""What ``events.facts`` gives, for example: a ``when`` is held against it as it is read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventClass:
    """Events of ``type`` for which every ``when`` holds. ``source`` "": any."""

    type: str
    source: str = ""
    when: tuple[Expression, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening(Check):
    """An event of a class; over with one of ``clears`` about the same thing, or ``expires``
    after the last."""

    block = "event"
    event: EventClass
    expires: Ms
    clears: EventClass | None = None

    @property
    def limited(self) -> bool:
        """Only where a condition holds something against a number: a type is no limit."""
        whens = (*self.event.when, *(self.clears.when if self.clears else ()))
        return any(when.limits for when in whens)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogBurst(Check):
    """Lines of at least ``level`` in which ``pattern`` is found ("": any), per identity and
    ``window``: more than ``above`` times the usual, and at least ``at_least``."""

    block = "logs"
    kind = FindingKind.EVIDENCE
    lines = True
    level: LogLevel
    window: Ms
    above: float
    at_least: int
    pattern: str = ""

    def wants(self, level: LogLevel, message: str) -> bool:
        """In time linear in the message, whatever the pattern."""
        if level < self.level:
            return False
        return not self.pattern or found(message, self.pattern)


class Signal(StrEnum):
    """What of a service a rule looks at: the four golden signals. Only its author knows."""

    LATENCY = "latency"
    ERRORS = "errors"
    TRAFFIC = "traffic"
    SATURATION = "saturation"


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectionRule:
    """What to look for (``check``), how long it must hold (``hold``, 0: one window is enough)
    and what it then is. ``signal``: what that says of the service. ``spec``: what ``check`` was
    read from, as plain values."""

    name: str
    hash: str
    check: Check
    severity: Severity
    kind: FindingKind
    signal: Signal | None = None
    justification: str = ""
    hold: Ms = 0
    spec: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def rule(self) -> str:
        """Its name as findings carry it. No other detector's has a slash."""
        return f"{self.check.block}/{self.name}"

    def finding_id(self, stream: str, fired_at: Ms) -> str:
        """A rule that was changed never fires under the id of what it was before."""
        return Finding.id_of(f"{self.rule}/{self.hash}", stream, fired_at)

    def found(self, finding: Finding) -> bool:
        """Whether this version of it is what an open finding comes from."""
        return finding.id == self.finding_id(finding.stream, finding.at)

    def plain(self) -> dict[str, Any]:
        """What ``restored`` makes the same rule from."""
        return {"name": self.name, "hash": self.hash, "spec": self.spec}


def bind_rule(document: Document) -> DetectionRule:
    """Read a ``DetectionRule`` document. ``DocumentError`` with the line of what is wrong."""
    if document.kind != KIND:
        raise document.at("kind").wrong(f"a {KIND} is expected, not a {document.kind}")
    return _bind(document.name, document.hash, document.spec)


def restored(row: Mapping[str, Any]) -> DetectionRule:
    """The rule whose ``plain`` this is."""
    return _bind(row["name"], row["hash"], _node(row["spec"]))


def _bind(name: str, hash: str, root: Node) -> DetectionRule:
    spec = root.fields(("severity",), ("kind", "signal", "justification", "for", *_BLOCKS))
    given = [block for block in _BLOCKS if block in spec]
    if len(given) != 1:
        raise root.wrong("exactly one block is needed", "one of " + ", ".join(_BLOCKS))
    block = given[0]
    check = _BLOCKS[block](spec[block])
    if "for" in spec and not check.holds:
        raise spec["for"].wrong(f"'for' means nothing to '{block}'", "leave it out")
    return DetectionRule(
        name=name,
        hash=hash,
        check=check,
        severity=spec["severity"].choice(Severity),
        kind=spec["kind"].choice(FindingKind) if "kind" in spec else check.kind,
        signal=spec["signal"].choice(Signal) if "signal" in spec else None,
        justification=_justification(root, spec, check),
        hold=spec["for"].duration(0, 7 * DAY) if "for" in spec else 0,
        spec=root.plain(),  # type: ignore[arg-type]  # it is a mapping: its fields were read
    )


def _threshold(node: Node) -> Threshold:
    spec = node.fields(("metric", "stat", "window"), ("labels", "above", "below"))
    return Threshold(
        series=_selector(spec),
        stat=spec["stat"].choice(Stat),
        window=spec["window"].duration(SECOND, DAY),
        limit=_limit(node, spec),
    )


def _ratio(node: Node) -> Ratio:
    spec = node.fields(("part", "whole", "window", "atLeast"), ("above", "below"))
    at_least = spec["atLeast"].number()
    if at_least <= 0:
        raise spec["atLeast"].wrong("nothing is no whole", "write a number above 0")
    return Ratio(
        part=_selector(spec["part"].fields(("metric",), ("labels",))),
        whole=_selector(spec["whole"].fields(("metric",), ("labels",))),
        window=spec["window"].duration(SECOND, DAY),
        limit=_limit(node, spec),
        at_least=at_least,
    )


def _absence(node: Node) -> Absence:
    spec = node.fields(("metric", "after"), ("labels",))
    return Absence(series=_selector(spec), after=spec["after"].duration(SECOND, DAY // 2))


def _happening(node: Node) -> Happening:
    spec = node.fields(("type", "expires"), ("source", "when", "clears"))
    clears = None
    if "clears" in spec:
        clears = _class(spec["clears"].fields(("type",), ("when",)))
    return Happening(
        event=_class(spec), expires=spec["expires"].duration(SECOND, 7 * DAY), clears=clears
    )


def _class(spec: dict[str, Node]) -> EventClass:
    return EventClass(
        type=spec["type"].text(r"\S+", 200),
        source=spec["source"].text(r"\S+", 1_000) if "source" in spec else "",
        when=tuple(one.expression(FACTS) for one in spec["when"].items()) if "when" in spec else (),
    )


def _logs(node: Node) -> LogBurst:
    spec = node.fields(("level", "window", "above", "atLeast"), ("matches",))
    above = spec["above"].number()
    if above < 1:
        raise spec["above"].wrong("less than the usual is no burst", "write 1 or more")
    return LogBurst(
        level=spec["level"].choice(LogLevel),
        window=spec["window"].duration(SECOND, DAY),
        above=above,
        at_least=spec["atLeast"].integer(1, 1_000_000_000),
        pattern=_pattern(spec["matches"]) if "matches" in spec else "",
    )


_BLOCKS: dict[str, Callable[[Node], Check]] = {
    Threshold.block: _threshold,
    Ratio.block: _ratio,
    Absence.block: _absence,
    Happening.block: _happening,
    LogBurst.block: _logs,
}
BLOCKS = tuple(_BLOCKS)


def _selector(spec: dict[str, Node]) -> Selector:
    labels = spec["labels"].entries() if "labels" in spec else {}
    return Selector(
        metric=spec["metric"].text(r"\S+", 200),
        labels={name: node.text(most=200) for name, node in labels.items()},
    )


def _limit(node: Node, spec: dict[str, Node]) -> Limit:
    given = [side for side in Side if side in spec]
    if len(given) != 1:
        raise node.wrong("exactly one of 'above' and 'below' is needed")
    return Limit(given[0], spec[given[0]].number())


def _pattern(node: Node) -> str:
    pattern = node.text(r"[\s\S]+", 500)
    try:
        found("", pattern)
    except ExpressionError as error:
        raise node.wrong(str(error)) from error
    return pattern


def _justification(root: Node, spec: dict[str, Node], check: Check) -> str:
    if "justification" not in spec:
        if not check.limited:
            return ""
        raise root.wrong("the field 'justification' is missing", "say what gives this limit")
    text = spec["justification"].text().strip()
    if not text:
        raise spec["justification"].wrong("a limit needs its reason", "say what gives it")
    return text


def _node(value: Any) -> Node:
    if isinstance(value, Mapping):
        value = {name: _node(inner) for name, inner in value.items()}
    elif isinstance(value, (list, tuple)):
        value = [_node(inner) for inner in value]
    return Node(value, 0, "what was saved")
