# SPDX-License-Identifier: Apache-2.0

"""Lines of one record put together."""

from __future__ import annotations

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


def parts(lines: list[str]) -> list[bool]:
    """Of each line, whether it continues the one before it."""
    records = joining.Records()
    return [records.continues(line) for line in lines]


def test_a_java_trace_is_part_of_its_record() -> None:
    """Frames and causes continue the error that they are of; a line that is not indented and
    begins like none begins a record of its own."""
    assert parts(JAVA) == [False, False, True, True, True, True]


def test_a_python_trace_is_part_of_its_record_up_to_its_error() -> None:
    """The error that ends a trace belongs to it, and the line after that does not."""
    assert parts(PYTHON) == [False, True, True, True, True, False]
    assert parts([*PYTHON[1:5], "ValueError: -1"]) == [False, True, True, True, False]


def test_an_error_outside_a_trace_is_a_line() -> None:
    """The name of an error alone continues nothing."""
    assert parts(["one", "ValueError: -1"]) == [False, False]
    assert parts([*PYTHON[:3], "INFO meanwhile", "ValueError: -1"])[3:] == [False, False]


def test_the_first_line_continues_nothing() -> None:
    """A file may begin in the middle of a trace: its rest is one record."""
    assert parts(JAVA[2:4]) == [False, True]


def test_a_record_is_told_by_its_head_and_its_cause() -> None:
    """Frames between them come in another number every time."""
    record = "\n".join(JAVA)
    assert joining.gist(record) == f"{JAVA[0]} {JAVA[4]}"
    assert joining.gist("one line") == "one line"
    assert joining.gist("head\n  frame") == "head"
