# SPDX-License-Identifier: Apache-2.0

"""Events that say how bad they are, as findings.

A detector of stage 2. An event has a beginning and no end, so its finding expires unless
something of its class happens again to the same thing. What came without a severity is
only kept (elsewhere). It must never let a worse event hide behind a milder one of its
class: severity is part of the stream.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from opx.core.base.time import MINUTE, Ms
from opx.core.detect.finding import ClearReason, Finding, FindingKind, FindingState
from opx.core.detect.open_findings import OpenFindings
from opx.core.ingest.signals import Event, Identity, Severity

RULE = "event"
EXPIRES_AFTER: Ms = 5 * MINUTE
REMEMBERED: Ms = 15 * MINUTE
"""How long an event's (source, id) is known after it came last, so that a redelivery is not
a repetition."""
MOST_REMEMBERED = 100_000
"""So many of them at most; beyond that the oldest are forgotten early."""
SUMMARY_LENGTH = 200


@dataclass(slots=True)
class EventState:
    """``told``: when each came last, by its service, source and id; oldest first.
    ``repeats``: how many came again."""

    open: OpenFindings = field(default_factory=OpenFindings)
    told: dict[tuple[str, ...], Ms] = field(default_factory=dict)
    repeats: int = 0

    @classmethod
    def load(
        cls, findings: Iterable[Finding], events: Iterable[Mapping[str, Any]] = ()
    ) -> EventState:
        """From stored open findings, those of other detectors left alone, and the events of
        the last ``REMEMBERED`` in their plain form, oldest first."""
        own = (finding for finding in findings if finding.rule == RULE)
        state = cls(open=OpenFindings.of(own))
        for event in events:
            if event["severity"] is not None:
                whose = Identity(**event["identity"])
                name = _name(whose, event["source"], event["id"])
                _is_new(state, name, event["received_at"])
        return state


def step(state: EventState, events: Sequence[Event], now: Ms) -> list[Finding]:
    """The findings that begin with these events, and those that have expired by then or by
    ``now``."""
    edges: list[Finding] = []
    for event in events:
        if event.severity is not None:
            _expire(state, event.received_at, edges)
            _take(state, event, event.severity, edges)
    _expire(state, now, edges)
    _forget(state, now)
    return edges


def refreshed(state: EventState) -> list[Finding]:
    """Open findings whose expiry moved since this was last asked: to be kept, over what
    ``step`` gave out of them in the same commit."""
    return state.open.refreshed()


def stream_of(event: Event, severity: Severity) -> str:
    """What it happened to, what kind of thing happened, and how bad."""
    identity = event.identity
    thing = identity.resource or event.subject
    level = severity.name.lower()
    return "/".join((identity.environment, identity.service, thing, event.type, level))


def _name(identity: Identity, source: str, id: str) -> tuple[str, ...]:
    """One service's ids say nothing about another service's events."""
    return identity.environment, identity.service, source, id


def _expire(state: EventState, now: Ms, edges: list[Finding]) -> None:
    for finding, expired_at in state.open.expired(now):
        edges.append(finding.clear(ClearReason.EXPIRED, expired_at, finding.evidence))


def _take(state: EventState, event: Event, severity: Severity, edges: list[Finding]) -> None:
    name = _name(event.identity, event.source, event.id)
    if not _is_new(state, name, event.received_at):
        state.repeats += 1
        return
    stream = stream_of(event, severity)
    expires_at = event.received_at + EXPIRES_AFTER
    if state.open.get(stream) is not None:
        state.open.extend(stream, expires_at)
        return
    finding = _fired(event, severity, stream, expires_at)
    state.open.begin(finding)
    edges.append(finding)


def _is_new(state: EventState, name: tuple[str, ...], at: Ms) -> bool:
    """Whether it is no redelivery; from now on it is one."""
    told_at = state.told.pop(name, None)
    state.told[name] = at
    if len(state.told) > MOST_REMEMBERED:
        del state.told[next(iter(state.told))]
    return told_at is None or at >= told_at + REMEMBERED


def _fired(event: Event, severity: Severity, stream: str, expires_at: Ms) -> Finding:
    at = event.received_at
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
        expires_at=expires_at,
        summary=f"{event.type} {event.subject}".strip()[:SUMMARY_LENGTH],
        evidence={
            "source": event.source,
            "id": event.id,
            "type": event.type,
            "subject": event.subject,
            "data": event.data,
        },
    )


def _forget(state: EventState, now: Ms) -> None:
    """Drop the oldest names; they stand in the order in which they came."""
    old = []
    for name, told_at in state.told.items():
        if told_at + REMEMBERED > now:
            break
        old.append(name)
    for name in old:
        del state.told[name]
