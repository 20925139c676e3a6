# SPDX-License-Identifier: Apache-2.0

"""Log lines, by whatever names their logger uses."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opx.adapters.wires import logs
from opx.core.ingest.checks import Reason
from opx.core.ingest.signals import Identity, LogLevel, LogLine
from opx.engine.intake import Incoming, Parsed
from opx.errors import BadInput, TooLarge

NOW = 1_767_225_600_000
INCOMING = Incoming(now=NOW)


def ndjson(*lines: Any) -> bytes:
    return b"\n".join(
        line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines
    )


def parse(body: bytes, incoming: Incoming = INCOMING) -> Parsed:
    return logs.parse(body, incoming)


def lines(parsed: Parsed) -> list[LogLine]:
    kept = [item for item in parsed.batch.items if isinstance(item, LogLine)]
    assert len(kept) == len(parsed.batch.items)
    return kept


def one(wire: dict[str, Any]) -> LogLine:
    parsed = parse(ndjson(wire))
    assert (parsed.accepted, parsed.refusals) == (1, [])
    [line] = lines(parsed)
    return line


def test_a_whole_line() -> None:
    """Message, level, time and labels have their place; whose it is comes from the labels."""
    assert one(
        {
            "timestamp": "2025-12-31T23:59:59.5Z",
            "level": "error",
            "message": "cannot reach store",
            "labels": {"service": "orders", "env": "prod", "pod": "o-1"},
        }
    ) == LogLine(
        identity=Identity("prod", "orders", "o-1"),
        at=NOW - 500,
        received_at=NOW,
        level=LogLevel.ERROR,
        message="cannot reach store",
        fields={"service": "orders", "env": "prod", "pod": "o-1"},
    )


def test_the_least_line() -> None:
    """A message is enough: it is nobody's, of now, and of no particular level."""
    assert one({"msg": "m"}) == LogLine(
        identity=Identity("default", ""), at=NOW, received_at=NOW, level=LogLevel.INFO, message="m"
    )


@pytest.mark.parametrize(
    ("wire", "expected"),
    [
        ({"msg": "m", "lvl": "warn", "ts": 1_767_225_599}, (LogLevel.WARN, NOW - 1_000)),
        ({"log": "m", "severity": 3, "time": NOW - 7}, (LogLevel.ERROR, NOW - 7)),
        ({"body": "m", "level": 60, "at": (NOW - 7) * 10**6}, (LogLevel.FATAL, NOW - 7)),
        ({"message": "m", "@timestamp": "2026-01-01T00:00:00Z"}, (LogLevel.INFO, NOW)),
        ({"message": "m", "level": None, "timestamp": None}, (LogLevel.INFO, NOW)),
    ],
)
def test_names_that_loggers_use(wire: dict[str, Any], expected: tuple[LogLevel, int]) -> None:
    """Each part is found under each of its names, and none of them is left as a field."""
    line = one(wire)

    assert (line.message, line.fields) == ("m", {})
    assert (line.level, line.at) == expected


def test_everything_else_is_a_field() -> None:
    """What is nested is flattened, what is a list is its JSON, null is nothing; a second name
    for a part is a field like any other, and explicit labels win over what stands beside them."""
    line = one(
        {
            "msg": "m",
            "body": "b",
            "@version": "1",
            "user": 5,
            "ok": True,
            "none": None,
            "tags": ["a", 1],
            "kubernetes": {"pod": {"name": "p"}},
            "service": "beside",
            "labels": {"service": "orders"},
            "fields": {"trace-id": "t"},
        }
    )

    assert line.identity.service == "orders"
    assert line.fields == {
        "body": "b",
        "version": "1",
        "user": "5",
        "ok": "true",
        "tags": '["a",1]',
        "kubernetes.pod.name": "p",
        "service": "orders",
        "trace-id": "t",
    }


@pytest.mark.parametrize(
    "body",
    [
        b'{"msg":"a"}\n{"msg":"b"}',
        b'\n{"msg":"a"}\r\n\r\n  {"msg":"b"}\n',
        b'[{"msg":"a"},{"msg":"b"}]',
        b'[\n  {"msg": "a"},\n  {"msg": "b"}\n]\n',
    ],
)
def test_lines_however_they_are_wrapped(body: bytes) -> None:
    """One on each line, empty ones between them or not, or in a list: the same lines."""
    assert [line.message for line in lines(parse(body))] == ["a", "b"]


def test_one_object_may_be_spread_over_lines() -> None:
    """An object that was written for a person to read is one line all the same."""
    assert [line.message for line in lines(parse(b'{\n "msg":\n "a"\n}'))] == ["a"]


def test_a_bad_line_costs_itself() -> None:
    """Lines that are no JSON, no object, or not fit: each is refused with its place."""
    parsed = parse(
        ndjson(
            b"[2026-01-01] started",
            {"msg": "a"},
            b'{"msg": "cut o',
            7,
            {"msg": "b", "ts": 5},
            {"msg": "c"},
        )
    )

    assert [line.message for line in lines(parsed)] == ["a", "c"]
    assert parsed.accepted == 2
    assert [(r.index, r.reason) for r in parsed.refusals] == [
        (0, Reason.MALFORMED),
        (2, Reason.MALFORMED),
        (3, Reason.MALFORMED),
        (4, Reason.TOO_OLD),
    ]
    assert parsed.refusals[0].item == b"[2026-01-01] started"


@pytest.mark.parametrize(
    ("wire", "expected"),
    [
        ({}, Reason.MALFORMED),
        ({"msg": 5}, Reason.MALFORMED),
        ({"msg": "m", "labels": "x"}, Reason.MALFORMED),
        ({"msg": "m", "level": "loud"}, Reason.UNKNOWN_SEVERITY),
        ({"msg": "m", "level": 35}, Reason.UNKNOWN_SEVERITY),
        ({"msg": "m", "ts": "noon"}, Reason.BAD_TIME),
        ({"msg": "m", "ts": (NOW + 600_001) * 1_000_000}, Reason.IN_FUTURE),
        ({"msg": "m", "a b": "x"}, Reason.BAD_NAME),
        ({"msg": "m", **{f"f{n}": "x" for n in range(65)}}, Reason.TOO_MANY_LABELS),
        ({"msg": "m", "n": 2**64}, Reason.OUT_OF_RANGE),
        ({"msg": "m", "x": json.loads("[" * 17 + "]" * 17)}, Reason.TOO_DEEP),
        ({"msg": "m" * 65_536}, Reason.TOO_LARGE),
    ],
)
def test_what_is_refused(wire: dict[str, Any], expected: Reason) -> None:
    """A part of the wrong type or beyond the limits, alone and among good ones."""
    parsed = parse(json.dumps([{"msg": "good"}, wire]).encode())

    assert [(r.index, r.reason) for r in parsed.refusals] == [(1, expected)]
    assert parsed.accepted == 1


TRACE = ["Traceback (most recent call last):", '  File "a.py", line 1', "ValueError: x"]


def test_a_stack_trace_is_one_line() -> None:
    """What follows without time and level of its own goes on with the line before it, until
    one begins by itself."""
    parsed = parse(
        ndjson(
            {"ts": NOW, "level": "error", "msg": "failed", "service": "orders"},
            *({"msg": text, "service": "orders"} for text in TRACE[:2]),
            {"msg": TRACE[2]},
            {"level": "info", "msg": "next", "service": "orders"},
        )
    )

    assert [line.message for line in lines(parsed)] == ["\n".join(["failed", *TRACE]), "next"]
    assert parsed.accepted == 5


@pytest.mark.parametrize(
    ("first", "then", "expected"),
    [
        # the first says nothing of itself either: a logger that never does
        ({"msg": "a"}, {"msg": "b"}, ["a", "b"]),
        # another sender's
        ({"msg": "a", "level": 3, "pod": "1"}, {"msg": "b", "pod": "2"}, ["a", "b"]),
        # it begins by itself
        ({"msg": "a", "level": 3}, {"msg": "b", "ts": NOW}, ["a", "b"]),
        ({"msg": "a", "ts": NOW}, {"msg": "b", "level": 3}, ["a", "b"]),
        # time or level: either is enough to begin
        ({"msg": "a", "ts": NOW}, {"msg": "b"}, ["a\nb"]),
        ({"msg": "a", "level": 3}, {"msg": "b"}, ["a\nb"]),
    ],
)
def test_what_continues_what(
    first: dict[str, Any], then: dict[str, Any], expected: list[str]
) -> None:
    """Only what has neither time nor level, of one sender, after what has either."""
    assert [line.message for line in lines(parse(ndjson(first, then)))] == expected


@pytest.mark.parametrize("bad", [b"oops", {"msg": "b", "level": "loud"}])
def test_nothing_is_joined_over_a_refused_line(bad: Any) -> None:
    """What was refused may be what the next line goes on with."""
    parsed = parse(ndjson({"msg": "a", "level": 3}, bad, {"msg": "c"}))

    assert [line.message for line in lines(parsed)] == ["a", "c"]


def test_no_part_of_a_line_keeps_a_secret() -> None:
    """The message is masked when it is joined, so a key on several lines is found; fields are
    masked by their names, however deep, and labels too."""
    key = ["-----BEGIN RSA PRIVATE KEY-----", "MIIhunter2", "-----END RSA PRIVATE KEY-----"]
    parsed = parse(
        ndjson(
            {"msg": "login password=hunter2", "level": "info", "token": 12345,
             "request": {"headers": {"Authorization": "hunter2"}, "password": {"a": "hunter2"}},
             "labels": {"url": "http://u:hunter2@h", "secret": "hunter2"}},
            {"msg": "key", "ts": NOW},
            *({"msg": text} for text in key),
        )
    )  # fmt: skip

    assert parsed.refusals == []
    shown = repr(parsed.batch)
    assert "hunter2" not in shown
    assert "12345" not in shown
    assert [line.message for line in lines(parsed)] == [
        "login password=[masked]",
        "key\n[masked]",
    ]


def test_a_long_message_is_cut_after_it_was_masked() -> None:
    """8,192 bytes are kept, whole characters only; a secret across the cut is masked first. A
    long field is cut at 4,096 characters."""
    umlauts = one({"msg": "a" + "ä" * 5_000, "stack": "x" * 5_000})
    secret = one({"msg": "x" * 8_180 + " password=hunter2hunter2"})

    assert umlauts.message == "a" + "ä" * 4_095
    assert len(umlauts.fields["stack"]) == 4_096
    assert secret.message == "x" * 8_180 + " password=[m"
    assert len(secret.message.encode()) == 8_192


def test_a_trace_without_end_is_bounded() -> None:
    """Ten thousand continued lines are accepted, and no more is kept than of one message."""
    many = [{"msg": "a", "level": 3}, *({"msg": "x" * 300} for _ in range(9_999))]
    parsed = parse(ndjson(*many))

    assert parsed.accepted == 10_000
    [line] = lines(parsed)
    assert len(line.message) == 8_192


def test_a_scoped_sender_sends_its_services_lines_only() -> None:
    """Another service's line and nobody's are refused; what continues its own line is its own."""
    scoped = Incoming(now=NOW, services=frozenset({"orders"}))
    parsed = parse(
        ndjson(
            {"msg": "a", "service": "store", "level": 3},
            {"msg": "b"},
            {"msg": "c", "service": "orders", "level": 3},
            {"msg": "d"},
        ),
        scoped,
    )

    assert [line.message for line in lines(parsed)] == ["c\nd"]
    assert [(r.index, r.reason) for r in parsed.refusals] == [
        (0, Reason.OUT_OF_SCOPE),
        (1, Reason.OUT_OF_SCOPE),
    ]


@pytest.mark.parametrize("body", [b"", b"\n\n", b"hello", b"{\n{", b"[1", b'{"a":' * 100_000])
def test_a_body_without_any_line_is_refused_whole(body: bytes) -> None:
    """There is nothing in it to name."""
    with pytest.raises(BadInput):
        parse(body)


def test_a_body_holds_ten_thousand_lines() -> None:
    """Not one more, in a list or line by line."""
    assert parse(ndjson(*[{"msg": "m"}] * 10_000)).accepted == 10_000
    for body in (ndjson(*[{"msg": "m"}] * 10_001), json.dumps([{"msg": "m"}] * 10_001).encode()):
        with pytest.raises(TooLarge):
            parse(body)


LINE = st.fixed_dictionaries(
    {"msg": st.text(max_size=5)},
    optional={
        "level": st.sampled_from(["error", "loud", 3, None]),
        "ts": st.sampled_from([NOW, 5, None]),
        "pod": st.sampled_from(["1", "2"]),
    },
)


@given(st.lists(LINE | st.just(7), max_size=8))
def test_every_line_is_taken_or_refused_and_every_message_kept(wires: list[Any]) -> None:
    """Accepted and refused add up to what was sent, and what was accepted stands, in order, in
    the messages of what is kept."""
    parsed = parse(json.dumps(wires).encode())
    refused = {refusal.index for refusal in parsed.refusals}
    taken = [wire["msg"] for place, wire in enumerate(wires) if place not in refused]

    assert parsed.accepted + len(refused) == len(wires)
    assert parsed.accepted == len(taken)
    assert "\n".join(line.message for line in lines(parsed)) == "\n".join(taken)


def test_half_a_surrogate_costs_its_own_line_alone() -> None:
    """It is JSON, but no text: that line is refused by its number and kept as it was sent; whole
    pairs and backslashes before a u are texts as ever."""
    body = rb"""[{"message": "a"}, {"message": "\ud800"}, {"message": "\ud83d\ude00 \\ud800"},
        {"message": "\udc00\ud800"}]"""
    parsed = parse(body)

    assert [line.message for line in lines(parsed)] == ["a", "\U0001f600 \\ud800"]
    assert [(r.index, r.reason, r.item) for r in parsed.refusals] == [
        (1, Reason.MALFORMED, rb'{"message": "\ud800"}'),
        (3, Reason.MALFORMED, rb'{"message": "\udc00\ud800"}'),
    ]
    alone = parse(rb'{"message": "\ud800"}')
    assert [refused.index for refused in alone.refusals] == [0]
    with pytest.raises(BadInput):
        parse(rb'[{"message": "\ud800"}, nonsense]')
