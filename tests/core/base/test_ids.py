# SPDX-License-Identifier: Apache-2.0
"""Derived ids hash identity; ids of what happens carry its time; JSON has one form."""

from __future__ import annotations

import hashlib
import json
import uuid
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opx.core.base import canonical, ids

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


class Colour(StrEnum):
    RED = "red"


@dataclass
class Spot:
    name: str
    colours: tuple[Colour, ...]


def test_canonical_json_is_sorted_and_tight() -> None:
    """Keys in order, no spaces, UTF-8, dataclasses and enums by their values."""
    told = {"b": Spot("ü", (Colour.RED,)), "a": [1, None, True]}

    expected = '{"a":[1,null,true],"b":{"colours":["red"],"name":"ü"}}'.encode()

    assert canonical.dumps(told) == expected


def test_what_is_more_than_a_text_or_a_number_is_written_as_one() -> None:
    """Such as a number of numpy's, wherever it stands."""

    class Name(str):
        pass

    told = {"a": np.float64(0.5), "b": [Name("x"), np.float64(2)]}
    assert canonical.dumps(told) == b'{"a":0.5,"b":["x",2.0]}'
    assert canonical.dumps(Name("y")) == b'"y"'


@given(values)
def test_canonical_json_is_read_back(value: object) -> None:
    """It is JSON, says what it was given, and is the very text that everybody's encoder makes."""
    said = canonical.dumps(value)

    assert json.loads(said) == value
    usual = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert said.decode() == usual


def test_a_number_that_is_none_has_no_canonical_form() -> None:
    """NaN and what JSON does not know are errors, never guesses."""
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical.dumps(float("nan"))
    with pytest.raises(TypeError, match="no canonical JSON form"):
        canonical.dumps(object())


def test_a_derived_id_is_the_hash_of_its_identity() -> None:
    """SHA-256 of the canonical list, so anybody can check it."""
    expected = hashlib.sha256(b'["finding","rule",1]').hexdigest()

    assert ids.derived("finding", "rule", 1) == expected


def test_a_timed_id_begins_with_its_instant() -> None:
    """The rest of it is the hash, so what came in the same millisecond is told apart."""
    digest = hashlib.sha256(b'["finding","rule",1790000000000]').hexdigest()

    made = ids.timed(1_790_000_000_000, "finding", "rule", 1_790_000_000_000)

    assert made == "01a0c4506c00" + digest[:52]


@given(st.lists(st.integers(0, (1 << 48) - 1), min_size=2))
def test_timed_ids_come_in_the_order_of_their_instants(instants: list[int]) -> None:
    """So that an index that has them grows at its end."""
    made = [ids.timed(at, at) for at in sorted(instants)]

    assert [int(one[:12], 16) for one in made] == sorted(instants)
    assert {len(one) for one in made} == {64}
    assert made == sorted(made)


@given(st.integers(0, (1 << 48) - 1), st.binary(min_size=10, max_size=16))
def test_a_uuid7_carries_its_instant(now: int, entropy: bytes) -> None:
    """Version 7, RFC variant, and the first 48 bits are the milliseconds."""
    made = uuid.UUID(ids.uuid7(now, entropy))

    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert made.int >> 80 == now


def test_a_uuid7_needs_enough_chance() -> None:
    """Too little entropy is refused."""
    with pytest.raises(ValueError, match="10 random bytes"):
        ids.uuid7(0, b"short")
