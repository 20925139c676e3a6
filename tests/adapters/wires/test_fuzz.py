# SPDX-License-Identifier: Apache-2.0

"""Hostile bodies at every JSON wire: taken, refused item by item, or refused whole."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opx.adapters.wires import alertmanager, alerts, events, logs, metrics
from opx.core.base import canonical
from opx.core.ingest import checks
from opx.core.ingest.checks import Reason
from opx.engine.intake import Incoming, Parsed
from opx.errors import BadInput
from opx.packs import wires as described

NOW = 1_767_225_600_000
INCOMING = Incoming(now=NOW)

GOOD: dict[str, Any] = {
    "metrics": {"metric": "m", "value": 1.5, "timestamp": NOW, "labels": {"service": "x"}},
    "events": {
        "specversion": "1.0", "id": "1", "source": "s", "type": "t", "severity": "sev1",
        "time": "2026-01-01T00:00:00Z", "data": {"labels": {"service": "x"}, "n": 1},
    },
    "alerts": {
        "labels": {"alertname": "A", "severity": "page"}, "annotations": {"a": "b"},
        "startsAt": "2026-01-01T00:00:00Z", "endsAt": "2026-01-01T00:01:00Z",
    },
    "alertmanager": {
        "status": "resolved", "labels": {"alertname": "A"}, "annotations": {"a": "b"},
        "startsAt": "2026-01-01T00:00:00Z", "endsAt": "0001-01-01T00:00:00Z",
    },
    "logs": {
        "ts": NOW, "level": "error", "msg": "m", "labels": {"service": "x"}, "data": {"a": [1]},
    },
    "columns": {"metric": "m", "values": [1.5], "timestamps": [NOW], "labels": {"service": "x"}},
    "streams": {"stream_id": "s", "timestamp": NOW, "utilization": 1, "labels": {"service": "x"}},
    "nodes": {"nodeId": "n", "timestamp": NOW, "latency": 1, "service": "x"},
}  # fmt: skip
UNCOUNTED = frozenset({"columns", "streams", "nodes"})
"""An item of these may be any number of points: tests/adapters/wires/test_forms.py counts them."""
SCHEMAS = {
    wire: jsonschema_rs.Draft202012Validator(
        {**schema, "components": {"schemas": described.SCHEMAS}}
    )
    for wire, schema in described.BODIES.items()
}


def is_described(wire: str, body: bytes) -> bool:
    """Whether its schema allows the body. Lines have none, and what is too much for Python's own
    reader cannot be asked about."""
    try:
        sent = json.loads(body)
    except (ValueError, RecursionError):
        return True
    return SCHEMAS.get(wire, SCHEMAS["metrics"]).is_valid(sent)


def parser(wire: str) -> Callable[[bytes, Incoming], Parsed]:
    wires: dict[str, Callable[[bytes, Incoming], Parsed]] = {
        "events": events.parse,
        "alerts": alerts.parse,
        "alertmanager": alertmanager.parse,
        "logs": logs.parse,
    }
    return wires.get(wire) or metrics.parser(metrics.SeriesIndex())


def check(wire: str, body: bytes, items: int | None = None) -> None:
    """Whatever the body: a Parsed that adds up, in bounds, or a BadInput. A body of which all is
    taken is one that the description allows."""
    try:
        parsed = parser(wire)(body, INCOMING)
    except BadInput:
        assert items is None
        return
    batch = parsed.batch
    points = 0 if batch.points is None else len(batch.points)
    kept = len(batch.items) + points
    # Lines that continue another are accepted with it.
    assert parsed.accepted >= kept if wire == "logs" else parsed.accepted == kept
    assert parsed.refusals or is_described(wire, body)
    if items is not None:
        assert parsed.accepted + len(parsed.refusals) == items
    places = [refusal.index for refusal in parsed.refusals]
    assert places == sorted(set(places))
    # Whatever was taken can be kept: it has a canonical form, so its numbers are finite and
    # its texts are Unicode; and whatever was refused can be quarantined.
    canonical.dumps([*batch.items, *batch.series])
    if batch.points is not None:
        known = {series.sid for series in batch.series}
        assert known == set(batch.points.sid.tolist())
    for refusal in parsed.refusals:
        kept = checks.rejected(refusal, id="i", at=NOW, wire=wire, source="s")
        assert len(kept.item) <= checks.KEPT_TEXT
        canonical.dumps(kept)
        assert isinstance(refusal.reason, Reason)


WIRES = pytest.mark.parametrize("wire", sorted(GOOD))


@WIRES
@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8")))
def test_any_bytes(wire: str, body: bytes) -> None:
    """Random bytes and texts."""
    check(wire, body)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([0, -1, 2**53, 2**63, 2**64, 10**400, NOW, NOW * 1000, -(10**30)])
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from(
        ["", "\x00", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "NaN", "a" * 5000]
    )
    | st.sampled_from(["2026-01-01T00:00:00+23:59", "2026-02-30T00:00:00Z", "x@://:p@", "sev1"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=4) | st.just("labels"), inner, max_size=3)
    ),
    max_leaves=6,
)


@st.composite
def bent(draw: st.DrawFn, wire: str) -> dict[str, Any]:
    """A good item with some of its fields replaced, removed or added."""
    item = dict(GOOD[wire])
    names = st.sampled_from([*item, "labels", "data", "generatorURL", "service", "x"])
    for name in draw(st.lists(names, max_size=3)):
        item[name] = draw(VALUES)
    for name in draw(st.lists(st.sampled_from(sorted(GOOD[wire])), max_size=1)):
        item.pop(name, None)
    return item


@WIRES
@given(data=st.data())
def test_bent_items(wire: str, data: st.DataObject) -> None:
    """Lists of items that are almost right: every one is taken or refused, none is lost."""
    items = data.draw(st.lists(bent(wire) | VALUES, max_size=5))

    check(wire, json.dumps(items).encode(), None if wire in UNCOUNTED else len(items))


@given(st.lists(bent("logs") | VALUES, max_size=5), st.sampled_from([b"\n", b"\r\n", b"\n \n"]))
def test_bent_lines(items: list[Any], between: bytes) -> None:
    """Line by line as well: every line is taken or refused, none is lost."""
    lines = [json.dumps(item).encode() for item in [GOOD["logs"], *items]]

    check("logs", between.join(lines), len(lines))


HOOK = {"version": "4", "status": "firing", "groupKey": "g"}


@given(data=st.data())
def test_bent_hooks(data: st.DataObject) -> None:
    """The envelope of a webhook, with anything in place of its parts."""
    hook = {**HOOK, "alerts": data.draw(st.lists(bent("alertmanager"), max_size=3) | VALUES)}
    for name in data.draw(st.lists(st.sampled_from(sorted(hook)), max_size=2)):
        hook[name] = data.draw(VALUES)

    check("alertmanager", json.dumps(hook).encode())


SECRETS = st.sampled_from(
    ["password=hunter2", "Bearer hunter2hunter2", "http://u:hunter2@h", '{"token": "hunter2"}']
)


@WIRES
@given(data=st.data())
def test_no_secret_is_kept(wire: str, data: st.DataObject) -> None:
    """Wherever a text may stand in an item, a secret in it is masked: in what is taken and in
    what the quarantine keeps."""
    item = dict(GOOD[wire])
    names = ["x", "note", "source", "subject", "msg", "service", "status", "metric", "stream_id"]
    for name in data.draw(st.lists(st.sampled_from(names), max_size=3)):
        item[name] = data.draw(SECRETS)
    for name in ("labels", "annotations", "data"):
        if isinstance(item.get(name), dict):
            item[name] = {**item[name], "note": data.draw(SECRETS)}
    parsed = parser(wire)(json.dumps([item]).encode(), INCOMING)
    kept = [
        checks.rejected(refusal, id="i", at=NOW, wire=wire, source="s")
        for refusal in parsed.refusals
    ]

    assert b"hunter2" not in canonical.dumps([*parsed.batch.items, *parsed.batch.series, *kept])


DEEP = (b"[" * 3_000 + b"]" * 3_000, b'{"labels":' * 3_000 + b'"\\ud800]"' + b"}" * 3_000)
"""Hypothesis lets the decoder follow further than usual."""
ENVELOPES = {
    "alertmanager": b'{"x": %s, "version": "4", "alerts": %s, "y": []}',
    "metrics": b'{"x": %s, "metrics": %s, "y": []}',
}


@WIRES
@given(data=st.data())
def test_deep_items_change_nothing_for_their_neighbours(wire: str, data: st.DataObject) -> None:
    """Among items that are almost right each that is too deep is refused for that, and of the
    others the same are taken and the same refused as without them: in a list, in an envelope
    that is too deep besides, and line by line."""
    items = [json.dumps(item).encode() for item in data.draw(st.lists(bent(wire), max_size=4))]
    shallow = parser(wire)(b"[" + b",".join(items) + b"]", INCOMING)
    parts = list(items)
    for place in data.draw(st.lists(st.integers(0, 4), min_size=1, max_size=3)):
        parts.insert(place, data.draw(st.sampled_from(DEEP)))
    bodies = [b"[" + b",".join(parts) + b"]"]
    if wire in ENVELOPES:
        bodies.append(ENVELOPES[wire] % (DEEP[0], bodies[0]))
    if wire == "logs" and items:
        bodies.append(b"\n".join(parts))

    for body in bodies:
        parsed = parser(wire)(body, INCOMING)
        deep = [r for r in parsed.refusals if r.item in DEEP]
        others = [(r.reason, r.item) for r in parsed.refusals if r.item not in DEEP]
        assert {r.reason for r in deep} == {Reason.TOO_DEEP}
        assert len(deep) == len(parts) - len(items)
        assert (parsed.accepted, others) == (
            shallow.accepted,
            [(r.reason, r.item) for r in shallow.refusals],
        )
        if wire not in UNCOUNTED:
            assert [r.index for r in deep] == [n for n, p in enumerate(parts) if p in DEEP]
        check(wire, body)


@WIRES
@given(data=st.data())
def test_cut_and_stained_bodies(wire: str, data: st.DataObject) -> None:
    """A good body with bytes changed, cut out or put in anywhere."""
    body = bytearray(json.dumps([GOOD[wire]] * 2).encode())
    body[-1:] = data.draw(st.sampled_from([b"]", b"," + DEEP[0] + b"]", b"," + DEEP[1] + b"]"]))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(body)))
        body[at : at + data.draw(st.integers(0, 3))] = data.draw(
            st.binary(max_size=3)
            | st.sampled_from(
                [*DEEP, b'"', b"{", b"}", b"[", b"\\ud800", b"\\u0000", b"NaN", b"1e999"]
            )
        )

    check(wire, bytes(body))


def twice(wire: str) -> bytes:
    inner = json.dumps(GOOD[wire])[1:-1]
    return f"[{{{inner},{inner}}}]".encode()


@WIRES
def test_chosen_nastiness(wire: str) -> None:
    """Deep nesting, giant numbers, duplicate keys, lone surrogates and many tiny items."""
    good = json.dumps(GOOD[wire]).encode()
    open_end = good[:-1]
    for junk in (
        b"[" * 50_000,
        b'{"a":' * 50_000,
        b"1" * 5_000,
        b"-" * 5_000,
        b'"\\ud800"',
        b'"\\ud800\\udc00"',
        b'"\xff\xfe"',
        b"Infinity",
    ):
        for name in (b"x", b"data", b"labels", b"value", b"timestamp", b"startsAt"):
            check(wire, b"[" + open_end + b',"' + name + b'":' + junk + b"}]")
            check(wire, b"[" + good + b"," + junk + b"]")
    for deep in (b"[" * 50_000 + b"]" * 50_000, b'{"a":' * 50_000 + b"1" + b"}" * 50_000):
        for name in (b"x", b"data", b"labels", b"value", b"timestamp", b"startsAt"):
            check(wire, b"[" + open_end + b',"' + name + b'":' + deep + b"}," + good + b"]", 2)
        check(wire, b"[" + good + b"," + deep + b"]", 2)
        check(wire, deep if deep.startswith(b"{") else b"[" + deep + b"]", 1)
    check(wire, twice(wire), 1)
    check(wire, b"[" + b"{}," * 200_000 + b"{}]")
    check(wire, b"\n".join([b"{}"] * 10_001))
    check(wire, b"\n" * 100_000 + good + b"\n" * 100_000)
    check(wire, b"[" + b",".join([b"{}"] * 9_999) + b"]", 9_999)


@WIRES
def test_around_what_the_decoder_follows(wire: str) -> None:
    """Just as deep as it goes, a little less and a little more: taken or refused."""
    good = json.dumps(GOOD[wire]).encode()
    for name in (b"x", b"data", b"labels"):
        for depth in range(900, 1_001, 3):
            junk = b"[" * depth + b"]" * depth
            check(wire, b"[" + good[:-1] + b',"' + name + b'":' + junk + b"}," + good + b"]", 2)
