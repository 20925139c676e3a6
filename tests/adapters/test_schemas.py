# SPDX-License-Identifier: Apache-2.0

"""The published schemas say what the readers say, field by field."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

from opx import packs
from opx.app import documents
from opx.errors import DocumentError
from opx.packs import schemas

SCENARIOS = Path(__file__).parents[1] / "scenarios" / "documents"
FULL = """\
apiVersion: opx/v1
kind: Service
metadata: {name: orders, labels: {team: shop}}
spec:
  environment: shop
  owner: ann
  health: {http: "http://127.0.0.1:1/h", interval: 1s, timeout: 1s, failures: 2, severity: SEV2}
  target: "unix:///run/s.sock#orders"
  dependsOn: []
  parameters: {color: green}
  limits: {heap_bytes: 2.0e+9}
---
apiVersion: opx/v1
kind: DetectionRule
metadata: {name: deep}
spec:
  threshold: {metric: depth, stat: max, window: 1m, above: 10, labels: {service: orders}}
  severity: 3
  signal: saturation
  justification: load test
  for: 5m
  kind: evidence
---
apiVersion: opx/v1
kind: DetectionRule
metadata: {name: errors}
spec:
  ratio:
    part: {metric: errors, labels: {code: "500"}}
    whole: {metric: requests, labels: {code: "500"}}
    window: 10s
    atLeast: 20
    above: 0.05
  severity: sev2
  justification: our promise
---
apiVersion: opx/v1
kind: DetectionRule
metadata: {name: gone}
spec: {absence: {metric: up, labels: {job: a}, after: 1m}, severity: 4, justification: agreed}
---
apiVersion: opx/v1
kind: DetectionRule
metadata: {name: drift}
spec:
  event:
    type: opx.file.drifted
    source: watcher
    when: ["event.data.path != ''"]
    expires: 1h
    clears: {type: opx.file.restored, when: ["event.data.path != ''"]}
  severity: sev4
  kind: evidence
---
apiVersion: opx/v1
kind: DetectionRule
metadata: {name: burst}
spec:
  logs: {level: error, matches: timeout, window: 1m, above: 5, atLeast: 20}
  severity: sev4
  justification: seen in January
---
apiVersion: opx/v1
kind: Calendar
metadata: {name: nights}
spec:
  zone: Europe/Berlin
  weekly: [{days: [mon], from: "22:00", to: "24:00"}]
  periods: [{from: "2026-12-24T00:00:00Z", to: "2026-12-27T00:00:00Z"}]
---
apiVersion: opx/v1
kind: Mapping
metadata: {name: ours}
spec: {environment: [stage], service: [team, app], resource: [node], defaultEnvironment: shop}
---
apiVersion: opx/v1
kind: Policy
metadata: {name: default}
spec: {ceiling: sev3, cooldown: 1m, breakerAfter: 3, approvalTtl: 15m, calibratedAfter: 30,
       minPFix: 0.8, environments: {prod: {ceiling: sev3, autonomy: approve}},
       serviceRunsPerHour: 6, environmentRunsPerHour: 20, blastRadius: 5, blindness: 0.5,
       changeWindow: nights, freezes: [nights], predictions: {heldBack: 0.2}}
---
apiVersion: opx/v1
kind: Runbook
metadata: {name: bounce}
spec:
  purpose: Bring it back
  when: ["service.target != ''"]
  inputs: {why: {type: string, pattern: "[a-z]+", required: false, default: test}}
  preconditions: [{id: up, probe: {tcp: "127.0.0.1:1", timeout: 1s}, expect: "true"}]
  steps: [{id: stop, uses: process.stop, with: {}, timeout: 20s, retries: 1, undo: start}]
  rollback: [{id: start, uses: process.start, with: {}, timeout: 20s, retries: 1}]
  verify: {probe: {process: "unix:///run/s.sock#web"}, passes: 3, of: 3, every: 1s, within: 30s}
"""
TEXTS = [FULL, *packs.texts().values(), *(path.read_text() for path in SCENARIOS.glob("*.yaml"))]
GOOD = [one for text in TEXTS for one in yaml.safe_load_all(text)]
WHOLE = list(yaml.safe_load_all(FULL))
OPEN = {"labels", "with", "inputs", "parameters", "environments", "limits"}
"""Mappings whose keys are the writer's."""


def valid(document: dict[str, Any]) -> bool:
    return jsonschema_rs.validator_for(schemas.schema(document["kind"])).is_valid(document)


def wrong(document: dict[str, Any]) -> str:
    """What the reader says of it; empty when nothing."""
    found = documents.examine(yaml.safe_dump(document), "a.yaml", [])[1]
    return str(found[0]) if found else ""


def mappings(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every mapping in it whose fields are opx's."""
    if isinstance(value, dict):
        if not path or path[-1] not in OPEN:
            yield path
        for name, inner in value.items():
            yield from mappings(inner, (*path, name))
    elif isinstance(value, list):
        for at, inner in enumerate(value):
            yield from mappings(inner, (*path, at))


def changed(document: dict[str, Any], path: tuple[Any, ...], **fields: Any) -> dict[str, Any]:
    copy: dict[str, Any] = yaml.safe_load(yaml.safe_dump(document))
    place: Any = copy
    for step in path:
        place = place[step]
    place.update(fields)
    return copy


PLACES = [
    pytest.param(document, path, id=f"{document['kind']}:{'.'.join(map(str, path))}")
    for document in WHOLE
    for path in mappings(document)
]


def test_every_kind_has_a_schema() -> None:
    """The kinds that are read are those that are described, and each schema is one."""
    assert tuple(sorted(schemas.SPECS)) == documents.KINDS
    for kind in schemas.SPECS:
        jsonschema_rs.meta.validate(schemas.schema(kind))


@pytest.mark.parametrize(
    "document", GOOD, ids=lambda one: f"{one['kind']}/{one['metadata']['name']}"
)
def test_a_good_document_fits(document: dict[str, Any]) -> None:
    """What opx reads, the schema accepts; what it names may stand in another document."""
    naming = ("dependsOn", "changeWindow", "freezes")
    alone = {name: each for name, each in document["spec"].items() if name not in naming}

    assert wrong({**document, "spec": alone}) == ""
    assert valid(document)


@pytest.mark.parametrize(("document", "path"), PLACES)
def test_the_schema_knows_the_fields_that_the_reader_knows(
    document: dict[str, Any], path: tuple[Any, ...]
) -> None:
    """In every mapping an unknown field is refused by both, and both name the same fields."""
    odd = changed(document, path, zzzzzzzz=1)
    known = re.search(r"known: ([^)]*)\)", wrong(odd))

    assert not valid(odd)
    assert known is not None
    place: Any = schemas.schema(document["kind"])
    for step in path:
        if isinstance(step, int):
            place = place["items"]
        elif place.get("additionalProperties"):
            place = place["additionalProperties"]
        else:
            place = place["properties"][step]
    assert set(known[1].split(", ")) == set(place["properties"])


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        (("spec",), {"environment": "Shop 1"}),
        (("spec",), {"target": "orders"}),
        (("spec",), {"dependsOn": ["a", "a"]}),
        (("spec", "health"), {"interval": "1 minute"}),
        (("spec", "health"), {"severity": "sev9"}),
        (("spec", "health"), {"tcp": "a:1"}),
        (("spec", "health"), {"failures": 0}),
        (("metadata",), {"name": "Orders"}),
        ((), {"apiVersion": "v1"}),
    ],
)
def test_what_the_schema_refuses_the_reader_refuses(
    path: tuple[Any, ...], fields: dict[str, Any]
) -> None:
    """A wrong value is refused by both."""
    odd = changed(WHOLE[0], path, **fields)

    assert not valid(odd)
    with pytest.raises(DocumentError):
        documents.check(yaml.safe_dump(odd), "a.yaml", [])
