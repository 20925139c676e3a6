# SPDX-License-Identifier: Apache-2.0

"""Alerts as Prometheus sends them, read as an Alertmanager reads them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from opx.adapters.wires import alerts
from opx.core.ingest.checks import Reason
from opx.core.ingest.signals import Alert, Identity, Severity
from opx.engine.intake import Incoming, Parsed
from opx.errors import BadInput

NOW = 1_767_225_600_000
MINUTE = 60_000
DAY = 1_440 * MINUTE
LABELS = {"alertname": "Down", "service": "orders", "env": "prod", "instance": "a:1"}


def parse(*wire: Any, incoming: Incoming | None = None) -> Parsed:
    return alerts.parse(json.dumps(list(wire)).encode(), incoming or Incoming(now=NOW))


def one(**wire: Any) -> Alert:
    parsed = parse({"labels": LABELS, **wire})
    [alert] = parsed.batch.items
    assert isinstance(alert, Alert)
    assert parsed.refusals == []
    return alert


def reason(**wire: Any) -> Reason:
    parsed = parse({"labels": LABELS, **wire})
    assert parsed.accepted == 0
    [refusal] = parsed.refusals
    return refusal.reason


def test_what_prometheus_sends() -> None:
    """Labels, annotations, times with nanoseconds and the generator's URL have their place."""
    alert = one(
        labels=LABELS | {"severity": "critical", "empty": ""},
        annotations={"summary": "orders is down"},
        startsAt="2025-12-31T23:58:00.123456789Z",
        endsAt="2026-01-01T00:04:00Z",
        generatorURL="http://prometheus:9090/graph",
    )

    assert alert == Alert(
        fingerprint=alert.fingerprint,
        identity=Identity("prod", "orders", "a:1"),
        severity=Severity.SEV2,
        labels=LABELS | {"severity": "critical"},
        annotations={
            "summary": "orders is down",
            "generatorURL": "http://prometheus:9090/graph",
        },
        starts_at=NOW - 2 * MINUTE + 123,
        ends_at=NOW + 4 * MINUTE,
        received_at=NOW,
    )


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (None, None, (NOW, NOW + 5 * MINUTE)),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z", (NOW, NOW + 5 * MINUTE)),
        ("0001-01-01T00:00:00.000Z", "0001-01-01T01:00:00+01:00", (NOW, NOW + 5 * MINUTE)),
        ("2025-12-31T23:00:00Z", "0001-01-01T00:00:00Z", (NOW - 60 * MINUTE, NOW + 5 * MINUTE)),
        (None, "2025-12-31T23:59:00Z", (NOW - MINUTE, NOW - MINUTE)),
        (None, "2026-01-01T00:01:00Z", (NOW, NOW + MINUTE)),
        ("2025-11-01T00:00:00Z", None, (NOW - 61 * DAY, NOW + 5 * MINUTE)),
        ("2025-12-31T23:59:00+00:00", "2025-12-31T23:59:00Z", (NOW - MINUTE, NOW - MINUTE)),
    ],
)
def test_missing_times_mean_what_they_mean_to_an_alertmanager(
    start: str | None, end: str | None, expected: tuple[int, int]
) -> None:
    """Start: now, or the end if that was before. End: in five minutes unless it is repeated."""
    times = {"startsAt": start, "endsAt": end}
    alert = one(**{name: text for name, text in times.items() if text is not None})

    assert (alert.starts_at, alert.ends_at) == expected
    assert alert.timeout is (end is None or end.startswith("0001"))


@pytest.mark.parametrize(
    ("wire", "expected"),
    [
        ({"labels": {}}, Reason.NO_LABELS),
        ({"labels": {"a": ""}}, Reason.NO_LABELS),
        ({"labels": {"a": 1}}, Reason.MALFORMED),
        ({"labels": None}, Reason.MALFORMED),
        ({"labels": {"1a": "x"}}, Reason.BAD_NAME),
        ({"annotations": []}, Reason.MALFORMED),
        ({"annotations": {"a": "x" * 4_097}}, Reason.TOO_LONG),
        ({"startsAt": 5}, Reason.MALFORMED),
        ({"startsAt": "today"}, Reason.BAD_TIME),
        ({"startsAt": "2026-01-01T00:10:00.001Z"}, Reason.IN_FUTURE),
        (
            {"startsAt": "2026-01-01T00:01:00Z", "endsAt": "2026-01-01T00:00:59Z"},
            Reason.ENDS_BEFORE_START,
        ),
        (
            {"startsAt": "2025-12-01T00:00:00Z", "endsAt": "2025-12-24T23:59:59Z"},
            Reason.TOO_OLD,
        ),
        ({"endsAt": "2028-01-01T00:00:00Z"}, Reason.IN_FUTURE),
    ],
)
def test_what_is_refused(wire: dict[str, Any], expected: Reason) -> None:
    """No label, a wrong shape, and times that cannot be."""
    assert reason(**wire) is expected


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ({"endsAt": "9999-12-31T23:59:59Z"}, Reason.IN_FUTURE),
        ({"endsAt": "9999-12-31T23:59:59-23:59"}, Reason.BAD_TIME),
        ({"startsAt": "0001-01-01T00:00:00+23:59"}, Reason.BAD_TIME),
        ({"startsAt": "0001-01-01T00:00:00.001Z"}, Reason.TOO_OLD),
        ({"startsAt": "1969-12-31T23:59:59.999Z"}, Reason.TOO_OLD),
        ({"startsAt": "10000-01-01T00:00:00Z"}, Reason.BAD_TIME),
    ],
)
def test_times_that_nobody_could_be_shown_are_refused(
    times: dict[str, str], expected: Reason
) -> None:
    """What is taken can be written on the wire again, in every zone it may be sent in."""
    assert reason(**times) is expected


def test_the_fingerprint_is_of_the_labels() -> None:
    """Order, annotations and times do not change it; any label does."""
    first = one(annotations={"a": "1"})
    turned = one(labels=dict(reversed(LABELS.items())), startsAt="2025-12-31T23:00:00Z")
    other = one(labels=LABELS | {"instance": "b:1"})

    assert first.fingerprint == turned.fingerprint
    assert first.fingerprint != other.fingerprint


@pytest.mark.parametrize(
    ("label", "severity"),
    [("", Severity.SEV3), ("purple", Severity.SEV3), ("SEV1", Severity.SEV1)],
)
def test_an_alert_without_a_known_severity_is_sev3(label: str, severity: Severity) -> None:
    """The table's word counts; anything else is SEV3."""
    assert one(labels=LABELS | {"severity": label}).severity is severity


def test_good_alerts_beside_bad_ones_are_kept() -> None:
    """Places are those of the body, and secrets are masked in what is kept."""
    good = {"labels": LABELS, "annotations": {"note": "password=hunter2"}}
    parsed = parse({}, good, {"labels": {}}, 7)

    assert [(r.index, r.reason) for r in parsed.refusals] == [
        (0, Reason.MALFORMED),
        (2, Reason.NO_LABELS),
        (3, Reason.MALFORMED),
    ]
    [alert] = parsed.batch.items
    assert isinstance(alert, Alert)
    assert alert.annotations == {"note": "password=[masked]"}


def test_an_alert_too_large_is_refused_alone() -> None:
    """64 KiB an alert; the one beside it is taken."""
    parsed = parse({"labels": LABELS, "annotations": {"a": "x" * 70_000}}, {"labels": LABELS})

    assert [(r.index, r.reason) for r in parsed.refusals] == [(0, Reason.TOO_LARGE)]
    assert parsed.accepted == 1


def test_a_scoped_sender_alerts_for_its_services_only() -> None:
    """An alert for another service is refused."""
    scoped = Incoming(now=NOW, services=frozenset({"orders"}))
    parsed = parse({"labels": LABELS}, {"labels": {"service": "x"}}, incoming=scoped)

    assert [(r.index, r.reason) for r in parsed.refusals] == [(1, Reason.OUT_OF_SCOPE)]
    assert parsed.accepted == 1


def test_what_is_not_json_is_refused_whole() -> None:
    """There is no alert to name."""
    with pytest.raises(BadInput):
        alerts.parse(b'[{"labels":', Incoming(now=NOW))
