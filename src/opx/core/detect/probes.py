# SPDX-License-Identifier: Apache-2.0

"""The services' own health probes: who is due, and what the answers mean.

A detector of stage 2, by the ``needs``/``step`` protocol. A service is ill after so many
noes in a row as its document says, and well again at the first yes. An answer that could
not be had is neither, but stays in the evidence. It must never take silence for health.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from opx.core.base.reads import Answer, Answers, ProbeKind, ProbeRead
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
    due_at: Ms
    last_at: Ms = -1
    noes: int = 0
    first_no_at: Ms = 0
    answers: list[dict[str, object]] = field(default_factory=list)
    firing: Finding | None = None


@dataclass(slots=True)
class ProbeState:
    """What is known of each service's probe, by ``environment/service``."""

    tracks: dict[str, _Track] = field(default_factory=dict)

    @classmethod
    def load(cls, findings: Iterable[Finding]) -> ProbeState:
        """From stored open findings; those of other detectors are left alone."""
        own = [finding for finding in findings if finding.rule == RULE]
        return cls({f.stream: _Track(due_at=f.at, last_at=f.at, firing=f) for f in own})


def key_of(service: Service) -> str:
    return f"{service.environment}/{service.name}"


def needs(state: ProbeState, catalogue: Catalogue, now: Ms) -> list[ProbeRead]:
    """The probes that are due. One that is still under way is listed again."""
    reads = []
    for service in catalogue.services.values():
        if service.health is None:
            continue
        track = state.tracks.get(key_of(service))
        if track is None or track.due_at <= now:
            reads.append(ProbeRead(key=key_of(service), probe=service.health.probe))
    return reads


def step(state: ProbeState, catalogue: Catalogue, answers: Answers, now: Ms) -> list[Finding]:
    """The edges in these answers; first of all the end of what the catalogue lost."""
    probed = {key_of(service): service for service in catalogue.services.values() if service.health}
    edges = _vanished(state, probed, now)
    for key, answer in answers.items():
        service = probed.get(key)
        if service is None or service.health is None:
            continue
        track = state.tracks.setdefault(key, _Track(due_at=now))
        if answer.at <= track.last_at:
            continue  # told before, or overtaken by a newer answer
        edge = _take(track, service, service.health, answer)
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


def _vanished(state: ProbeState, probed: dict[str, Service], now: Ms) -> list[Finding]:
    edges = []
    for key in sorted(state.tracks.keys() - probed.keys()):
        firing = state.tracks.pop(key).firing
        if firing is not None:
            note = "the service has no health probe any more"
            edges.append(firing.clear(ClearReason.EXPIRED, now, {"note": note}))
    return edges


def _take(track: _Track, service: Service, health: Health, answer: Answer) -> Finding | None:
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
        if track.firing is None and track.noes >= health.failures:
            edge = track.firing = _fired(track, service, health, answer)
    elif answer.ok is True:
        if track.firing is not None:
            edge = track.firing.clear(ClearReason.RESOLVED, answer.at, {"answers": [told]})
            track.firing = None
        track.noes, track.answers = 0, []
    in_doubt = track.noes > 0 and track.firing is None
    track.due_at = answer.at + (min(EARLY, health.interval) if in_doubt else health.interval)
    return edge


def _fired(track: _Track, service: Service, health: Health, answer: Answer) -> Finding:
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
