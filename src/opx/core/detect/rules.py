# SPDX-License-Identifier: Apache-2.0

"""The ``DetectionRule`` document: one threshold on one statistic of some metric streams.

Belongs to stage 2; ``thresholds`` applies it. A number without a reason is not a rule:
``justification`` says where the threshold comes from, and is mandatory.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from opx.core.base.documents import Document, Node
from opx.core.base.reads import Stat
from opx.core.base.time import DAY, SECOND, Ms
from opx.core.detect.finding import FindingKind
from opx.core.ingest.signals import Series, Severity

KIND = "DetectionRule"
PREFIX = "threshold/"
"""What its findings' ``rule`` begins with; no other detector's has a slash."""


class Side(StrEnum):
    ABOVE = "above"
    BELOW = "below"


@dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdRule:
    """Fires when ``stat`` over each ``window`` stays strictly ``side`` of ``limit`` for
    ``hold`` (0: one window is enough). ``labels``: those a series must have to match."""

    name: str
    hash: str
    metric: str
    stat: Stat
    window: Ms
    side: Side
    limit: float
    severity: Severity
    justification: str
    labels: dict[str, str] = field(default_factory=dict)
    hold: Ms = 0
    kind: FindingKind = FindingKind.SYMPTOM

    @property
    def rule(self) -> str:
        """Its name as findings carry it."""
        return PREFIX + self.name

    def matches(self, series: Series) -> bool:
        return series.metric == self.metric and self.labels.items() <= series.labels.items()

    def breached(self, value: float) -> bool:
        return value > self.limit if self.side is Side.ABOVE else value < self.limit


def bind_rule(document: Document) -> ThresholdRule:
    """Read a ``DetectionRule`` document. ``DocumentError`` with the line of what is wrong."""
    if document.kind != KIND:
        raise document.spec.wrong(f"a {KIND} is expected, not a {document.kind}")
    spec = document.spec.fields(
        ("metric", "stat", "window", "severity", "justification"),
        ("labels", "above", "below", "for", "kind"),
    )
    side, limit = _limit(document.spec, spec)
    labels = spec["labels"].entries() if "labels" in spec else {}
    return ThresholdRule(
        name=document.name,
        hash=document.hash,
        metric=spec["metric"].text(r"\S+", 200),
        stat=spec["stat"].choice(Stat),
        window=spec["window"].duration(SECOND, DAY),
        side=side,
        limit=limit,
        severity=spec["severity"].choice(Severity),
        justification=_justification(spec["justification"]),
        labels={name: node.text(most=200) for name, node in labels.items()},
        hold=spec["for"].duration(0, 7 * DAY) if "for" in spec else 0,
        kind=spec["kind"].choice(FindingKind) if "kind" in spec else FindingKind.SYMPTOM,
    )


def _limit(root: Node, spec: dict[str, Node]) -> tuple[Side, float]:
    given = [side for side in Side if side in spec]
    if len(given) != 1:
        raise root.wrong("exactly one of 'above' and 'below' is needed")
    return given[0], spec[given[0]].number()


def _justification(node: Node) -> str:
    text = node.text().strip()
    if not text:
        raise node.wrong("a threshold needs its reason", "say what gives this number")
    return text
