# SPDX-License-Identifier: Apache-2.0

"""An Alertmanager's webhook: the same alerts as on its API, told another way."""

from __future__ import annotations

import json
from typing import Any

import pytest

from opx.adapters.wires import alertmanager, alerts
from opx.core.detect import alerts as detect
from opx.core.detect.alerts import AlertState
from opx.core.detect.finding import ClearReason, FindingState
from opx.core.ingest.checks import Reason
from opx.core.ingest.signals import Alert, Identity, Severity
from opx.engine.intake import Incoming, Parsed
from opx.errors import BadInput

NOW = 1_767_225_600_000
MINUTE = 60_000
HOUR = 60 * MINUTE
LABELS = {"alertname": "Down", "service": "orders", "env": "prod", "severity": "critical"}
NEVER = "0001-01-01T00:00:00Z"


def told(**more: Any) -> dict[str, Any]:
    """One alert of a webhook, as Alertmanager 0.27 writes it."""
    return {
        "status": "firing",
        "labels": LABELS,
        "annotations": {"summary": "orders is down"},
        "startsAt": "2025-12-31T23:59:00Z",
        "endsAt": NEVER,
        "generatorURL": "http://prometheus:9090/graph",
        "fingerprint": "c9a1f0b2d3e4f506",
        **more,
    }


def hook(*alerts: Any, **more: Any) -> bytes:
    body = {
        "receiver": "opx",
        "status": "firing",
        "alerts": alerts,
        "groupLabels": {"alertname": "Down"},
        "commonLabels": LABELS,
        "commonAnnotations": {},
        "externalURL": "http://alertmanager:9093",
        "version": "4",
        "groupKey": '{}:{alertname="Down"}',
        "truncatedAlerts": 0,
        **more,
    }
    return json.dumps(body).encode()


def parse(body: bytes, now: int = NOW, **more: Any) -> Parsed:
    return alertmanager.parse(body, Incoming(now=now, **more))


def one(**more: Any) -> Alert:
    parsed = parse(hook(told(**more)))
    assert parsed.refusals == []
    [alert] = parsed.batch.items
    assert isinstance(alert, Alert)
    return alert


def test_a_firing_alert_has_no_end() -> None:
    """The year 1 means that it still fires; it holds for 25 h, beyond the next telling."""
    alert = one()

    assert alert.identity == Identity("prod", "orders")
    assert alert.severity is Severity.SEV2
    assert alert.starts_at == NOW - MINUTE
    assert (alert.ends_at, alert.timeout) == (NOW + 25 * HOUR, True)
    assert alert.annotations == {
        "summary": "orders is down",
        "generatorURL": "http://prometheus:9090/graph",
    }


def test_it_is_the_alert_of_the_other_way() -> None:
    """But for its end and when it is over it is what the API makes of the same labels, and
    the fingerprint that the sender computed plays no part."""
    wire = {key: value for key, value in told().items() if key not in ("status", "fingerprint")}
    [other] = alerts.parse(json.dumps([wire]).encode(), Incoming(now=NOW)).batch.items
    assert isinstance(other, Alert)
    alert = one(fingerprint="another")

    assert (alert.fingerprint, alert.identity, alert.labels, alert.annotations) == (
        other.fingerprint,
        other.identity,
        other.labels,
        other.annotations,
    )


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        ("2025-12-31T23:59:30Z", NOW - MINUTE // 2),
        ("2026-01-01T00:00:05Z", NOW),
        (NEVER, NOW),
        ("", NOW),
    ],
)
def test_a_resolved_alert_is_over(ends: str, expected: int) -> None:
    """At its end, and now where that is not said or lies ahead of our clock."""
    alert = one(status="resolved", endsAt=ends)

    assert (alert.ends_at, alert.timeout) == (expected, False)
    assert alert.starts_at <= alert.ends_at <= alert.received_at


def test_a_clock_ahead_of_ours_does_not_lose_the_end() -> None:
    """What began and ended a few seconds ahead is over now."""
    starts, ends = "2026-01-01T00:00:03Z", "2026-01-01T00:00:09Z"
    alert = one(status="resolved", startsAt=starts, endsAt=ends)

    assert (alert.starts_at, alert.ends_at) == (NOW, NOW)


def test_an_alert_told_both_ways_is_one_finding() -> None:
    """The API's and the webhook's make one; the webhook's resolved clears it, and the API's
    expiry after five minutes does not while the webhook calls it firing."""
    both = AlertState()
    prometheus = json.dumps([{"labels": LABELS}]).encode()
    by_api = alerts.parse(prometheus, Incoming(now=NOW)).batch.items
    fired = detect.step(both, [a for a in by_api if isinstance(a, Alert)], NOW)
    by_hook = parse(hook(told()), NOW + 10).batch.items
    again = detect.step(both, [a for a in by_hook if isinstance(a, Alert)], NOW + 10)
    held = detect.step(both, [], NOW + HOUR)
    ended = parse(hook(told(status="resolved")), NOW + 2 * HOUR).batch.items
    cleared = detect.step(both, [a for a in ended if isinstance(a, Alert)], NOW + 2 * HOUR)

    assert [finding.state for finding in fired] == [FindingState.FIRING]
    assert (again, held) == ([], [])
    assert [(f.id, f.cleared) for f in cleared] == [(fired[0].id, ClearReason.RESOLVED)]


def test_the_long_hold_gives_way_to_an_end_that_is_named() -> None:
    """The webhook's 25 h were nobody's word: an API that says six seconds is believed."""
    state, ends = AlertState(), "2026-01-01T00:00:06Z"
    named = json.dumps([{"labels": LABELS, "endsAt": ends}]).encode()
    items = [
        *parse(hook(told())).batch.items,
        *alerts.parse(named, Incoming(now=NOW + 1)).batch.items,
    ]
    detect.step(state, [item for item in items if isinstance(item, Alert)], NOW + 1)

    assert detect.step(state, [], NOW + 5_999) == []
    [over] = detect.step(state, [], NOW + 6_000)
    assert (over.cleared, over.at) == (ClearReason.EXPIRED, NOW + 6_000)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"status": ""}, Reason.MALFORMED),
        ({"status": "pending"}, Reason.MALFORMED),
        ({"status": 1}, Reason.MALFORMED),
        ({"labels": {}}, Reason.NO_LABELS),
        ({"startsAt": "noon"}, Reason.BAD_TIME),
        ({"status": "resolved", "endsAt": "2025-12-20T00:00:00Z", "startsAt": NEVER},
         Reason.TOO_OLD),
    ],
)  # fmt: skip
def test_what_is_refused(more: dict[str, Any], expected: Reason) -> None:
    """One alert of a group that is not fit costs itself."""
    parsed = parse(hook(told(), told(**more), 7))

    assert [(r.index, r.reason) for r in parsed.refusals] == [(1, expected), (2, Reason.MALFORMED)]
    assert parsed.accepted == 1


def test_half_a_surrogate_costs_its_own_alert_alone() -> None:
    """It is JSON, but no text: the rest of the group is taken, and it is kept as it was sent."""
    parsed = parse(hook(told(), told(startsAt="\ud800"), told(status="resolved")))

    assert [(r.index, r.reason) for r in parsed.refusals] == [(1, Reason.MALFORMED)]
    assert json.loads(parsed.refusals[0].item) == told(startsAt="\ud800")
    assert parsed.accepted == 2


def test_a_scoped_sender_sends_its_services_alerts_only() -> None:
    """As on every wire."""
    parsed = parse(hook(told(), told(labels={"alertname": "X"})), services=frozenset({"orders"}))

    assert [(r.index, r.reason) for r in parsed.refusals] == [(1, Reason.OUT_OF_SCOPE)]


def test_no_part_of_an_alert_keeps_a_secret() -> None:
    """Labels and annotations are masked, and so is what was refused."""
    alert = one(annotations={"note": "password=hunter2"}, labels={**LABELS, "token": "hunter2"})

    assert "hunter2" not in repr(alert)


def test_what_the_quarantine_keeps_can_be_sent_again() -> None:
    """A refused alert without its envelope is read as it was, once it is fit."""
    [refusal] = parse(hook(told()), services=frozenset({"store"})).refusals

    assert parse(refusal.item).batch.items == parse(hook(told())).batch.items


@pytest.mark.parametrize(
    "body", [b"", b"{", b'{"version": "3", "alerts": []}', b'{"version": 4}', b'{"a":' * 50_000]
)
def test_what_is_no_webhook_is_refused_whole(body: bytes) -> None:
    """Not JSON, or another version."""
    with pytest.raises(BadInput):
        parse(body)


def test_an_empty_group_is_nothing() -> None:
    """It is taken and has no alerts."""
    assert parse(hook()).accepted == 0
