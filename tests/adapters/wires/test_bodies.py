# SPDX-License-Identifier: Apache-2.0

"""A body cut into its items, also where the decoder does not follow."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from opx.adapters.wires import bodies
from opx.core.ingest.checks import Reason
from opx.errors import BadInput, TooLarge

DEEP = (
    b"[" * 3_000 + b"]" * 3_000,
    b'{"a": ' * 12_000 + b"null" + b"}" * 12_000,
    b'[1, {"\\"]": "\\\\", "x": ' * 3_000 + b'"}]\\ud800"' + b'}, "\\""]' * 3_000,
)
"""More brackets within each other than the decoder follows, for which Hypothesis lets it go
further than usual; the last has some in texts, too."""
SPACE = st.text(" \t\r\n", max_size=3).map(str.encode)
TEXT = st.text('[]{}",:\\a\n\ud800é', max_size=6)
VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
FORTY: Any = json.loads("[" * 40 + "]" * 40)
ITEM = (VALUE | st.just(FORTY)).map(lambda value: json.dumps(value).encode())
"""JSON in ASCII: some of it holds half of a pair of surrogates."""


@given(st.lists(st.tuples(SPACE, ITEM | st.sampled_from(DEEP), SPACE), min_size=1, max_size=5))
def test_every_item_is_cut_out_as_it_was_sent(parts: list[tuple[bytes, bytes, bytes]]) -> None:
    """Whatever brackets, quotes and backslashes stand in its texts, however deep it is and
    however deep its neighbours are."""
    body = b"[" + b",".join(b"".join(part) for part in parts) + b"]"

    assert bodies.raws(body) == [item for _, item, _ in parts]


@given(SPACE, ITEM | st.sampled_from(DEEP), SPACE)
def test_one_alone_is_cut_out_too(before: bytes, item: bytes, after: bytes) -> None:
    """As it was sent, without the space around it; of a list its only item."""
    body = before + item + after
    alone = not item.startswith(b"[")

    assert bodies.raws(body if alone else b"[" + body + b"]") == [item]


TOKENS = st.sampled_from(
    [
        *(b"[", b"]", b"{", b"}", b",", b":", b'"', b"\\", b'"a"', b'"\\""', b'"\\\\"', b'"[\\"{"'),
        *(b"1", b"1.", b"null", b" ", b"\\u", b'"\\q"', b'"\\ud8"', b'"\\ud800"', b"NaN", b"DEEP"),
    ]
)


def is_json(body: bytes) -> bool:
    """What Python's own reader says of the same body with nothing deep in it."""

    def refuse(name: str) -> None:
        raise ValueError(name)

    try:
        json.loads(body.replace(b"DEEP", b"[[]]"), parse_constant=refuse)
    except ValueError:
        return False
    return True


@given(
    st.lists(TOKENS | ITEM, max_size=8),
    st.lists(st.tuples(st.integers(0, 99), st.booleans(), TOKENS), max_size=2),
)
@example([b"[", b"1", b",", b"DEEP", b"]", b"]"], [])
@example([b"[", b"1", b"DEEP", b"]"], [])
@example([b"[", b"DEEP", b"DEEP", b"]"], [])
@example([b"[", b"{", b"DEEP", b":", b"1", b"}", b"]"], [])
@example([b"[", b"\\", b'"', b",", b"DEEP", b'"', b"]"], [])
def test_what_is_no_json_stays_none(
    tokens: list[bytes], stains: list[tuple[int, bool, bytes]]
) -> None:
    """A list with anything in it is cut into items just if it is JSON, so deep items in it or
    halves of surrogates change nothing about that."""
    for place, instead, stain in stains:
        place %= len(tokens) + 1
        tokens = [*tokens[:place], stain, *tokens[place + instead :]]
    body = b"[" + b"".join(tokens) + b"]"

    try:
        bodies.raws(body.replace(b"DEEP", DEEP[0]))
    except BadInput:
        assert not is_json(body)
    else:
        assert is_json(body)


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b"[1," + b"[" * 2_000 + b"]" * 1_999 + b",1]",
        b"[1," + b"[" * 2_000 + b"]" * 2_001 + b",1]",
        b"[1," + b"[" * 2_000 + b"}" * 2_000 + b",1]",
        b"[1," + b'{"a":' * 2_000 + b"1" + b"]" * 2_000 + b",1]",
        b"[1," + b'{"a:' * 2_000 + b"1" + b"}" * 2_000 + b",1]",
        b"[" * 2_000 + b'"' + b"]" * 2_000,
        b"[" * 2_000 + b"]" * 2_000 + b"[]",
        b"]" * 2_000,
    ],
)
def test_what_does_not_match_is_refused_whole(body: bytes) -> None:
    """Brackets that nothing closes, that close nothing or another one, and half of a text."""
    with pytest.raises(BadInput):
        bodies.raws(body)


def test_a_deep_item_is_one_of_those_that_are_counted() -> None:
    """Ten thousand with it, and not one more."""
    assert len(bodies.raws(b"[" + b"1," * 9_999 + DEEP[0] + b"]")) == 10_000
    with pytest.raises(TooLarge):
        bodies.raws(b"[" + b"1," * 10_000 + DEEP[0] + b"]")


class Envelope(msgspec.Struct):
    wanted: msgspec.Raw


@given(
    st.lists(st.tuples(st.sampled_from(['"a"', '"\\"wanted"', '"[]"', '"wanted"']), ITEM)),
    ITEM | st.sampled_from(DEEP),
    st.sampled_from(DEEP),
)
@example([('"a"', b"[]"), ('"wanted"', b"[[]]")], b"[]", DEEP[0])
def test_a_field_is_cut_out_as_it_was_sent(
    fields: list[tuple[str, bytes]], wanted: bytes, deep: bytes
) -> None:
    """The last of its name, whatever stands before and after it and looks the same."""
    parts = [*fields, ('"deep"', deep), ('"wanted"', wanted), ('"b"', wanted)]
    body = b" {" + b" ,".join(name.encode() + b": " + part for name, part in parts) + b"}"

    envelope, sent = bodies.decoded(msgspec.json.Decoder(Envelope), body)
    assert sent(envelope.wanted) == wanted


@pytest.mark.parametrize("deep", DEEP)
@pytest.mark.parametrize("item", [dict[str, Any], Envelope, list[int], str])
def test_what_is_too_deep_is_called_so(item: Any, deep: bytes) -> None:
    """Whatever else it is not that was expected: of another shape, too large, no text."""
    found = bodies.Shape(item).items(b'["\\ud800", ' + deep + b"]")

    assert [(r.index, r.reason) for r in found.refusals] == [
        (0, Reason.MALFORMED),
        (1, Reason.TOO_DEEP),
    ]
    assert found.refusals[1].item == deep
