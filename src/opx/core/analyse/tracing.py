# SPDX-License-Identifier: Apache-2.0

"""Where trouble that rules found comes from, by the numbers of everybody around it.

Part of stage 4: asks for the rules' own numbers of each service that is connected with the
ill ones, from half an hour before and for two hours at most, and has ``causes`` rank them over
the graph of who calls whom. What it says stands beside the findings; it must never be shown
as a probability, and nothing is done because of it alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from opx.core.analyse.causes.case import Case, Target
from opx.core.analyse.causes.ranking import Evidence, EvidenceKind, rank
from opx.core.analyse.insight import Ranked
from opx.core.base.reads import Answers, SeriesRead, Stat
from opx.core.base.time import HOUR, MINUTE, SECOND, Ms, Window
from opx.core.correlate.episode import Group
from opx.core.correlate.problems import Topology
from opx.core.detect.finding import Finding, FindingKind
from opx.core.detect.rules import DetectionRule, Ratio, Selector, Signal

BEFORE: Ms = 30 * MINUTE
"""How much of the time before the trouble says what is usual."""
HEALTHY: Ms = 30 * SECOND
"""So much of it is looked at together with the trouble, to tell when it began where."""
LONGEST: Ms = 2 * HOUR
"""No more is read, however long the trouble lasts: who began it shows at its beginning."""
PERIOD: Ms = 10 * SECOND
LEAST_USUAL = 6
"""Periods of the target's own numbers that say what is usual; with fewer nobody is blamed."""
MOST_GROUPS = 100
MOST_NAMED = 5
LEAST_SHARE = 0.05
"""Who has less of the blame is not named."""
_NAMES = {Signal.LATENCY: ("latency", ""), Signal.ERRORS: ("errors", "requests")}
"""What the ranking calls the part and the whole of a rule with that signal."""
_WORDS = {
    EvidenceKind.SILENT: "it fell silent",
    EvidenceKind.IDLE: "it is asked no more",
    EvidenceKind.NEW_CALLEE: "it calls what it never called",
    EvidenceKind.LATER: "it began later than who suffers",
    EvidenceKind.UNSEEN: "it never reported",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """What to ask and of whom: ``rules`` with a latency or error ratio, ``groups`` around the
    trouble, ``target`` who suffers from it and nobody else from them."""

    rules: tuple[DetectionRule, ...]
    groups: tuple[Group, ...]
    target: Group
    began: Ms


def trace(
    findings: Iterable[Finding], rules: Iterable[DetectionRule], topology: Topology
) -> Trace | None:
    """None where no such rule found a symptom, or where nobody is connected with it."""
    known = {rule.rule: rule for rule in rules if _named(rule)}
    found = [one for one in findings if one.kind is FindingKind.SYMPTOM and one.rule in known]
    if not found:
        return None
    ill = {_group(one): one for one in found}
    groups = sorted(
        set(ill).union(*(topology.around(one, lambda _: True) for one in ill)), key=_name
    )[:MOST_GROUPS]
    if len(groups) < 2:
        return None
    tops = [one for one in ill if not set(topology.callers.get(one, ())) & ill.keys()]
    return Trace(
        rules=tuple(known[name] for name in sorted({one.rule for one in found})),
        groups=tuple(groups),
        target=min(tops or ill, key=_name),
        began=min(one.since for one in found),
    )


def needs(traced: Trace, now: Ms) -> list[SeriesRead]:
    """The numbers of each group, in periods, until now, or for as long as is read at all."""
    start = (traced.began - BEFORE) // PERIOD * PERIOD
    end = min(now // PERIOD * PERIOD, start + LONGEST)
    window = Window(start, max(end, start + PERIOD))
    return [
        SeriesRead(
            key=_key(group, name),
            metric=series.metric,
            labels={
                **series.labels,
                "environment": group.environment,
                "service": group.service,
            },
            window=window,
            step=PERIOD,
            stat=Stat.RATE,
        )
        for group in traced.groups
        for name, series in _series(traced.rules)
    ]


def ranked(traced: Trace, answers: Answers, topology: Topology) -> tuple[Ranked, ...]:
    """Who has how much of the blame, most first. Nothing where the numbers say nothing."""
    split = (BEFORE - HEALTHY) // PERIOD
    measured = {_name(group): _measured(group, answers) for group in traced.groups}
    usual = next(iter(measured[_name(traced.target)].values()), [])[:split]
    if len(usual) - usual.count(None) < LEAST_USUAL:
        return ()
    case = Case(
        target=Target(node=_name(traced.target), metric=next(iter(_series(traced.rules)))[0]),
        graph={
            _name(group): [_name(one) for one in topology.below(group) if one in traced.groups]
            for group in traced.groups
        },
        baseline={
            node: {name: values[:split] for name, values in metrics.items()}
            for node, metrics in measured.items()
        },
        incident={
            node: {name: values[split:] for name, values in metrics.items()}
            for node, metrics in measured.items()
        },
        period_s=PERIOD / SECOND,
    )
    return tuple(
        Ranked(cause.node, round(cause.score, 3), *said(cause.evidence))
        for cause in rank(case)[:MOST_NAMED]
        if cause.score >= LEAST_SHARE
    )


def said(evidence: Iterable[Evidence]) -> tuple[str, str]:
    """What speaks for somebody as the cause, and what against, in words."""
    spoken: tuple[list[str], list[str]] = [], []
    for one in evidence:
        spoken[one.kind.against].append(_words(one))
    return "; ".join(spoken[False]), "; ".join(spoken[True])


def _named(rule: DetectionRule) -> bool:
    return isinstance(rule.check, Ratio) and rule.signal in _NAMES


def _series(rules: Iterable[DetectionRule]) -> list[tuple[str, Selector]]:
    """The series of the rules, by what the ranking calls them; of several the first."""
    found: dict[str, Selector] = {}
    for rule in rules:
        if isinstance(rule.check, Ratio) and rule.signal in _NAMES:
            part, whole = _NAMES[rule.signal]
            found.setdefault(part, rule.check.part)
            found.setdefault(whole or "requests", rule.check.whole)
    return list(found.items())


def _measured(group: Group, answers: Answers) -> dict[str, list[float | None]]:
    """Latency as seconds a request, the others as they came."""
    told = {
        name: list(answer.values)
        for name in ("latency", "errors", "requests")
        if (answer := answers.get(_key(group, name))) is not None and answer.ok
    }
    requests = told.get("requests", [])
    if "latency" in told:
        told["latency"] = [
            _over(part, of) for part, of in zip(told["latency"], requests, strict=False)
        ]
    return told


def _over(part: float | None, whole: float | None) -> float | None:
    return part / whole if part is not None and whole else None


def _words(one: Evidence) -> str:
    if one.kind is EvidenceKind.OTHERS:
        return f"it cannot explain {one.came or 0:.0%} of the trouble"
    if one.kind is EvidenceKind.STEADY:
        return f"{one.metric} as usual"
    if one.kind in _WORDS:
        return _WORDS[one.kind]
    return f"{one.metric} {_number(one.came)}, usually {_number(one.expected)}"


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3g}"


def _group(finding: Finding) -> Group:
    return Group(finding.identity.environment, finding.identity.service)


def _name(group: Group) -> str:
    return f"{group.environment}/{group.service}"


def _key(group: Group, name: str) -> str:
    return f"trace/{_name(group)}/{name}"
