# SPDX-License-Identifier: Apache-2.0

"""Alerts as an Alertmanager sends them to a webhook (version 4).

``POST /hooks/alertmanager``. The same alerts as on ``/api/v2/alerts``, by the same labels,
so that one told both ways is one. Two things differ: each says by its ``status`` whether it
is over, and while it fires it has no end (``0001-01-01``) and is told again only after the
``repeat_interval``, which nobody tells us. It must never clear what the other still calls
firing, so what was told holds for ``HELD``, or until somebody names its end.
"""

from __future__ import annotations

from functools import partial

import msgspec

from opx.adapters.wires import alerts, bodies
from opx.adapters.wires.alerts import Times, WireAlert
from opx.core.base.time import DAY, HOUR, Ms
from opx.core.ingest import checks
from opx.core.ingest.checks import Reason, Unfit
from opx.engine.intake import Incoming, Parsed
from opx.errors import BadInput

VERSION = "4"
HELD: Ms = DAY + HOUR
"""A day is the longest ``repeat_interval`` in use, and sending takes time. An Alertmanager
that has died is found out by then."""


class HookAlert(WireAlert, kw_only=True):
    status: str = ""


class _Hook(msgspec.Struct):
    alerts: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    version: str = VERSION


_shape = bodies.Shape(HookAlert)
_hook = msgspec.json.Decoder(_Hook)


def parse(body: bytes, incoming: Incoming) -> Parsed:
    """``(body, incoming) -> Parsed`` with one ``Alert`` for each that was taken. An alert, or a
    list of them, without the envelope is read too: that is what the quarantine keeps."""
    return bodies.parse(_shape, partial(alerts.alert, read=_times), _inside(body), incoming)


def _inside(body: bytes) -> bytes:
    if not body.lstrip(b" \t\r\n").startswith(b"{"):
        return body
    hook, sent = bodies.decoded(_hook, body, "a webhook's")
    if hook.version != VERSION:
        raise BadInput(f"version {VERSION!r} of the webhook is expected")
    return sent(hook.alerts) if isinstance(hook.alerts, msgspec.Raw) else body


def _times(wire: WireAlert, now: Ms) -> Times:
    status = wire.status if isinstance(wire, HookAlert) else ""
    if status == "firing":
        return alerts.times(wire, now, now + HELD)
    if status == "resolved":
        # Their clock may be ahead of ours; what is over is over now.
        start, end, _ = alerts.times(wire, now, now + checks.MAX_FUTURE)
        return min(start, now), min(end, now), False
    raise Unfit(Reason.MALFORMED, "an alert's status is firing or resolved")
