# SPDX-License-Identifier: Apache-2.0

"""Other systems' alerts as findings: the edges of what they keep repeating.

A detector of stage 2. An alert is sent again and again while it fires; only its beginning
and its end are findings. As in Alertmanager, one fingerprint is one alert: two tellings
are merged: the earlier beginning is kept, and of two ends the later, but for one that was
filled in because none was sent, which gives way to whatever is told after it. It must
never decide whether an alert deserves attention.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from opx.core.base.time import MINUTE, Ms
from opx.core.detect.finding import ClearReason, Finding, FindingKind, FindingState
from opx.core.detect.open_findings import OpenFindings
from opx.core.ingest.signals import Alert

RULE = "alert"
REMEMBERED: Ms = MINUTE
"""How long an end is remembered, so that what begins in its millisecond gets a later one."""
SUMMARY_LENGTH = 200


@dataclass(slots=True)
class AlertState:
    """``ended``: when each ended, if that was told. ``newest``: when the last alert came.
    ``idle_resolves``: how often an end was told of an alert that was not open."""

    open: OpenFindings = field(default_factory=OpenFindings)
    ended: dict[str, Ms] = field(default_factory=dict)
    newest: Ms = 0
    idle_resolves: int = 0

    @classmethod
    def load(cls, findings: Iterable[Finding], ended: Mapping[str, Ms] | None = None) -> AlertState:
        """From stored open findings, those of other detectors left alone, and ``save``."""
        own = (finding for finding in findings if finding.rule == RULE)
        return cls(open=OpenFindings.of(own), ended=dict(ended or {}))


def step(state: AlertState, alerts: Sequence[Alert], now: Ms) -> list[Finding]:
    """The edges in these alerts, in their order, then what has expired by ``now``.

    What has expired by the time an alert was received comes before it, whether or not a
    tick came in between: how the log was cut into chunks changes nothing.
    """
    edges: list[Finding] = []
    state.open.new_step()
    expired: Ms = -1
    for alert in alerts:
        if alert.received_at > expired:  # those of one request came in one millisecond
            expired = alert.received_at
            _expire(state, expired, edges)
        _take(state, alert, edges)
    _expire(state, now, edges)
    _forget(state, now)
    return edges


def save(state: AlertState) -> dict[str, Ms]:
    """The ends that open findings do not tell and that may still matter: those of the
    newest millisecond."""
    return {stream: at for stream, at in state.ended.items() if at >= state.newest}


def refreshed(state: AlertState) -> list[Finding]:
    """Open findings whose expiry or beginning moved since this was last asked: to be kept,
    over what ``step`` gave out of them in the same commit."""
    return state.open.refreshed()


def _expire(state: AlertState, now: Ms, edges: list[Finding]) -> None:
    for finding, expired_at in state.open.expired(now):
        edges.append(_ended(state, finding, ClearReason.EXPIRED, expired_at))


def _take(state: AlertState, alert: Alert, edges: list[Finding]) -> None:
    stream = alert.fingerprint
    key = RULE, stream
    state.newest = max(state.newest, alert.received_at)
    firing = state.open.get(key)
    if alert.ends_at <= alert.received_at:
        if firing is None:
            state.idle_resolves += 1
            return
        told_at = alert.received_at
        edges.append(_ended(state, state.open.end(key), ClearReason.RESOLVED, told_at))
    elif firing is None:
        finding = _fired(alert, max(alert.received_at, state.ended.get(stream, -1) + 1))
        state.open.begin(finding)
        edges.append(finding)
    else:
        told = state.open.extend(key, alert.ends_at, shorten=firing.timeout)
        timeout = told and alert.timeout  # what stands against a later word was named by somebody
        if alert.starts_at < firing.since or timeout is not firing.timeout:
            since = min(alert.starts_at, firing.since)
            state.open.amend(replace(firing, since=since, timeout=timeout))


def _fired(alert: Alert, at: Ms) -> Finding:
    summary = alert.annotations.get("summary") or alert.labels.get("alertname") or RULE
    return Finding(
        id=Finding.id_of(RULE, alert.fingerprint, at),
        rule=RULE,
        stream=alert.fingerprint,
        identity=alert.identity,
        kind=FindingKind.SYMPTOM,
        state=FindingState.FIRING,
        severity=alert.severity,
        since=min(alert.starts_at, at),
        at=at,
        expires_at=alert.ends_at,
        timeout=alert.timeout,
        summary=summary[:SUMMARY_LENGTH],
        evidence={"labels": alert.labels, "annotations": alert.annotations},
    )


def _ended(state: AlertState, finding: Finding, reason: ClearReason, at: Ms) -> Finding:
    cleared = finding.clear(reason, at, finding.evidence)
    if reason is ClearReason.RESOLVED or cleared.at == finding.at:  # its id could be taken again
        state.ended.pop(finding.stream, None)
        state.ended[finding.stream] = cleared.at
    return cleared


def _forget(state: AlertState, now: Ms) -> None:
    """Drop the oldest ends; they stand in the order in which they came."""
    old = []
    for stream, ended_at in state.ended.items():
        if ended_at + REMEMBERED > now:
            break
        old.append(stream)
    for stream in old:
        del state.ended[stream]
