# SPDX-License-Identifier: Apache-2.0

"""What opx is told about the playground: YAML, as a person would write it.

Applied over the API. It tells opx where the services are, how to ask whether they are well,
what to look for in what the collector sends, and where their files and releases are. It says
nothing about what the users see.
"""

from __future__ import annotations

import yaml

from opx.playground import layout
from opx.playground.layout import ENVIRONMENT, Layout

CEILING_FRESH = "sev3"
CEILING_RAISED = "sev2"
MANY = 1_000
"""Runs an hour: more than any tour takes, so that trials can follow each other."""


def services(where: Layout) -> str:
    """A Service document for each of the six."""
    return _text([_service(where, name) for name in layout.EVERY])


def policy(ceiling: str) -> str:
    """The playground's Policy: a cooldown of seconds, so that trials can follow each other."""
    spec = {
        "ceiling": ceiling,
        "cooldown": "5s",
        "breakerAfter": 3,
        "approvalTtl": "15m",
        "serviceRunsPerHour": MANY,
        "environmentRunsPerHour": MANY,
        "predictions": {"heldBack": 0.2},
    }
    return _text([_document("Policy", "default", spec)])


def rules() -> str:
    """A DetectionRule for each thing to look for in metrics and events."""
    return RULES


def runbooks() -> str:
    """What the people of this shop know, beside what opx ships: what makes a service fast again."""
    return RUNBOOKS


def _service(where: Layout, name: str) -> dict[str, object]:
    spec: dict[str, object] = {
        "environment": ENVIRONMENT,
        "owner": "shop",
        "health": {
            "http": f"{where.address(name)}/health",
            "interval": "1s",
            "timeout": "1s",
            "failures": 3,  # what is restarted by hand is away for half a second
            "severity": "sev2",
        },
        "dependsOn": list(layout.depends_on(name)),
    }
    if name in layout.SERVICES:
        spec["target"] = where.target(name)
        spec["parameters"] = {
            "config": str(where.config(name)),
            "good": str(where.good(name)),
            "releases": str(where.app(name)),
        }
    return _document("Service", name, spec)


def _document(kind: str, name: str, spec: dict[str, object]) -> dict[str, object]:
    return {"apiVersion": "opx/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def _text(documents: list[dict[str, object]]) -> str:
    return yaml.safe_dump_all(documents, sort_keys=False)


RULES = """\
apiVersion: opx/v1
kind: DetectionRule
metadata: {name: errors}
spec:
  ratio:
    part: {metric: playground_errors_total}
    whole: {metric: playground_requests_total}
    window: 5s
    above: 0.1
    atLeast: 10
  severity: sev2
  signal: errors
  justification: the shop promises nine good answers of ten, whatever its users ask for
---
apiVersion: opx/v1
kind: DetectionRule
metadata: {name: latency}
spec:
  ratio:
    part: {metric: playground_request_seconds_sum}
    whole: {metric: playground_request_seconds_count}
    window: 5s
    above: 0.3
    atLeast: 5
  severity: sev3
  signal: latency
  justification: half of the time after which a user thinks that the shop is slow
---
apiVersion: opx/v1
kind: DetectionRule
metadata: {name: silence}
spec:
  absence: {metric: playground_requests_total, after: 15s}
  severity: sev4
  justification: the collector sends every second, and fifteen in a row are not lost by chance
---
apiVersion: opx/v1
kind: DetectionRule
metadata: {name: busy}
spec:
  threshold:
    metric: playground_requests_total
    labels: {service: gateway}
    stat: rate
    window: 5s
    above: 16
  severity: sev5
  kind: evidence
  signal: traffic
  justification: twice of what the shop has on a usual day
---
apiVersion: opx/v1
kind: DetectionRule
metadata: {name: drift}
spec:
  event:
    type: opx.file.drifted
    expires: 1h
    clears: {type: opx.file.restored}
  severity: sev3
  kind: evidence
"""

RUNBOOKS = """\
apiVersion: opx/v1
kind: Runbook
metadata: {name: restart-slow}
spec:
  purpose: Start a service anew that got slow, which has cured it before
  when:
    - insight.type == 'latency'
    - service.target != ''
  steps:
    - {id: restart, uses: process.restart, timeout: 20s, retries: 1}
  verify: {passes: 3, of: 3, every: 1s, within: 60s}
"""
