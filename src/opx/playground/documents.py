# SPDX-License-Identifier: Apache-2.0

"""What opx is told about the playground: YAML, as a person would write it.

Applied over the API. It tells opx where the services are and how to ask whether they are
well, and nothing about what the users see.
"""

from __future__ import annotations

import yaml

from opx.playground import layout
from opx.playground.layout import ENVIRONMENT, Layout

CEILING_FRESH = "sev3"
CEILING_RAISED = "sev2"


def services(where: Layout) -> str:
    """A Service document for each of the five."""
    return _text([_service(where, name) for name in layout.SERVICES])


def policy(ceiling: str) -> str:
    """The playground's Policy: a cooldown of seconds, so that trials can follow each other."""
    spec = {"ceiling": ceiling, "cooldown": "5s", "breakerAfter": 3, "approvalTtl": "15m"}
    return _text([_document("Policy", "default", spec)])


def _service(where: Layout, name: str) -> dict[str, object]:
    return _document(
        "Service",
        name,
        {
            "environment": ENVIRONMENT,
            "owner": "shop",
            "health": {
                "http": f"{where.address(name)}/health",
                "interval": "1s",
                "timeout": "1s",
                "failures": 2,
                "severity": "sev2",
            },
            "target": where.target(name),
            "dependsOn": list(layout.depends_on(name)),
        },
    )


def _document(kind: str, name: str, spec: dict[str, object]) -> dict[str, object]:
    return {"apiVersion": "opx/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def _text(documents: list[dict[str, object]]) -> str:
    return yaml.safe_dump_all(documents, sort_keys=False)
