# SPDX-License-Identifier: Apache-2.0

"""What the ingest routes say of themselves in the OpenAPI.

They are plain Starlette routes, so FastAPI, which describes all others, does not know them.
This is asked for with the description and never when telemetry comes in.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from opx.api import problems
from opx.api.ingest import MEDIA_TYPES, NDJSON, PATHS
from opx.api.wire import BEARER, PROBLEMS, SESSION
from opx.core.ingest.checks import Reason
from opx.packs import wires

SAID = {
    "metrics": ("Points", "Points, columns of points, or samples of streams and nodes."),
    "logs": ("Log lines", "An object on each line (NDJSON, by either media type), or a list."),
    "events": ("CloudEvents", "CloudEvents 1.0 in structured JSON, one or a batch."),
    "alerts": ("Alerts", "Alerts, as a Prometheus server sends them to its Alertmanager."),
    "alertmanager": ("Webhook", "Alerts, as an Alertmanager sends them to a webhook (version 4)."),
}
"""By wire: its name and what comes in by it."""
ALL = "Answered when all of it is on disk. `Content-Encoding: gzip` is read, too."
COUNT = {"type": "integer", "minimum": 0}
TEXT = {"type": "string"}


def _all_of(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": list(properties), "properties": properties}


REFUSED = _all_of(
    index={**COUNT, "description": "The item's place in the body."},
    reason={"enum": [reason.value for reason in Reason]},
    detail=TEXT,
)
SCHEMAS: dict[str, Any] = {
    **wires.SCHEMAS,
    "Accepted": _all_of(accepted=COUNT),
    "ItemsRefused": {
        "allOf": [
            {"$ref": "#/components/schemas/Problem"},
            _all_of(accepted=COUNT, rejected=COUNT, errors={"type": "array", "items": REFUSED}),
        ]
    },
}


def add(schema: dict[str, Any], paths: Iterable[str]) -> None:
    """Describe ``POST`` to these of the ingest routes in an OpenAPI document, too."""
    for path in paths:
        schema["paths"].setdefault(path, {})["post"] = _operation(PATHS[path])
    schema["components"]["schemas"] |= SCHEMAS


def _operation(wire: str) -> dict[str, Any]:
    summary, description = SAID[wire]
    return {
        "tags": ["ingest"],
        "summary": summary,
        "description": f"{description} {ALL}",
        "operationId": f"ingest_{wire}",
        "security": [{BEARER.scheme_name: []}, {SESSION.scheme_name: []}],
        "requestBody": {
            "required": True,
            "content": {
                kind: {"schema": TEXT if kind == NDJSON else wires.BODIES[wire]}
                for kind in sorted(MEDIA_TYPES[wire])
            },
        },
        "responses": _responses(wire),
    }


def _responses(wire: str) -> dict[str, Any]:
    taken = _answer("All of it is kept", "application/json", "Accepted")
    later = {"Retry-After": {"description": "In seconds", "required": True, "schema": COUNT}}
    return {
        # What an Alertmanager answers.
        **({"200": {"description": "All of it is kept"}} if wire == "alerts" else {"202": taken}),
        **{str(status): PROBLEMS[status] for status in (400, 401, 403, 413, 421)},
        "415": _problem("Another media type or compression than is read here"),
        "422": _problem("Some items were refused, and the others are kept", "ItemsRefused"),
        "429": {**_problem("This token sends too fast"), "headers": later},
        "503": {**PROBLEMS[503], "headers": later},
    }


def _problem(when: str, schema: str = "Problem") -> dict[str, Any]:
    return _answer(when, problems.MEDIA_TYPE, schema)


def _answer(when: str, kind: str, schema: str) -> dict[str, Any]:
    content = {kind: {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    return {"description": when, "content": content}
