# SPDX-License-Identifier: Apache-2.0

"""Counting what helped: verdicts into track records, and breakers that open by themselves.

After verify; the cooldown, ``p_fix`` and breaker guards read what is kept here. It may
make a guard stricter by itself. Nothing but a person's word makes one laxer: ``closed``
and ``forgiven`` are only ever called for one.

A record or breaker that is not stored yet has version 0, so that what is returned can be
saved as version 1.
"""

from __future__ import annotations

from dataclasses import replace

from opx.core.base.time import Ms
from opx.core.decide.case import Breaker, Policy, TrackRecord
from opx.core.ingest.signals import Severity
from opx.core.verify.verdict import Verdict, VerdictKind


def after(
    record: TrackRecord,
    verdict: Verdict,
    runbook_hash: str,
    acted_at: Ms | None,
    severity: Severity | None = None,
) -> TrackRecord:
    """The record with one more verdict. ``acted_at``: when the run last acted, None if never;
    ``severity``: of the incident that it acted on.

    NO_EFFECT and WORSE lengthen the row of ineffective runs, RECOVERED ends it, and
    INCONCLUSIVE, which says nothing about the runbook, leaves it as it is. The first verdict
    about another ``runbook_hash`` begins the counts anew; what holds a runbook up stays.
    """
    if record.runbook_hash != runbook_hash:
        record = replace(
            record, runbook_hash=runbook_hash, recovered=0, no_effect=0, worse=0, inconclusive=0
        )
    kind = verdict.kind
    row = record.ineffective_in_a_row
    if kind is VerdictKind.RECOVERED:
        row = 0
    elif kind is not VerdictKind.INCONCLUSIVE:
        row += 1
    last = record.last_acted_at
    if acted_at is not None and (last is None or acted_at >= last):
        record = replace(record, last_acted_at=acted_at, last_severity=severity)
    return replace(
        record,
        recovered=record.recovered + (kind is VerdictKind.RECOVERED),
        no_effect=record.no_effect + (kind is VerdictKind.NO_EFFECT),
        worse=record.worse + (kind is VerdictKind.WORSE),
        inconclusive=record.inconclusive + (kind is VerdictKind.INCONCLUSIVE),
        ineffective_in_a_row=row,
        version=record.version + 1,
    )


def breaker_after(record: TrackRecord, breaker: Breaker, policy: Policy, now: Ms) -> Breaker:
    """The breaker open, if the row is too long; unchanged, the same version, otherwise."""
    if breaker.opened_at is not None or record.ineffective_in_a_row < policy.breaker_after:
        return breaker
    return replace(breaker, opened_at=now, closed_by=None, version=breaker.version + 1)


def closed(breaker: Breaker, by: str) -> Breaker:
    """The breaker as ``by`` closed it. Its record must be ``forgiven`` in the same commit."""
    return replace(breaker, opened_at=None, closed_by=by, version=breaker.version + 1)


def forgiven(record: TrackRecord) -> TrackRecord:
    """The record without its row of ineffective runs. What was counted stays counted."""
    return replace(record, ineffective_in_a_row=0, version=record.version + 1)
