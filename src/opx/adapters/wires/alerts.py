# SPDX-License-Identifier: Apache-2.0

"""Alerts as a Prometheus server sends them to its Alertmanager (API v2).

``POST /api/v2/alerts``: a list of ``{labels, annotations, startsAt, endsAt, generatorURL}``.
Missing times mean what they mean to an Alertmanager: it starts now, and it ends when it
was not sent again for ``RESOLVE_AFTER``, or when a later telling says. An alert may have
fired for as long as it likes; only its end must be recent. It must never take an alert
without a label.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import msgspec

from opx.adapters.wires import bodies
from opx.core.base import ids
from opx.core.base.time import DAY, FIRST, MINUTE, Ms
from opx.core.ingest import checks, identity, severities
from opx.core.ingest.checks import Reason, Unfit
from opx.core.ingest.signals import Alert, Severity
from opx.engine.intake import Incoming

RESOLVE_AFTER: Ms = 5 * MINUTE
USUAL_SEVERITY = Severity.SEV3
MAX_END: Ms = 366 * DAY
"""How far ahead an alert may end: longer is a mistake that nobody would live to see."""
_GO_ZERO_TIME: Ms = FIRST
"""What a time that was never set looks like, however it is spelled."""


class WireAlert(msgspec.Struct, gc=False, omit_defaults=True, rename="camel"):
    labels: dict[str, str]
    annotations: dict[str, str] = {}
    starts_at: str = ""
    ends_at: str = ""
    generator_url: str = msgspec.field(default="", name="generatorURL")


_shape = bodies.Shape(WireAlert)


Times: TypeAlias = tuple[Ms, Ms, bool]
"""When an alert starts and ends, and whether that end was filled in."""


def times(wire: WireAlert, now: Ms, usual_end: Ms) -> Times:
    """When it starts and ends; ``usual_end`` where that was not sent. ``Unfit`` if neither can
    be believed."""
    start, end = _instant(wire.starts_at), _instant(wire.ends_at)
    if start is None:
        start = now if end is None else min(now, end)
    if start < 0:
        raise Unfit(Reason.TOO_OLD, "it starts before 1970")
    timeout = end is None
    if end is None:
        end = usual_end
    if start > now + checks.MAX_FUTURE:
        raise Unfit(Reason.IN_FUTURE, "it starts more than 10 minutes ahead of this clock")
    if end < start:
        raise Unfit(Reason.ENDS_BEFORE_START, "it ends before it starts")
    if end < now - checks.MAX_AGE:
        raise Unfit(Reason.TOO_OLD, "it ended more than 7 days ago")
    if end > now + MAX_END:
        raise Unfit(Reason.IN_FUTURE, "it ends more than a year ahead of this clock")
    return start, end, timeout


def _usual(wire: WireAlert, now: Ms) -> Times:
    return times(wire, now, now + RESOLVE_AFTER)


def alert(
    wire: WireAlert,
    incoming: Incoming,
    read: Callable[[WireAlert, Ms], Times] = _usual,
) -> Alert:
    """The alert that its labels make it. ``read``: when it starts and ends, by this wire."""
    labels = checks.labels(wire.labels)
    if not labels:
        raise Unfit(Reason.NO_LABELS, "an alert needs at least one label that is not empty")
    whose = identity.resolve(labels, incoming.mapping)
    checks.scope(whose, incoming.services)
    starts_at, ends_at, timeout = read(wire, incoming.now)
    return Alert(
        fingerprint=ids.derived("alert", labels),
        identity=whose,
        severity=severities.read(labels.get("severity", "")) or USUAL_SEVERITY,
        labels=labels,
        annotations=_annotations(wire),
        starts_at=starts_at,
        ends_at=ends_at,
        received_at=incoming.now,
        timeout=timeout,
    )


def _instant(text: str) -> Ms | None:
    at = checks.instant(text) if text else _GO_ZERO_TIME
    return None if at == _GO_ZERO_TIME else at


def _annotations(wire: WireAlert) -> dict[str, str]:
    """The annotations, and where the alert came from as one more of them."""
    if wire.generator_url:
        return checks.labels({**wire.annotations, "generatorURL": wire.generator_url}, "annotation")
    return checks.labels(wire.annotations, "annotation") if wire.annotations else {}


parse = partial(bodies.parse, _shape, alert)
"""``(body, incoming) -> Parsed`` with one ``Alert`` for each alert that was taken."""
