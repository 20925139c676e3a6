# SPDX-License-Identifier: Apache-2.0

"""What the log detectors say, as findings.

Part of ``watch``. All of it is evidence, and names what was expected and what came. It must
never decide whether something is odd.
"""

from __future__ import annotations

from collections.abc import Mapping

from opx.core.base.time import MINUTE, Ms
from opx.core.detect.finding import Finding, FindingKind, FindingState
from opx.core.detect.logs import rates, sessions, shares
from opx.core.detect.logs.miner import Template
from opx.core.ingest.signals import Identity, LogLevel, LogLine, Severity

NEW, RATE, SET, SHARE = "log-new-template", "log-rate", "log-new-set", "log-error-share"

EXPIRING = (NEW, SET)
EXPIRES_AFTER: Ms = 15 * MINUTE
"""A new thing has no end: its finding expires so long after it came last."""
SHOWN = 200
"""Characters of a text that are shown."""
STEPS_SHOWN = 20
"""Templates of a session that are shown."""

Key = tuple[str, str, str, str]
"""Rule, environment, service, and what it is about: a template, a set, or nothing more."""

_SEVERITIES = {
    LogLevel.FATAL: Severity.SEV2,
    LogLevel.ERROR: Severity.SEV3,
    LogLevel.WARN: Severity.SEV4,
}


def new_template(template: Template, line: LogLine, expected: float) -> tuple[Key, Finding]:
    """A service wrote what it never wrote. ``expected``: how likely that was, 0 to 1."""
    who, now = line.identity, line.received_at
    key = NEW, who.environment, who.service, template.id
    evidence: dict[str, object] = {
        "expected": f"a template that {who.service} has written before: {1 - expected:.2%} of them",
        "came": template.text[:SHOWN],
        "template": template.id,
        "level": line.level.name,
        "line": line.message[:SHOWN],
    }
    severity = _SEVERITIES.get(line.level, Severity.SEV5)
    summary = f"{who.service} writes something new: {template.text}"
    return key, _fired(key, severity, (min(line.at, now), now), summary, evidence)


def new_set(
    key: sessions.Key, session: sessions.Session, texts: Mapping[str, str], expected: float, now: Ms
) -> tuple[Key, Finding]:
    """A session was a set of templates that none was before."""
    environment, service, id = key
    ids = list(session.templates)
    open_key = SET, environment, service, sessions.kind_of(session)
    evidence: dict[str, object] = {
        "expected": f"steps that a session of {service} had before: {1 - expected:.2%} of them",
        "came": [texts.get(one, one)[:SHOWN] for one in ids[:STEPS_SHOWN]],
        "templates": ids[:STEPS_SHOWN],
        "session": id,
    }
    summary = f"{service} had a session of a new kind: {len(ids)} templates, {id}"
    times = session.seen_at, now
    return open_key, _fired(open_key, Severity.SEV5, times, summary, evidence)


def rate(change: rates.Change, text: str, now: Ms) -> tuple[Key, Finding]:
    """A template comes more or less often than usual."""
    environment, service, id = change.key
    key = RATE, environment, service, id
    evidence: dict[str, object] = {
        "expected": f"about {change.usual:g} lines in {rates.WINDOW} ms",
        "came": change.count,
        "deviations": round(change.deviations, 2),
        "window": list(change.window),
        "template": id,
        "text": text[:SHOWN],
    }
    what = "more" if change.deviations > 0 else "less"
    summary = f"{service} writes {what} of: {text}"
    return key, _fired(key, Severity.SEV5, (change.window[0], now), summary, evidence)


def share(rise: shares.Rise, now: Ms) -> tuple[Key, Finding]:
    """The share of errors begins to rise."""
    environment, service = rise.whose
    key = SHARE, environment, service, ""
    evidence: dict[str, object] = {
        "expected": f"{rise.usual:.3%} of the lines are errors",
        "came": f"{rise.share:.3%} in the last window",
        "rising_since": rise.since,
        "evidence": round(rise.evidence, 2),
        "window": list(rise.window),
    }
    summary = f"{service}: more and more of its lines are errors, usually {rise.usual:.2%}"
    return key, _fired(key, Severity.SEV4, (rise.since, now), summary, evidence)


def _fired(
    key: Key, severity: Severity, times: tuple[Ms, Ms], summary: str, evidence: dict[str, object]
) -> Finding:
    """``times``: since when, and when it was seen."""
    rule, environment, service, what = key
    stream = "/".join((environment, service, what) if what else (environment, service))
    since, now = times
    return Finding(
        id=Finding.id_of(rule, stream, now),
        rule=rule,
        stream=stream,
        identity=Identity(environment, service),
        kind=FindingKind.EVIDENCE,
        state=FindingState.FIRING,
        severity=severity,
        since=min(since, now),
        at=now,
        expires_at=now + EXPIRES_AFTER if rule in EXPIRING else None,
        summary=summary[:SHOWN],
        evidence=evidence,
    )
