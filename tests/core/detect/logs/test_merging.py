# SPDX-License-Identifier: Apache-2.0

"""The evidence that a place in a template is variable."""

from __future__ import annotations

import pytest

from opx.core.detect.logs.merging import CROWD, Place, place
from opx.core.detect.logs.miner import Miner


def texts(lines: list[str]) -> list[str]:
    """The templates that are left in the end, the oldest first."""
    miner = Miner()
    for line in lines:
        miner.add(line)
    return [template.text for template in miner.roots()]


@pytest.mark.parametrize(
    ("separators", "atoms", "at", "expected"),
    [
        (("", " ", ""), ("closed", "it"), 0, Place.HEAD),
        (("", " ", ""), ("closed", "it"), 1, Place.WORD),
        (("", " ", ""), ("user", "alice"), 1, Place.CUED),
        (("", " ", ""), ("to", "alice"), 1, Place.OBJECT),
        (("", "=", ""), ("a", "b"), 1, Place.FIELD),
        (("", " '", "'"), ("a", "b"), 1, Place.FIELD),
        (("", " ", ""), ("link", "eth0"), 1, Place.FIELD),
        (("", " ", ""), ("by", "com.example.app"), 1, Place.NAME),
        (("", " ", ""), ("got", "com.example.SCREEN_ON"), 1, Place.WORD),
    ],
)
def test_a_place_is_what_stands_around_it(
    separators: tuple[str, ...], atoms: tuple[str, ...], at: int, expected: Place
) -> None:
    """Fields, names and words after a noun need less evidence than other words; a name in
    capitals is a constant of its program."""
    assert place(separators, atoms, at) is expected


def test_two_words_are_two_events() -> None:
    """Up to five words in one place are kinds of event, and six are names."""
    states = ["started", "stopped", "paused", "resumed", "removed", "created"]
    lines = [f"the machine was {state} by the operator" for state in states]

    assert texts(lines[:5]) == lines[:5]
    assert texts(lines) == ["the machine was <*> by the operator"]


def test_names_after_a_noun_are_one_event_sooner() -> None:
    """Three users are enough to see that users vary."""
    lines = [f"session closed for user {name}" for name in ("ann", "bob", "eve")]

    assert texts(lines[:2]) == lines[:2]
    assert texts(lines) == ["session closed for user <*>"]


def test_what_a_program_does_is_never_a_value() -> None:
    """Any number of first words are so many events."""
    lines = [f"{word} the connection pool now" for word in "abcdefgh"]

    assert texts(lines) == lines


def test_a_value_that_is_known_takes_any_word() -> None:
    """Where a number was, a word is a value too, if enough of the line is the same."""
    lines = ["invalid login of somebody 17 seen", "invalid login of somebody ann seen"]

    assert texts(lines) == ["invalid login of somebody <*> seen"]


def test_many_fields_that_vary_at_once_are_one_event() -> None:
    """Four lines that differ in nothing but their fields are one."""
    lines = [f"lock tag={tag} owner={owner}" for tag, owner in ("ab", "cd", "ef", "gh")]

    assert len(texts(lines[:3])) == 3
    assert texts(lines) == ["lock tag=<*> owner=<*>"]


def test_two_names_that_are_new_every_time_are_found_in_a_crowd() -> None:
    """No two lines are the same but for one word, and yet they are one event."""
    lines = [f"message sent by {chr(97 + n)}x to {chr(97 + n)}y was lost" for n in range(CROWD)]

    assert len(texts(lines[:-1])) == CROWD - 1
    assert texts(lines) == ["message sent by <*> to <*> was lost"]
