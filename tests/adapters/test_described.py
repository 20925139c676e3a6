# SPDX-License-Identifier: Apache-2.0

"""The ingest routes in the OpenAPI: all of them, and what they take, as it is."""

from __future__ import annotations

from typing import Any

import jsonschema_rs
import msgspec
import pytest

from opx.adapters.wires import alertmanager, alerts, forms, logs
from opx.api import create, ingest
from opx.api.front import Front
from opx.app import documents
from opx.core.ingest.checks import Reason
from opx.engine.access import Access
from opx.engine.intake import Intake
from opx.packs import wires
from opx.testing.memory import ManualClock, MemoryStore


@pytest.fixture(scope="module")
def openapi() -> dict[str, Any]:
    """As ``front`` serves it. Nothing behind it is asked for anything."""
    clock, store, nothing = ManualClock(0), MemoryStore(), Any
    intake = Intake(appender=nothing, clock=clock, catalogue=nothing, index=nothing, wires={})
    front = Front(
        store=store,
        clock=clock,
        access=Access(store, clock),
        brain=nothing,
        check=documents.check,
        bind=documents.bind,
        would=documents.would,
        anchors=list,
        exposition=nothing,
        hands_alive=bool,
        keeping=bool,
    )
    described: dict[str, Any] = create.create(front, ingest.routes(intake)).openapi()
    return described


@pytest.mark.parametrize("path", ingest.PATHS)
def test_every_ingest_route_is_described(openapi: dict[str, Any], path: str) -> None:
    """Its media types, each answer that it gives, and who may send; beside what else there is by
    that path."""
    post = openapi["paths"][path]["post"]
    answers = post["responses"]

    assert set(post["requestBody"]["content"]) == ingest.MEDIA_TYPES[ingest.PATHS[path]]
    assert post["requestBody"]["required"]
    assert {"HTTPBearer": []} in post["security"]
    assert post["summary"]
    assert post["description"]
    taken = "200" if path == "/api/v2/alerts" else "202"
    refused = {"400", "401", "403", "413", "415", "421", "422", "429", "503"}
    assert set(answers) == {taken, *refused}
    assert {
        status for status, one in answers.items() if "Retry-After" in one.get("headers", {})
    } == {
        "429",
        "503",
    }
    assert all(
        set(answers[status]["content"]) == {"application/problem+json"} for status in refused
    )
    assert "get" in openapi["paths"]["/metrics"]


def test_what_the_answers_look_like(openapi: dict[str, Any]) -> None:
    """202 counts; 422 is a problem that counts, and names the items that were not taken, too."""

    def fits(path: str, status: str, body: Any) -> bool:
        (content,) = openapi["paths"][path]["post"]["responses"][status]["content"].values()
        whole = {**content["schema"], "components": openapi["components"]}
        return jsonschema_rs.validator_for(whole).is_valid(body)

    problem = {"type": "urn:x", "title": "t", "status": 422, "detail": "d", "code": "c"}
    errors = [{"index": 1, "reason": "too_deep", "detail": "d"}]
    whole = {**problem, "accepted": 2, "rejected": 1, "errors": errors}

    assert fits("/logs", "202", {"accepted": 0})
    assert not fits("/logs", "202", {})
    assert fits("/logs", "422", whole)
    for name in ("code", "accepted", "rejected", "errors"):
        assert not fits("/logs", "422", {key: whole[key] for key in whole.keys() - {name}})
    assert not fits("/logs", "422", {**whole, "errors": [{**errors[0], "reason": "because"}]})
    assert fits("/logs", "422", {**whole, "errors": [{**errors[0], "reason": r} for r in Reason]})


def test_every_reference_leads_somewhere(openapi: dict[str, Any]) -> None:
    """And each schema is one."""
    for name, schema in openapi["components"]["schemas"].items():
        jsonschema_rs.meta.validate(schema)
        whole = {**schema, "components": openapi["components"]}
        assert jsonschema_rs.validator_for(whole), name
    for wire in wires.BODIES.values():
        jsonschema_rs.validator_for({**wire, "components": openapi["components"]})


@pytest.mark.parametrize(
    ("name", "struct"),
    [
        ("MetricPoint", forms.WirePoint),
        ("MetricColumn", forms.WireColumn),
        ("Alert", alerts.WireAlert),
        ("WebhookAlert", alertmanager.HookAlert),
    ],
)
def test_the_fields_are_those_of_the_wire(name: str, struct: type[msgspec.Struct]) -> None:
    """Not one more and not one less."""
    schema = wires.SCHEMAS[name]

    assert set(schema["properties"]) == set(struct.__struct_encode_fields__)


def test_the_names_are_those_of_the_wire() -> None:
    """By which a message and a sample are known."""
    lines = [one["required"] for one in wires.SCHEMAS["LogLine"]["anyOf"]]
    samples = [one["required"] for one in wires.SCHEMAS["MetricSample"]["anyOf"]]

    assert lines == [[name] for name in logs.MESSAGE]
    assert samples == [[name] for name in forms.SAMPLED]


LABELLED = {"labels": {"alertname": "Down"}}
EVENT = {"specversion": "1.0", "id": "1", "source": "s", "type": "t"}
POINT = {"metric": "m", "value": 1}


@pytest.mark.parametrize(
    ("wire", "good", "bad"),
    [
        ("metrics", POINT, {"metric": "m"}),
        ("metrics", {"metrics": [POINT]}, {"metrics": [{**POINT, "time": 1}]}),
        ("metrics", [{"nodeId": 1, "iops": 2}], [{"nodeId": 1, "iops": [2]}]),
        (
            "metrics",
            {"metric": "m", "values": [1], "timestamps": [0]},
            {"metric": "m", "values": []},
        ),
        ("events", [EVENT], [{**EVENT, "specversion": "0.3"}]),
        ("alerts", LABELLED, {"labels": {}}),
        ("alerts", [LABELLED], [{"labels": {"a b": "x"}}]),
        ("alertmanager", {**LABELLED, "status": "firing"}, LABELLED),
        ("alertmanager", {"alerts": []}, {"alerts": [LABELLED]}),
        ("logs", {"msg": "m", "level": "info", "x": [1]}, {"level": "info"}),
        ("logs", [{"message": "m"}], [{"message": 5}]),
    ],
)
def test_what_a_schema_allows_and_what_not(wire: str, good: Any, bad: Any) -> None:
    """It says something. That it refuses nothing that is taken, the fuzzers hold:
    tests/adapters/wires/test_fuzz.py."""
    whole = {**wires.BODIES[wire], "components": {"schemas": wires.SCHEMAS}}
    validator = jsonschema_rs.validator_for(whole)

    assert validator.is_valid(good)
    assert not validator.is_valid(bad)
