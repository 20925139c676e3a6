# SPDX-License-Identifier: Apache-2.0

"""What happened, as findings: events that a rule is about, and those that say how bad they are.

A detector of stage 2. An event that a rule's ``event`` block names (or what ``clears`` it)
is judged by that rule alone; another that carries a severity is a symptom by itself; the
rest is only kept (elsewhere). An event has a beginning and no end, so its finding expires
unless something of its class happens again to the same thing. It must never let a worse
event hide behind a milder one of its class: severity is part of the stream.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from opx.core.base.time import MINUTE, Ms
from opx.core.detect.finding import ClearReason, Finding, FindingKind, FindingState
from opx.core.detect.open_findings import Key, OpenFindings, key_of
from opx.core.detect.ruled.judging import Plain, condition, trace
from opx.core.detect.rules import DetectionRule, EventClass, Happening
from opx.core.ingest.signals import Event, Identity, Severity
from opx.errors import ExpressionError

RULE = "event"
RULED = Happening.block + "/"
"""What the findings' ``rule`` begins with that come from a rule."""
EXPIRES_AFTER: Ms = 5 * MINUTE
REMEMBERED: Ms = 15 * MINUTE
"""How long an event's (source, id) is known after it came last, so that a redelivery is not
a repetition."""
MOST_REMEMBERED = 100_000
"""So many of them at most; beyond that the oldest are forgotten early."""
ENDS_REMEMBERED: Ms = MINUTE
"""How long the end of what began in the same millisecond is known, so that what begins in it
once more is another finding."""
SUMMARY_LENGTH = 200


@dataclass(slots=True)
class EventState:
    """``told``: when each came last, by its service, source and id; oldest first. ``ended``: when
    what began in the same millisecond did. ``rules``: those in force by hash, None until they
    are bound; ``of_type``: those that look at a type. ``repeats``: how many events came again.
    ``in_doubt``: how often a condition could not be evaluated, so that it did not hold."""

    open: OpenFindings = field(default_factory=OpenFindings)
    told: dict[tuple[str, ...], Ms] = field(default_factory=dict)
    ended: dict[Key, Ms] = field(default_factory=dict)
    rules: dict[str, DetectionRule] | None = None
    of_type: dict[str, list[tuple[DetectionRule, Happening]]] = field(default_factory=dict)
    repeats: int = 0
    in_doubt: int = 0

    @classmethod
    def load(
        cls,
        findings: Iterable[Finding],
        events: Iterable[Event] = (),
        saved: Sequence[Sequence[Any]] = (),
    ) -> EventState:
        """From stored open findings, those of other detectors left alone, the events of the
        last ``REMEMBERED``, oldest first, and ``save``."""
        own = (one for one in findings if one.rule == RULE or one.rule.startswith(RULED))
        state = cls(open=OpenFindings.of(own))
        for event in events:
            _is_new(state, _name(event.identity, event.source, event.id), event.received_at)
        state.ended = {(rule, stream): at for rule, stream, at in saved}
        return state


def in_force(state: EventState, rules: Sequence[DetectionRule]) -> bool:
    """Whether these are the rules it works by already."""
    return state.rules is not None and {rule.hash for rule in rules} == state.rules.keys()


def bind(state: EventState, rules: Sequence[DetectionRule], now: Ms) -> list[Finding]:
    """Work by these rules from now on: what is open of others is withdrawn."""
    state.rules = {rule.hash: rule for rule in rules}
    state.of_type = {}
    for rule in sorted(rules, key=lambda rule: rule.name):
        check = rule.check
        if isinstance(check, Happening):
            kinds = (check.event, check.clears or check.event)
            for type in {kind.type for kind in kinds}:
                state.of_type.setdefault(type, []).append((rule, check))
    named = {rule.rule: rule for rule in rules}
    gone = []
    for finding in state.open:
        made_by = named.get(finding.rule)
        if finding.rule != RULE and (made_by is None or not made_by.found(finding)):
            gone.append(finding)
    note: Plain = {"note": "the rule was changed or removed"}
    gone.sort(key=key_of)
    return [state.open.end(key_of(one)).clear(ClearReason.WITHDRAWN, now, note) for one in gone]


def step(state: EventState, events: Sequence[Event], now: Ms) -> list[Finding]:
    """The edges that these events make, and what has expired by then or by ``now``."""
    edges: list[Finding] = []
    state.open.new_step()
    for event in events:
        _expire(state, event.received_at, edges)
        _take(state, event, edges)
    _expire(state, now, edges)
    _forget(state.told, REMEMBERED, now)
    _forget(state.ended, ENDS_REMEMBERED, now)
    return edges


def save(state: EventState) -> list[list[Any]]:
    """What open findings and the events of late do not tell."""
    return [[*key, at] for key, at in state.ended.items()]


def refreshed(state: EventState) -> list[Finding]:
    """Open findings whose expiry moved since this was last asked: to be kept, over what
    ``step`` gave out of them in the same commit."""
    return state.open.refreshed()


def thing_of(event: Event) -> str:
    """What it happened to."""
    identity = event.identity
    thing = identity.resource or event.subject
    return "/".join((identity.environment, identity.service, thing))


def stream_of(event: Event, severity: Severity) -> str:
    """What it happened to, what kind of thing happened, and how bad."""
    return f"{thing_of(event)}/{event.type}/{severity.name.lower()}"


def facts(event: Event) -> dict[str, Any]:
    """What a ``when`` may look at. ``severity`` is 0 when the event does not carry one."""
    return {
        "event": {
            "id": event.id,
            "source": event.source,
            "type": event.type,
            "subject": event.subject,
            "severity": int(event.severity or 0),
            "environment": event.identity.environment,
            "service": event.identity.service,
            "resource": event.identity.resource,
            "data": event.data,
        }
    }


def _name(identity: Identity, source: str, id: str) -> tuple[str, ...]:
    """One service's ids say nothing about another service's events."""
    return identity.environment, identity.service, source, id


def _expire(state: EventState, now: Ms, edges: list[Finding]) -> None:
    for finding, expired_at in state.open.expired(now):
        edges.append(finding.clear(ClearReason.EXPIRED, expired_at, finding.evidence))


def _take(state: EventState, event: Event, edges: list[Finding]) -> None:
    name = _name(event.identity, event.source, event.id)
    if not _is_new(state, name, event.received_at):
        state.repeats += 1
        return
    judged = False
    for rule, check in state.of_type.get(event.type, ()):
        if _is_of(state, check.event, event):
            judged = True
            stream, at = thing_of(event), event.received_at
            at = max(at, state.ended.get((rule.rule, stream), -1) + 1)
            _fire(state, _ruled(rule, check, event, stream, at), edges)
        elif check.clears is not None and _is_of(state, check.clears, event):
            judged = True
            _clear(state, (rule.rule, thing_of(event)), event, edges)
    if not judged and event.severity is not None:
        _fire(state, _own(event, event.severity), edges)


def _is_of(state: EventState, kind: EventClass, event: Event) -> bool:
    if event.type != kind.type or kind.source not in ("", event.source):
        return False
    known = facts(event) if kind.when else {}
    try:
        return all(when.holds(known) for when in kind.when)
    except ExpressionError:
        state.in_doubt += 1
        return False


def _is_new(state: EventState, name: tuple[str, ...], at: Ms) -> bool:
    """Whether it is no redelivery; from now on it is one."""
    told_at = state.told.pop(name, None)
    state.told[name] = at
    if len(state.told) > MOST_REMEMBERED:
        del state.told[next(iter(state.told))]
    return told_at is None or at >= told_at + REMEMBERED


def _fire(state: EventState, finding: Finding, edges: list[Finding]) -> None:
    """Begin a finding; the one that is open goes on instead, for as long as this would."""
    key = key_of(finding)
    if state.open.get(key) is None:
        state.open.begin(finding)
        edges.append(finding)
    else:
        state.open.extend(key, finding.expires_at or finding.at)


def _clear(state: EventState, key: Key, event: Event, edges: list[Finding]) -> None:
    if state.open.get(key) is None:
        return
    firing = state.open.end(key)
    evidence = {**firing.evidence, "cleared_by": _told(event)}
    cleared = firing.clear(ClearReason.RESOLVED, event.received_at, evidence)
    if cleared.at == firing.at:  # its id could be taken again
        state.ended.pop(key, None)
        state.ended[key] = cleared.at
    edges.append(cleared)


def _own(event: Event, severity: Severity) -> Finding:
    """The finding that an event is by itself."""
    at, stream = event.received_at, stream_of(event, severity)
    return Finding(
        id=Finding.id_of(RULE, stream, at),
        rule=RULE,
        stream=stream,
        identity=event.identity,
        kind=FindingKind.SYMPTOM,
        state=FindingState.FIRING,
        severity=severity,
        since=min(event.at, at),
        at=at,
        expires_at=at + EXPIRES_AFTER,
        summary=_summary(event),
        evidence=_told(event),
    )


def _ruled(rule: DetectionRule, check: Happening, event: Event, stream: str, at: Ms) -> Finding:
    """The finding that an event is by a rule."""
    steps = [condition("type", check.event.type, event.type, True)]
    steps += [condition(when.text, True, True, True) for when in check.event.when]
    return Finding(
        id=rule.finding_id(stream, at),
        rule=rule.rule,
        stream=stream,
        identity=event.identity,
        kind=rule.kind,
        state=FindingState.FIRING,
        severity=rule.severity,
        since=min(event.at, at),
        at=at,
        expires_at=event.received_at + check.expires,
        summary=f"{rule.name}: {_summary(event)}"[:SUMMARY_LENGTH],
        evidence={**_told(event), "justification": rule.justification, "trace": trace(steps)},
    )


def _summary(event: Event) -> str:
    return f"{event.type} {event.subject}".strip()[:SUMMARY_LENGTH]


def _told(event: Event) -> Plain:
    return {
        "source": event.source,
        "id": event.id,
        "type": event.type,
        "subject": event.subject,
        "data": event.data,
    }


def _forget(known: dict[Any, Ms], after: Ms, now: Ms) -> None:
    """Drop the oldest; they stand in the order in which they came."""
    old = []
    for name, at in known.items():
        if at + after > now:
            break
        old.append(name)
    for name in old:
        del known[name]
