# SPDX-License-Identifier: Apache-2.0

"""The JSON Schema of what each wire takes in, for the OpenAPI.

What a schema refuses its wire refuses; a wire also refuses what only it can know (a time that
is too old, another sender's service). The wires decide, in ``adapters/wires``; a test holds
that they take nothing that is not described here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from opx.core.ingest import checks
from opx.core.ingest.checks import NAME

Schema = dict[str, Any]


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _any(*schemas: Schema, **more: Any) -> Schema:
    return {"anyOf": list(schemas), **more}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _object(required: Iterable[str], properties: dict[str, Schema], **more: Any) -> Schema:
    return {"type": "object", "required": list(required), "properties": properties, **more}


def _text(most: int = checks.MAX_VALUE, **more: Any) -> Schema:
    return {"type": "string", "maxLength": most, **more}


def _moment(least: int) -> Schema:
    """An instant in ms, the first that is read as one, or as RFC 3339 writes it."""
    return _any({"type": "integer", "minimum": least, "exclusiveMaximum": 1 << 53}, TIME)


def _alert(**more: Schema) -> Schema:
    """An alert that has these fields, too."""
    properties = {
        "labels": {**LABELS, "minProperties": 1},
        "annotations": LABELS,
        "startsAt": SAID_TIME,
        "endsAt": SAID_TIME,
        "generatorURL": _text(),
    }
    return _object(["labels", *more], {**properties, **more})


NAMED = _text(checks.MAX_NAME, pattern=f"^{NAME.pattern}$")
LABELS: Schema = {"type": "object", "propertyNames": NAMED, "additionalProperties": _text()}
TEXT: Schema = {"type": "string"}
TIME: Schema = {"type": "string", "format": "date-time"}
NOW: Schema = {"type": "null", "description": "Now, as without it."}
SAID_TIME = _any(TIME, {"const": "", "description": "Not said, as without it."})
FLAT = ("number", "boolean", "string", "null")
ID: Schema = {"type": ["string", "integer"], "minLength": 1}
ATTRIBUTE = _text(1_024, minLength=1)
MAYBE: Schema = {"type": ["string", "null"], "maxLength": 1_024}

SCHEMAS: dict[str, Schema] = {
    "MetricPoint": _object(
        ["metric", "value"],
        {
            "metric": NAMED,
            "value": {"type": "number"},
            "timestamp": _any(*_moment(0)["anyOf"], NOW),
            "labels": LABELS,
        },
        additionalProperties=False,
        description="Times are in milliseconds since 1970 or RFC 3339.",
    ),
    "MetricColumn": _object(
        ["metric", "timestamps", "values"],
        {
            "metric": NAMED,
            "timestamps": _list(_moment(-1 << 53)),
            "values": _list({"type": ["number", "null"]}),
            "labels": LABELS,
        },
        additionalProperties=False,
        description="Points of one series: as many values as timestamps.",
    ),
    "MetricSample": _object(
        (),
        {
            "timestamp": {"type": ["number", "string", "null"]},
            "labels": {**LABELS, "type": ["object", *FLAT]},
        },
        additionalProperties={"type": list(FLAT), "maxLength": checks.MAX_VALUE},
        anyOf=[_object([id], {id: ID}) for id in ("stream_id", "nodeId")],
        description="Of a stream or a node: every number, true and false is a point of a series of "
        "its own, every text a label of them all.",
    ),
    "CloudEvent": _object(
        ["specversion", "id", "source", "type"],
        {
            "specversion": {"const": "1.0"},
            "id": ATTRIBUTE,
            "source": ATTRIBUTE,
            "type": ATTRIBUTE,
            "subject": {**MAYBE, "description": "`service/ENVIRONMENT/NAME` says whose it is."},
            "time": _any(*SAID_TIME["anyOf"], NOW),
            "severity": {**MAYBE, "description": "`sev1` to `sev5`."},
            "data": {},
        },
        description="Whose it is may also stand in `environment` and `service`, here or in `data`.",
    ),
    "Alert": _alert(),
    "WebhookAlert": _alert(status={"enum": ["firing", "resolved"]}),
    "LogLine": _object(
        (),
        {
            "level": {"type": ["string", "integer", "null"]},
            "timestamp": {"type": ["string", "number", "null"]},
            "labels": {"type": ["object", "null"]},
            "fields": {"type": ["object", "null"]},
        },
        anyOf=[_object([name], {name: TEXT}) for name in ("message", "msg", "log", "body")],
        description="Level and timestamp may have other names that loggers use. All else is a "
        "label, too.",
    ),
}
"""Of the items, by the name that ``BODIES`` refer to them by."""


def _items(*names: str) -> list[Schema]:
    """One alone, or a list of them, each of one of these kinds."""
    kinds = [_ref(name) for name in names]
    return [*kinds, _list(_any(*kinds) if len(kinds) > 1 else kinds[0])]


_METRICS = _items("MetricPoint", "MetricColumn", "MetricSample")
_ALERTS = _items("WebhookAlert")

BODIES: dict[str, Schema] = {
    "metrics": _any(*_METRICS, _object(["metrics"], {"metrics": _any(*_METRICS)})),
    "events": _any(*_items("CloudEvent")),
    "alerts": _any(*_items("Alert")),
    "alertmanager": _any(
        _object(["alerts"], {"version": {"const": "4"}, "alerts": _any(*_ALERTS)}), *_ALERTS
    ),
    "logs": _any(*_items("LogLine")),
}
"""By wire. NDJSON, an item on each line, is no JSON and has none."""
