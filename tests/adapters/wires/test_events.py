# SPDX-License-Identifier: Apache-2.0

"""CloudEvents, one or a batch."""

from __future__ import annotations

import json
from typing import Any

import pytest

from opx.adapters.wires import events
from opx.core.ingest.checks import Reason
from opx.core.ingest.signals import Event, Identity, Severity
from opx.engine.intake import Incoming, Parsed
from opx.errors import BadInput

NOW = 1_767_225_600_000
LEAST = {"specversion": "1.0", "id": "1", "source": "/ci", "type": "deploy.finished"}


def parse(wire: Any, incoming: Incoming | None = None) -> Parsed:
    return events.parse(json.dumps(wire).encode(), incoming or Incoming(now=NOW))


def one(**wire: Any) -> Event:
    parsed = parse({**LEAST, **wire})
    assert parsed.refusals == []
    [event] = parsed.batch.items
    assert isinstance(event, Event)
    return event


def test_the_least_event() -> None:
    """Four attributes are enough: it happened now, to nobody known, with no severity."""
    assert one() == Event(
        id="1",
        source="/ci",
        type="deploy.finished",
        subject="",
        identity=Identity("default", ""),
        severity=None,
        at=NOW,
        received_at=NOW,
        data={},
    )


def test_a_whole_event() -> None:
    """Subject, time, data and the extension attributes have their place."""
    event = one(
        subject="orders@v2",
        time="2025-12-31T23:59:00Z",
        datacontenttype="application/json",
        environment="prod",
        service="orders",
        instance="a:1",
        severity="sev2",
        data={"version": 2, "token": "abc", "steps": [{"ok": True}]},
    )

    assert event.subject == "orders@v2"
    assert event.at == NOW - 60_000
    assert event.identity == Identity("prod", "orders", "a:1")
    assert event.severity is Severity.SEV2
    assert event.data == {"version": 2, "token": "[masked]", "steps": [{"ok": True}]}


def test_labels_in_the_data_name_it_where_attributes_are_silent() -> None:
    """An extension attribute wins over a label of the data; odd labels do no harm."""
    labels = {"service": "payments", "env": "lab", "a b": 7}

    assert one(data={"labels": labels}).identity == Identity("lab", "payments")
    assert one(service="orders", data={"labels": labels}).identity == Identity("lab", "orders")


@pytest.mark.parametrize(
    ("wire", "expected"),
    [
        # the data itself, where attributes and labels are silent
        ({"data": {"service": "orders", "environment": "prod"}}, ("prod", "orders")),
        ({"service": "a", "data": {"service": "b", "environment": "prod"}}, ("prod", "a")),
        ({"data": {"service": "b", "labels": {"service": "a"}}}, ("default", "a")),
        ({"data": {"service": {"name": "orders"}}}, ("default", "")),
        ({"data": {"service": "x" * 1_025}}, ("default", "")),
        # a subject as opx names a service, where all else is silent
        ({"subject": "service/prod/orders"}, ("prod", "orders")),
        ({"subject": "service/prod/orders", "service": "a"}, ("default", "a")),
        ({"subject": "service/prod/orders", "environment": "prod"}, ("prod", "orders")),
        # they contradict each other
        ({"subject": "service/prod/orders", "environment": "lab"}, ("lab", "")),
        # any other subject says nothing
        ({"subject": "orders"}, ("default", "")),
        ({"subject": "prod/orders"}, ("default", "")),
        ({"subject": "service//orders"}, ("default", "")),
        ({"subject": "service/prod/"}, ("default", "")),
        ({"subject": "service/prod/orders/x"}, ("default", "")),
    ],
)
def test_whose_it_is(wire: dict[str, Any], expected: tuple[str, str]) -> None:
    """Attributes, then labels in the data, then the data, then the subject; never a guess."""
    assert one(**wire).identity == Identity(*expected)


CHANGES: dict[str, dict[str, Any]] = {
    "opx.file.drifted": {
        "path": "/srv/orders/config.yaml",
        "expected": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "found": "60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752",
        "actor": "ann",
    },
    "opx.config.changed": {"path": "/srv/orders/config.yaml", "actor": "ann"},
    "opx.release.deployed": {"release": "2.4.1", "previous": "2.4.0", "actor": "ci"},
}


@pytest.mark.parametrize("kind", CHANGES)
def test_the_data_of_a_change_comes_through_whole(kind: str) -> None:
    """Paths, hashes, releases and actors are no secrets; a secret beside them is."""
    event = one(type=kind, service="orders", data={**CHANGES[kind], "password": "hunter2"})

    assert (event.type, event.severity, event.identity.service) == (kind, None, "orders")
    assert event.data == {**CHANGES[kind], "password": "[masked]"}


@pytest.mark.parametrize(
    ("wire", "data"),
    [
        ({"data": "text"}, {"value": "text"}),
        ({"data": [1, "Bearer abcdefgh1"]}, {"value": [1, "Bearer [masked]"]}),
        ({"data": None}, {}),
        ({"data_base64": "AAEC"}, {"data_base64": "AAEC"}),
    ],
)
def test_data_that_is_no_object(wire: dict[str, Any], data: dict[str, object]) -> None:
    """It stands under a name of its own."""
    assert one(**wire).data == data


def test_no_part_of_an_event_keeps_a_secret() -> None:
    """Each text is masked; an id with a secret in it becomes another id, and stays its own."""
    parts = {name: f"{name} pass=hunter2" for name in ("source", "type", "subject", "service")}
    first = one(**parts, id="pass=hunter2", data={"a": [{"note": "pwd=hunter2"}]})
    second = one(id="pass=hunter3")

    assert "hunter" not in repr(first)
    assert first.type == "type pass=[masked]"
    assert first.identity.service == "service pass=[masked]"
    assert first.id not in (second.id, "1")


@pytest.mark.parametrize(
    ("wire", "expected"),
    [
        ({"specversion": "0.3"}, Reason.MALFORMED),
        ({"specversion": None}, Reason.MALFORMED),
        ({"id": ""}, Reason.MALFORMED),
        ({"id": 1}, Reason.MALFORMED),
        ({"source": None}, Reason.MALFORMED),
        ({"type": ["x"]}, Reason.MALFORMED),
        ({"subject": 5}, Reason.MALFORMED),
        ({"service": {"name": "x"}}, Reason.MALFORMED),
        ({"type": "x" * 1_025}, Reason.TOO_LONG),
        ({"severity": "purple"}, Reason.UNKNOWN_SEVERITY),
        ({"time": "noon"}, Reason.BAD_TIME),
        ({"time": "2026-01-01T00:10:00.001Z"}, Reason.IN_FUTURE),
        ({"time": "2025-12-24T23:59:59.999Z"}, Reason.TOO_OLD),
        ({"data": {"n": 2**64}}, Reason.OUT_OF_RANGE),
        ({"data": json.loads("[" * 17 + "]" * 17)}, Reason.TOO_DEEP),
        ({"data": {"a": "x" * 65_536}}, Reason.TOO_LARGE),
    ],
)
def test_what_is_refused(wire: dict[str, Any], expected: Reason) -> None:
    """A missing attribute, a wrong type, a time or data beyond the limits."""
    parsed = parse([LEAST, {**LEAST, **wire}])

    assert [(r.index, r.reason) for r in parsed.refusals] == [(1, expected)]
    assert parsed.accepted == 1


def test_a_batch_keeps_its_good_events() -> None:
    """Places are those of the body."""
    parsed = parse([7, LEAST, {}, {**LEAST, "id": "2"}])

    assert [r.index for r in parsed.refusals] == [0, 2]
    assert [item.id for item in parsed.batch.items if isinstance(item, Event)] == ["1", "2"]


def test_a_scoped_sender_sends_its_services_events_only() -> None:
    """An event for another service, or for none, is refused."""
    scoped = Incoming(now=NOW, services=frozenset({"orders"}))
    parsed = parse([LEAST, {**LEAST, "service": "orders"}, {**LEAST, "service": "x"}], scoped)

    assert [(r.index, r.reason) for r in parsed.refusals] == [
        (0, Reason.OUT_OF_SCOPE),
        (2, Reason.OUT_OF_SCOPE),
    ]


def test_what_is_not_json_is_refused_whole() -> None:
    """There is no event to name."""
    for body in (b"", b"{", b'{"id":1}{"id":2}', b'{"a":' * 100_000):
        with pytest.raises(BadInput):
            events.parse(body, Incoming(now=NOW))
