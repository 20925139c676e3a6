# SPDX-License-Identifier: Apache-2.0

"""Lines of one record put together."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from opx.core.detect.logs import joining

JAVA = [
    "ERROR request failed",
    "java.lang.IllegalStateException: closed",
    "\tat com.example.Shop.buy(Shop.java:17)",
    "\t... 12 more",
    "Caused by: java.io.IOException: broken pipe",
    "\tat com.example.Net.send(Net.java:3)",
]
PYTHON = [
    "ERROR request failed",
    "Traceback (most recent call last):",
    '  File "shop.py", line 17, in buy',
    "    raise ValueError(price)",
    "ValueError: -1",
    "INFO next request",
]


def test_a_java_trace_is_part_of_its_record() -> None:
    """Frames and causes continue the error that they are of; a line that is not indented and
    begins like none begins a record of its own."""
    assert joining.join(JAVA) == [JAVA[0], "\n".join(JAVA[1:])]


def test_a_python_trace_is_part_of_its_record_up_to_its_error() -> None:
    """The error that ends a trace belongs to it, and the line after that does not."""
    assert joining.join(PYTHON) == ["\n".join(PYTHON[:5]), PYTHON[5]]


def test_an_error_outside_a_trace_is_a_line() -> None:
    """The name of an error alone continues nothing."""
    assert joining.join(["one", "ValueError: -1"]) == ["one", "ValueError: -1"]


def test_a_record_does_not_grow_without_bound() -> None:
    """What is beyond the most lines is dropped with its record."""
    [record] = joining.join(["head", *(" x" for _ in range(2 * joining.MOST_LINES))])
    assert record.count("\n") == joining.MOST_LINES - 1


def test_a_record_is_told_by_its_head_and_its_cause() -> None:
    """Frames between them come in another number every time."""
    record = "\n".join(JAVA)
    assert joining.gist(record) == f"{JAVA[0]} {JAVA[4]}"
    assert joining.gist("one line") == "one line"
    assert joining.gist("head\n  frame") == "head"


@given(st.lists(st.text(" \tatCT:x", max_size=9).filter(lambda line: "\n" not in line)))
def test_no_line_is_lost_or_moved(lines: list[str]) -> None:
    """The records, taken apart again, are the lines."""
    records = joining.join(lines)
    assert [line for record in records for line in record.split("\n")] == lines
