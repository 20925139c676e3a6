# SPDX-License-Identifier: Apache-2.0

"""The list of what came and is nobody's."""

from __future__ import annotations

import pytest

from opx.core.ingest import unmapped
from opx.core.ingest.signals import (
    Alert,
    Event,
    Identity,
    LogLevel,
    LogLine,
    Rejected,
    Series,
    Severity,
    Tick,
)
from opx.core.ingest.unmapped import Book, Unmapped

NOBODY = Identity("default", "")


def series(metric: str, **labels: str) -> Series:
    return Series(sid=0, metric=metric, labels=labels, identity=NOBODY)


def line(identity: Identity, **fields: str) -> LogLine:
    return LogLine(
        identity=identity, at=1, received_at=1, level=LogLevel.INFO, message="m", fields=fields
    )


def test_what_differs_in_values_alone_is_one_row() -> None:
    """One rule would map both; a label more is another row, and so is another wire."""
    book = Book()
    book.series("metrics", series("load", node="a"), 3, 10)
    book.series("metrics", series("load", node="b"), 2, 20)
    book.series("metrics", series("load", node="b", zone="z"), 1, 15)
    book.series("other", series("load", node="c"), 1, 30)
    book.series("metrics", series("load", node="a"), 1, 12)

    assert [(row.wire, row.labels, row.count) for row in book.rows()] == [
        ("other", {"node": "c"}, 1),
        ("metrics", {"node": "a"}, 6),
        ("metrics", {"node": "b", "zone": "z"}, 1),
    ]
    assert [row.last_at for row in book.rows()] == [30, 20, 15]


def test_each_kind_is_told_by_what_a_rule_could_read() -> None:
    """An alert by its labels, an event by source, subject and the texts of its data, a log
    line by its fields; what is somebody's and what can be nobody's is passed over."""
    alert = Alert(
        fingerprint="f", identity=NOBODY, severity=Severity.SEV3,
        labels={"alertname": "Down", "team": "x"}, starts_at=1, ends_at=2, received_at=1,
    )  # fmt: skip
    event = Event(
        id="1", source="/ci", type="deploy", subject="", identity=NOBODY, severity=None, at=1,
        received_at=1, data={"repo": "r", "n": 1, "labels": {"team": "y", "k": 2}},
    )  # fmt: skip
    book = Book()
    for at, item in enumerate(
        (
            alert,
            event,
            line(NOBODY, team="z"),
            line(Identity("default", "orders"), team="z"),
            Rejected(id="r", at=1, wire="logs", reason="malformed", item="{"),
            Tick(1),
        )
    ):
        book.item("w", item, at)

    told = [(row.name, row.labels) for row in book.rows()]
    assert told == [
        ("log line", {"team": "z"}),
        ("deploy", {"source": "/ci", "repo": "r", "team": "y"}),
        ("Down", {"alertname": "Down", "team": "x"}),
    ]


def test_the_list_is_bounded_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """The row that was silent for longest makes room, and a long value is cut."""
    monkeypatch.setattr(unmapped, "MOST_ROWS", 2)
    book = Book()
    for at, metric in enumerate(("a", "b", "a", "c")):
        book.series("metrics", series(metric, long="x" * 500), 1, at)

    assert [(row.name, row.count) for row in book.rows()] == [("c", 1), ("a", 2)]
    assert book.forgotten == 1
    assert book.rows()[0] == Unmapped(
        wire="metrics", name="c", labels={"long": "x" * 200}, count=1, last_at=3
    )
