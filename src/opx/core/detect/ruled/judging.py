# SPDX-License-Identifier: Apache-2.0

"""What every rule does with a window it has judged: hold, fire, clear, and say why.

Shared by the blocks. The trace of a finding names every condition, whether it held or not:
none is left out because another has failed already. It must never fire twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from opx.core.base.time import MINUTE, Ms
from opx.core.detect.finding import ClearReason, Finding, FindingKind, FindingState
from opx.core.detect.rules import DetectionRule
from opx.core.ingest.signals import Identity, Series, Severity

HUGE = 1.7976931348623157e308
"""Sums stop here: an infinity could not be saved."""
SILENCE: Ms = 15 * MINUTE
"""What fires and of which nothing was said for this long, and two windows, has expired."""
MOST_STEPS = 20
TRUNCATED = "TRUNCATED"
Plain = dict[str, object]


def condition(name: str, expected: object, seen: object, held: bool) -> Plain:
    """One step of a trace."""
    return {"condition": name, "expected": expected, "seen": seen, "held": held}


def trace(steps: Sequence[Plain]) -> list[Plain]:
    """The first ``MOST_STEPS`` of them, and how many more there were."""
    more = len(steps) - MOST_STEPS
    mark = [condition(TRUNCATED, f"{more} more", None, False)] if more > 0 else []
    return [*steps[:MOST_STEPS], *mark]


@dataclass(slots=True)
class Judged:
    """How one stream stands with one rule. ``breached_since``: the start of the first bad
    window of those that followed each other."""

    breached_since: Ms | None = None
    firing: Finding | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one window came to. ``breach``: the condition on its value, as a trace step;
    ``others``: those that let it be judged at all."""

    start: Ms
    end: Ms
    breach: Plain
    summary: str
    evidence: Plain
    others: tuple[Plain, ...] = ()


def judge(
    rule: DetectionRule, stream: str, identity: Identity, judged: Judged, verdict: Verdict
) -> Finding | None:
    """The edge that a judged window makes, if it makes one."""
    firing = judged.firing
    if not verdict.breach["held"]:
        judged.breached_since, judged.firing = None, None
        if firing is None:
            return None
        return firing.clear(ClearReason.RESOLVED, verdict.end, _evidence(rule, verdict, None))
    if judged.breached_since is None:
        judged.breached_since = verdict.start
    if firing is not None or verdict.end - judged.breached_since < rule.hold:
        return None
    judged.firing = Finding(
        id=rule.finding_id(stream, verdict.end),
        rule=rule.rule,
        stream=stream,
        identity=identity,
        kind=rule.kind,
        state=FindingState.FIRING,
        severity=rule.severity,
        since=judged.breached_since,
        at=verdict.end,
        summary=f"{rule.name}: {verdict.summary}",
        evidence=_evidence(rule, verdict, judged.breached_since),
    )
    return judged.firing


def stop(judged: Judged, reason: ClearReason, at: Ms, note: str) -> list[Finding]:
    """End what is open without a window that says so."""
    firing, judged.firing, judged.breached_since = judged.firing, None, None
    return [] if firing is None else [firing.clear(reason, at, {"note": note})]


def silence(window: Ms) -> Ms:
    """After how long without a word a finding of such windows has expired."""
    return max(SILENCE, 2 * window)


def stream_of(series: Series) -> str:
    labels = ",".join(f"{name}={value}" for name, value in sorted(series.labels.items()))
    return f"{series.metric}{{{labels}}}"


def place_of(identity: Identity) -> str:
    return f"{identity.environment}/{identity.service}/{identity.resource}"


def finding_from(row: Mapping[str, Any] | None) -> Finding | None:
    """A finding out of its plain form."""
    if row is None:
        return None
    typed = {
        "identity": Identity(**row["identity"]),
        "kind": FindingKind(row["kind"]),
        "state": FindingState(row["state"]),
        "severity": Severity(row["severity"]),
    }
    return Finding(**{**row, **typed})


def _evidence(rule: DetectionRule, verdict: Verdict, since: Ms | None) -> Plain:
    steps = [verdict.breach, *verdict.others]
    if rule.hold:
        held_for = 0 if since is None else verdict.end - since
        steps.append(condition("for", f"{rule.hold} ms", f"{held_for} ms", held_for >= rule.hold))
    said = {"signal": rule.signal.value} if rule.signal else {}
    return {
        **verdict.evidence,
        **said,
        "window": [verdict.start, verdict.end],
        "justification": rule.justification,
        "trace": trace(steps),
    }
