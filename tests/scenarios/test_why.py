# SPDX-License-Identifier: Apache-2.0

"""What nothing is done about is answered for: each case in which opx stays still by design."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.scenarios.test_scenarios import HERE, bound

from opx.adapters.durable.inline import InlineWorkflows
from opx.core.base.time import SECOND
from opx.engine import journal, queries
from opx.engine.ports import Entry, ReadTx, Where
from opx.errors import NotFound
from opx.testing import scenario, virtual

RESTARTED = {
    "documents": "street",
    "given": [
        {
            "at": 10,
            "events": [
                {
                    "id": "again",
                    "type": "opx.process.restarted",
                    "environment": "shop",
                    "service": "orders",
                    "data": {"actor": "ann"},
                }
            ],
        }
    ],
    "until": 60,
    "expect": {"incidents": [], "notices": []},
}

EVIDENCE = {
    "documents": "street",
    "given": [
        {
            "at": at,
            "logs": [
                {
                    "environment": "shop",
                    "service": "orders",
                    "level": "error",
                    "message": "no answer",
                    "times": 20 if at == 201 else 4,
                }
            ],
        }
        for at in range(1, 232, 10)
        if at != 191
    ],
    "until": 300,
    "expect": {"findings": 1, "incidents": [], "notices": []},
}


def told(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load(Path(HERE / f"{name}.yaml").read_text()))


def asked(
    play: dict[str, Any], service: str, monkeypatch: pytest.MonkeyPatch, environment: str = "shop"
) -> tuple[dict[str, Any], list[Entry]]:
    """The answer about a service when the scenario is over, and all that waited."""
    knowledge, kept = bound(play["documents"]), []
    report = scenario._report

    def read(tx: ReadTx) -> dict[str, Any]:
        now = virtual.START + play["until"] * SECOND
        kept.append(queries.why_of(tx, knowledge, environment, service, now))
        kept.append(tx.find(Entry, Where("kind", "eq", journal.WAITS)))
        return report(tx)

    monkeypatch.setattr(scenario, "_report", read)
    result = scenario.play(play, knowledge, InlineWorkflows)
    assert scenario.differences(play["expect"], result) == []
    return kept[0], kept[1]


def test_a_load_spike(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing was found odd, that is the answer."""
    found, _ = asked(told("load-spike"), "orders", monkeypatch)
    assert (found["incident"], found["seen"], found["events"]) == (None, [], [])


def test_evidence_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was seen, and why nothing came of it is said, once for each reason."""
    found, waits = asked(EVIDENCE, "orders", monkeypatch)
    assert found["incident"] is None
    [seen] = found["seen"]
    assert seen["reason"] in ("score_too_low", "too_few_detections")
    assert seen["sentences"][0].startswith("No incident: there is no symptom")
    said = [(one.body["promotion"]["episode"], one.body["promotion"]["reason"]) for one in waits]
    assert said
    assert len(said) == len(set(said))


def test_a_benign_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a person changed was received; nothing was found."""
    found, waits = asked(told("benign-changes"), "orders", monkeypatch)
    assert (found["incident"], found["seen"], waits) == (None, [], [])
    assert [(one["type"], one["data"]["actor"]) for one in found["events"]] == [
        ("opx.config.changed", "ann")
    ]


def test_a_restart_by_a_person(monkeypatch: pytest.MonkeyPatch) -> None:
    """Likewise."""
    found, _ = asked(RESTARTED, "orders", monkeypatch)
    assert (found["incident"], found["seen"]) == (None, [])
    assert [one["type"] for one in found["events"]] == ["opx.process.restarted"]


def test_what_has_an_incident_is_answered_for_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its decisions, as those of the incident."""
    found, _ = asked(told("slow-store"), "store", monkeypatch)
    assert found["incident"]
    assert {one["answer"] for one in found["items"]} == {"allow", "deny"}


def test_nothing_of_a_service_and_a_service_that_nobody_knows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The one is an answer, the other is not found."""
    found, _ = asked(RESTARTED, "store", monkeypatch)
    assert (found["incident"], found["seen"], found["events"]) == (None, [], [])
    for environment in ("", "shop"):
        with pytest.raises(NotFound):
            asked(RESTARTED, "nobody", monkeypatch, environment)
