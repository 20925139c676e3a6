# SPDX-License-Identifier: Apache-2.0

"""CloudEvents 1.0 in structured JSON mode, one or a batch.

``POST /events``. Whose event it is comes from extension attributes (``environment``,
``service``, ...), where those are silent from ``data.labels``, then from texts of those
names in ``data`` itself, and at last from a subject written as opx names a service:
``service/ENVIRONMENT/NAME``. Any other subject is not read: it would be a guess. An event's own
``severity`` is an extension attribute too; a word that is not known is refused, because
guessing how bad something is would be silent.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from opx.adapters.wires import bodies
from opx.core.base import ids
from opx.core.base.time import Ms
from opx.core.ingest import checks, identity, masking, severities
from opx.core.ingest.checks import Reason, Unfit
from opx.core.ingest.mapping import MappingRule
from opx.core.ingest.signals import Event, Identity, Severity
from opx.engine.intake import Incoming

SPEC_VERSION = "1.0"
MAX_ATTRIBUTE = 1_024

_shape = bodies.Shape(dict[str, Any])


def _event(wire: dict[str, Any], incoming: Incoming) -> Event:
    if wire.get("specversion") != SPEC_VERSION:
        raise Unfit(Reason.MALFORMED, f"specversion {SPEC_VERSION!r} is expected")
    whose = _identity(wire, incoming.mapping)
    checks.scope(whose, incoming.services)
    return Event(
        id=_id(_text(wire, "id", required=True)),
        source=masking.text(_text(wire, "source", required=True)),
        type=masking.text(_text(wire, "type", required=True)),
        subject=masking.text(_text(wire, "subject")),
        identity=whose,
        severity=_severity(_text(wire, "severity")),
        at=_at(_text(wire, "time"), incoming.now),
        received_at=incoming.now,
        data=_data(wire),
    )


def _text(wire: dict[str, Any], name: str, *, required: bool = False) -> str:
    """An attribute; "" when it is absent or null and need not be there."""
    value = wire.get(name)
    if value is None and not required:
        return ""
    if not isinstance(value, str) or (required and not value):
        raise Unfit(Reason.MALFORMED, f"{name} must be text" + " and not empty" * required)
    if len(value) > MAX_ATTRIBUTE:
        raise Unfit(Reason.TOO_LONG, f"{name} is longer than {MAX_ATTRIBUTE}")
    return value


def _id(id: str) -> str:
    """Events must stay apart, so an id that holds a secret is another id, not a masked one."""
    return id if masking.text(id) == id else ids.derived("event", id)


def _identity(wire: dict[str, Any], mapping: MappingRule) -> Identity:
    data = wire.get("data")
    data = data if isinstance(data, dict) else {}
    inner = data.get("labels")
    labels = {}
    for name in identity.names(mapping):
        value = _text(wire, name)
        if not value and isinstance(inner, dict):
            value = _text(inner, name)
        labels[name] = masking.text(value or _plain(data, name))
    whose = identity.resolve(labels, mapping)
    return whose if whose.service else _by_subject(whose, _text(wire, "subject"), labels, mapping)


def _plain(data: dict[str, Any], name: str) -> str:
    """A text of the data; what is there by that name may also be something else entirely."""
    value = data.get(name)
    return value if isinstance(value, str) and len(value) <= MAX_ATTRIBUTE else ""


def _by_subject(
    whose: Identity, subject: str, labels: dict[str, str], mapping: MappingRule
) -> Identity:
    """Who a subject of the form ``service/ENVIRONMENT/NAME`` says it is, unless an environment
    was named that is another."""
    kind, _, place = subject.partition("/")
    environment, _, service = place.partition("/")
    named = any(labels[name] for name in mapping.environment)
    if kind != "service" or not environment or not service or "/" in service:
        return whose
    if named and environment != whose.environment:
        return whose
    return Identity(masking.text(environment), masking.text(service), whose.resource)


def _severity(word: str) -> Severity | None:
    severity = severities.read(word)
    if word and severity is None:
        raise Unfit(Reason.UNKNOWN_SEVERITY, "severity is sev1, sev2, sev3, sev4 or sev5")
    return severity


def _at(text: str, now: Ms) -> Ms:
    return checks.recent(checks.instant(text), now) if text else now


def _data(wire: dict[str, Any]) -> dict[str, object]:
    """The data as a mapping: what is none stands under ``value``, bytes under their own name."""
    data = wire.get("data")
    if data is None:
        encoded = wire.get("data_base64")
        data = {} if encoded is None else {"data_base64": encoded}
    elif not isinstance(data, dict):
        data = {"value": data}
    checks.data(data)
    return masking.fields(data)


parse = partial(bodies.parse, _shape, _event)
"""``(body, incoming) -> Parsed`` with one ``Event`` for each event that was taken."""
