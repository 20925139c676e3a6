# SPDX-License-Identifier: Apache-2.0
"""Instants are UTC milliseconds, windows are half-open, and the wire says so."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opx.core.base import time
from opx.core.base.time import Window

YEARS_1970_TO_9999 = st.integers(0, 253_402_300_799_999)


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T00:00:00.001Z", 1),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1969-12-31T23:59:59.999Z", -1),
        ("2000-03-01T00:00:00Z", 951_868_800_000),
        ("1970-01-01T00:00:00.0019Z", 1),
    ],
)
def test_an_instant_is_read_from_the_wire(text: str, at: int) -> None:
    """RFC 3339 with any offset; what is finer than a millisecond is cut."""
    assert time.from_wire(text) == at


@pytest.mark.parametrize("text", ["2026-01-01T00:00:00", "2026-01-01", "soon", "", "12"])
def test_an_instant_without_a_zone_is_refused(text: str) -> None:
    """Nothing guesses which clock was meant."""
    with pytest.raises(ValueError):  # noqa: PT011 - the library says which part is wrong
        time.from_wire(text)


@given(YEARS_1970_TO_9999)
def test_the_wire_gives_back_what_was_written(at: int) -> None:
    """Writing and reading an instant changes nothing."""
    assert time.from_wire(time.to_wire(at)) == at
    assert time.to_wire(at).endswith("Z")


@pytest.mark.parametrize(
    ("at", "text"),
    [
        (-(10**18), "0001-01-01T00:00:00.000Z"),
        (-62_135_596_800_000, "0001-01-01T00:00:00.000Z"),
        (-30_610_224_000_000, "1000-01-01T00:00:00.000Z"),
        (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
        (10**30, "9999-12-31T23:59:59.999Z"),
    ],
)
def test_every_instant_can_be_written(at: int, text: str) -> None:
    """Beyond the years 1 to 9999 it is the nearest that can be: never an error."""
    assert time.to_wire(at) == text


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+00:01", "9999-12-31T23:59:59.999-00:01"])
def test_an_instant_that_could_not_be_written_is_not_read(text: str) -> None:
    """A zone can push an instant out of the years that the wire has."""
    with pytest.raises(ValueError, match="years 1 to 9999"):
        time.from_wire(text)


def test_an_inclusive_end_is_the_next_instant() -> None:
    """``...59.999Z`` ends where the next window begins; any other end is itself."""
    assert time.window_end("1970-01-01T00:00:59.999Z") == 60_000
    assert time.window_end("1970-01-01T00:01:00.000Z") == 60_000


def test_a_window_has_its_start_and_not_its_end() -> None:
    """Two windows that touch share no instant."""
    window = Window(10, 20)

    assert (9 in window, 10 in window, 19 in window, 20 in window) == (False, True, True, False)
    with pytest.raises(ValueError, match="start before it ends"):
        Window(10, 10)


@pytest.mark.parametrize(
    ("text", "span"),
    [("250ms", 250), ("3s", 3_000), ("5m", 300_000), ("1h", 3_600_000), ("7d", 604_800_000)],
)
def test_a_duration_is_a_number_and_a_unit(text: str, span: int) -> None:
    """Milliseconds, seconds, minutes, hours and days."""
    assert time.duration(text) == span


@pytest.mark.parametrize("text", ["", "5", "m", "-5m", "1.5h", "5 m", "٣s", "5w"])
def test_anything_else_is_no_duration(text: str) -> None:
    """The error shows what can be written."""
    with pytest.raises(ValueError, match="write 250ms"):
        time.duration(text)


@pytest.mark.parametrize("text", ["36526d", "9999999999999999ms"])
def test_a_duration_has_an_end(text: str) -> None:
    """More than a century from now is no instant that anybody means."""
    with pytest.raises(ValueError, match="century"):
        time.duration(text)
