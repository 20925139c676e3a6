# SPDX-License-Identifier: Apache-2.0

"""The services' own health probes: who is due, and what the answers mean.

A detector of stage 2, by the ``needs``/``step`` protocol. A service is ill after so many
noes in a row as its document says, and well again at the first yes. An answer that could
not be had is neither, but stays in the evidence. Each service has its own turn within its
interval, so that a thousand of them are not all asked in one instant. It must never take
silence for health.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from opx.core.base.reads import Answer, ProbeKind, ProbeRead
from opx.core.base.time import Ms
from opx.core.detect.finding import ClearReason, Finding, FindingKind, FindingState
from opx.core.ingest.services import Catalogue, Health, Service
from opx.core.ingest.signals import Identity

RULE = "health-probe"
EARLY: Ms = 250
"""After a first no, the next question comes this soon: a death is to be seen at once."""
KEPT_ANSWERS = 10


class Failure(StrEnum):
    """How a probe failed: tells a dead process from one that hangs."""

    REFUSED = "refused"
    """Nobody listens."""
    NOT_RUNNING = "not_running"
    """Its supervisor says so."""
    TIMED_OUT = "timed_out"
    """Somebody listens and does not answer."""
    UNWELL = "unwell"
    """It answers, and says no."""


@dataclass(slots=True)
class _Track:
    service: Service
    health: Health
    due_at: Ms
    last_at: Ms = -1
    noes: int = 0
    first_no_at: Ms = 0
    answers: list[dict[str, object]] = field(default_factory=list)


@dataclass(slots=True)
class ProbeState:
    """What is known of each service's probe, and what is open, by ``environment/service``.
    ``catalogue``: the one it was bound to."""

    tracks: dict[str, _Track] = field(default_factory=dict)
    firing: dict[str, Finding] = field(default_factory=dict)
    catalogue: Catalogue | None = None

    @classmethod
    def load(cls, findings: Iterable[Finding]) -> ProbeState:
        """From stored open findings; those of other detectors are left alone. Noes that are
        not a finding yet are forgotten: they must come in a row again."""
        return cls(firing={f.stream: f for f in findings if f.rule == RULE})


def key_of(service: Service) -> str:
    return f"{service.environment}/{service.name}"


def bind(state: ProbeState, catalogue: Catalogue, now: Ms) -> list[Finding]:
    """Ask the services of ``catalogue`` from now on, new ones and new probes at once. What
    is open of a service that has no probe any more is withdrawn: nobody would clear it."""
    before, state.tracks, state.catalogue = state.tracks, {}, catalogue
    for service in catalogue.services.values():
        if service.health is not None:
            key = key_of(service)
            track = before.get(key)
            if track is None or track.health.probe != service.health.probe:
                track = _Track(service, service.health, due_at=now)
            track.service, track.health = service, service.health
            state.tracks[key] = track
    note: dict[str, object] = {"note": "the service has no health probe any more"}
    gone = sorted(state.firing.keys() - state.tracks.keys())
    return [state.firing.pop(key).clear(ClearReason.WITHDRAWN, now, note) for key in gone]


def needs(state: ProbeState, now: Ms) -> list[ProbeRead]:
    """The probes that are due, the longest first. One that is under way is listed again, and
    one whose turn is further off than its interval is due: a clock was set back."""
    due = sorted(
        (track.due_at, key)
        for key, track in state.tracks.items()
        if not now < track.due_at <= now + track.health.interval
    )
    return [ProbeRead(key=key, probe=state.tracks[key].health.probe) for _, key in due]


def step(state: ProbeState, answers: Iterable[tuple[ProbeRead, Answer]]) -> list[Finding]:
    """The edges in these answers, in their order. One to a question that nobody would ask
    now, or that was told before, says nothing."""
    edges = []
    for read, answer in answers:
        track = state.tracks.get(read.key)
        if track is None or track.health.probe != read.probe or answer.at == track.last_at:
            continue
        edge = _take(state, track, answer)
        if edge is not None:
            edges.append(edge)
    return edges


def failure_of(kind: ProbeKind, answer: Answer) -> Failure:
    """How a no came about, by the words of the probe."""
    detail = answer.detail.lower()
    if kind is ProbeKind.PROCESS:
        return Failure.NOT_RUNNING
    if "refused" in detail:
        return Failure.REFUSED
    if "timed out" in detail or "timeout" in detail:
        return Failure.TIMED_OUT
    return Failure.UNWELL


def _take(state: ProbeState, track: _Track, answer: Answer) -> Finding | None:
    key, health = key_of(track.service), track.health
    told: dict[str, object] = {
        "at": answer.at,
        "ok": answer.ok,
        "detail": answer.detail,
        "latency_ms": answer.latency_ms,
    }
    track.answers = [*track.answers, told][-KEPT_ANSWERS:]
    track.last_at = answer.at
    edge = None
    if answer.ok is False:
        track.noes += 1
        if track.noes == 1:
            track.first_no_at = answer.at
        if key not in state.firing and track.noes >= health.failures:
            edge = state.firing[key] = _fired(track, answer)
    elif answer.ok is True:
        if key in state.firing:
            firing = state.firing.pop(key)
            edge = firing.clear(ClearReason.RESOLVED, answer.at, {"answers": [told]})
        track.noes, track.answers = 0, []
    in_doubt = track.noes > 0 and key not in state.firing
    track.due_at = _next_turn(key, health.interval, answer.at)
    if in_doubt:
        track.due_at = min(track.due_at, answer.at + EARLY)
    return edge


def _next_turn(key: str, interval: Ms, after: Ms) -> Ms:
    """The next instant that is ``key``'s own in its interval: services that were asked
    together, at a start or after a change, do not stay together."""
    turn = zlib.crc32(key.encode()) % interval
    return after + interval - (after - turn) % interval


def _fired(track: _Track, answer: Answer) -> Finding:
    service, health = track.service, track.health
    stream = key_of(service)
    failure = failure_of(health.probe.kind, answer)
    said = answer.detail or failure.replace("_", " ")
    return Finding(
        id=Finding.id_of(RULE, stream, answer.at),
        rule=RULE,
        stream=stream,
        identity=Identity(service.environment, service.name),
        kind=FindingKind.SYMPTOM,
        state=FindingState.FIRING,
        severity=health.severity,
        since=track.first_no_at,
        at=answer.at,
        summary=f"{service.name} failed its health probe {track.noes} times in a row: {said}"[:200],
        evidence={
            "probe": f"{health.probe.kind} {health.probe.address}",
            "expected": "yes",
            "failure": failure,
            "failures": track.noes,
            "answers": list(track.answers),
        },
    )
