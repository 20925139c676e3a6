# SPDX-License-Identifier: Apache-2.0

"""What is taken and why the rest is not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from opx.core.ingest import checks
from opx.core.ingest.checks import Reason, Refusal, Unfit
from opx.core.ingest.signals import Identity

NOW = 1_767_225_600_000
DAY = 86_400_000


def reason(check: Callable[[], object]) -> Reason | None:
    try:
        check()
    except Unfit as unfit:
        return unfit.reason
    return None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("up", None),
        ("http.server.duration", None),
        ("app.kubernetes.io/name", None),
        ("node:cpu:rate5m", None),
        ("a" * 200, None),
        ("a" * 201, Reason.TOO_LONG),
        ("", Reason.BAD_NAME),
        ("9lives", Reason.BAD_NAME),
        ("a b", Reason.BAD_NAME),
        ("a\n", Reason.BAD_NAME),
        ("größe", Reason.BAD_NAME),
        ("job:auth_token:rate5m", None),
        ("gh" + "p_" + "a1B2" * 9, Reason.BAD_NAME),
        ("requests_AKIAABCDEFGHIJKLMNOP", None),
        ("requests.AKIAABCDEFGHIJKLMNOP", Reason.BAD_NAME),
    ],
)
def test_names(name: str, expected: Reason | None) -> None:
    """A name is up to 200 letters, digits and a few signs, and begins with a letter."""
    assert reason(lambda: checks.name(name)) is expected


def test_labels_are_counted_and_measured() -> None:
    """64 labels of 4096 characters are taken, one more of either is not."""
    most = {f"l{n}": "v" for n in range(64)}

    assert checks.labels(most) == most
    assert reason(lambda: checks.labels(most | {"one": "more"})) is Reason.TOO_MANY_LABELS
    assert reason(lambda: checks.labels({"a": "v" * 4_096})) is None
    assert reason(lambda: checks.labels({"a": "v" * 4_097})) is Reason.TOO_LONG
    assert reason(lambda: checks.labels({"a b": "v"})) is Reason.BAD_NAME


def test_an_empty_label_is_no_label_and_a_secret_is_masked() -> None:
    """Empty values are left out and secrets are masked before anybody sees the labels."""
    labels = {"a": "", "b": "v", "url": "http://u:pw@h"}

    assert checks.labels(labels) == {"b": "v", "url": "http://u:[masked]@h"}


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        (NOW, None),
        (NOW + 600_000, None),
        (NOW + 600_001, Reason.IN_FUTURE),
        (NOW - 7 * DAY, None),
        (NOW - 7 * DAY - 1, Reason.TOO_OLD),
        (NOW // 1000, Reason.TOO_OLD),
    ],
)
def test_an_instant_must_be_near(at: int, expected: Reason | None) -> None:
    """Ten minutes ahead and seven days back are believed, not a millisecond more."""
    assert reason(lambda: checks.recent(at, NOW)) is expected


@pytest.mark.parametrize("text", ["", "now", "2026-01-01T00:00:00", "2026-13-01T00:00:00Z", "1"])
def test_a_time_that_is_none(text: str) -> None:
    """What is no instant with a zone has the reason BAD_TIME."""
    assert reason(lambda: checks.instant(text)) is Reason.BAD_TIME


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2026-01-01T00:00:00.25Z", NOW + 250),
        ("2026-01-01T00:00:00.250999999Z", NOW + 250),
        ("2026-01-01T01:00:00+01:00", NOW),
        (1_767_225_600, NOW),
        (1_767_225_600.25, NOW + 250),
        (NOW, NOW),
        (NOW * 1_000 + 999, NOW),
        (NOW * 1_000_000 + 999_999, NOW),
        ("1767225600", NOW),
        (str(NOW * 1_000_000), NOW),
        (0, 0),
        (-1, -1_000),
        (10**11 - 1, (10**11 - 1) * 1_000),
        (10**11, 10**11),
        (10**14, 10**11),
        (10**17, 10**11),
    ],
)
def test_a_time_in_any_unit(value: object, expected: int) -> None:
    """A number's size says whether it is s, ms, µs or ns; finer than a millisecond is cut."""
    assert checks.moment(value) == expected


NO_TIMES = [
    *(10**20, float("inf"), float("nan"), "9" * 5_000, "2026-01-01 00:00:00"),
    *("", True, None, [NOW]),
]


@pytest.mark.parametrize("value", NO_TIMES, ids=repr)
def test_a_time_in_no_unit(value: object) -> None:
    """What is no instant, has no zone, or is no number of any unit has the reason BAD_TIME."""
    assert reason(lambda: checks.moment(value)) is Reason.BAD_TIME


def test_data_is_shallow_and_its_numbers_fit() -> None:
    """Sixteen levels and 64 bits, in lists and mappings alike."""
    nested: object = 1
    for _ in range(16):
        nested = [nested]

    assert reason(lambda: checks.data(nested)) is None
    assert reason(lambda: checks.data({"x": nested})) is Reason.TOO_DEEP
    assert reason(lambda: checks.data({"n": [2**63 - 1, -(2**63)]})) is None
    assert reason(lambda: checks.data({"n": [2**63]})) is Reason.OUT_OF_RANGE


def test_a_scoped_sender_sends_for_its_services_only() -> None:
    """An empty scope is any; otherwise the service must be in it, and unmapped never is."""
    orders, nobodys = Identity("prod", "orders"), Identity("prod", "")
    scope = frozenset({"orders"})

    assert reason(lambda: checks.scope(nobodys, frozenset())) is None
    assert reason(lambda: checks.scope(orders, scope)) is None
    assert reason(lambda: checks.scope(nobodys, scope)) is Reason.OUT_OF_SCOPE
    assert reason(lambda: checks.scope(Identity("prod", "x"), scope)) is Reason.OUT_OF_SCOPE


def test_the_quarantine_keeps_a_masked_beginning() -> None:
    """A refused item is kept as text, masked and cut, even when it is not UTF-8."""
    refusal = Refusal(
        index=3, reason=Reason.TOO_OLD, detail="d", item=b"\xff password=hunter2 " + b"x" * 9_000
    )

    kept = checks.rejected(refusal, id="i", at=NOW, wire="metrics", source="agent")

    assert kept.item.startswith("\ufffd password=[masked] xxx")
    assert len(kept.item) == 4_096
    assert (kept.id, kept.at, kept.wire, kept.reason, kept.source) == (
        "i",
        NOW,
        "metrics",
        "too_old",
        "agent",
    )


@pytest.mark.parametrize(
    ("item", "kept"),
    [
        ('{"password": {"a": "SECRET"}, "x": 1}', '{"password":{"a":"[masked]"},"x":1}'),
        ('{"pass\\u0077ord":"SECRET"}', '{"password":"[masked]"}'),
        ('{"a": [{"api key": ["SECRET"]}]}', '{"a":[{"api key":["[masked]"]}]}'),
        ('{"größe": "password=SECRET"}', '{"größe":"password=[masked]"}'),
        ('{"x": 1.10, "n": 123456789012345678901234567890, "token": ""}', None),
        ('{"msg": "pass\\u0077ord\\u003dSECRET"}', '{"msg":"password=[masked]"}'),
        ('{"token": "\\ud800"}', '{"token":"[masked]"}'),
        ('{"x": "\\ud800", "token": "SECRET"}', '{"x":"?","token":"[masked]"}'),
        # What is no JSON, or says something twice.
        ('{"password": {"a": "SECRET"}, "x": 1', '{"password": [masked]'),
        ('{"password": {"a": "SECRET"}, "password": ""}', '{"password": [masked]'),
        ('{"x": 1, "pass\\u0077ord": "SECRET"', '{"x": 1, "password": [masked]'),
        ('{"x": 1, "api_keys": ["a"], "y', None),
        ('level\\u003dinfo {"a": {}}', None),
    ],
)
def test_what_is_refused_is_masked_as_what_is_taken(item: str, kept: str | None) -> None:
    """As a tree where it is JSON, however it is written; None: it is kept as it came."""
    refusal = Refusal(index=0, reason=Reason.TOO_OLD, detail="d", item=item.encode())

    found = checks.rejected(refusal, id="i", at=NOW, wire="events", source="agent").item

    assert found == (item if kept is None else kept)


def test_what_is_too_large_or_too_deep_is_masked_too() -> None:
    """It is not read as JSON, and what stands beneath a secret's name does not pass for that."""
    beneath = '{"x": 1, "password": {"a": "SECRET"}, "y": '
    for item in (f'{beneath}"{"a" * 70_000}"}}', beneath + "[" * 3_000 + "]" * 3_000 + "}"):
        refusal = Refusal(index=0, reason=Reason.TOO_DEEP, detail="d", item=item.encode())

        found = checks.rejected(refusal, id="i", at=NOW, wire="events", source="agent").item

        assert found == '{"x": 1, "password": [masked]'
