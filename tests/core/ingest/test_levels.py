# SPDX-License-Identifier: Apache-2.0

"""How the levels of loggers are read."""

from __future__ import annotations

import pytest

from opx.core.ingest import levels
from opx.core.ingest.signals import LogLevel


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        # words, in any case
        ("ERROR", LogLevel.ERROR),
        (" warn ", LogLevel.WARN),
        ("Warning", LogLevel.WARN),
        ("notice", LogLevel.INFO),
        ("CRITICAL", LogLevel.FATAL),
        ("trace", LogLevel.TRACE),
        # syslog: RFC 5424 has 0 emergency, 3 error, 4 warning, 5 notice, 7 debug
        (0, LogLevel.FATAL),
        (3, LogLevel.ERROR),
        (4, LogLevel.WARN),
        (5, LogLevel.INFO),
        (7, LogLevel.DEBUG),
        # pino: 10 trace, 30 info, 50 error, 60 fatal
        (10, LogLevel.TRACE),
        (30, LogLevel.INFO),
        (50, LogLevel.ERROR),
        (60, LogLevel.FATAL),
        ("40", LogLevel.WARN),
        # Google Cloud: 100 debug, 400 warning, 500 error, 800 emergency
        (100, LogLevel.DEBUG),
        (400, LogLevel.WARN),
        (500, LogLevel.ERROR),
        (800, LogLevel.FATAL),
        # nobody's
        (8, None),
        (-1, None),
        (35, None),
        (10**30, None),
        ("9" * 5_000, None),
        ("²", None),
        ("loud", None),
        ("", None),
        (True, None),
        (3.0, None),
        (["error"], None),
    ],
)
def test_a_level_is_read_by_one_table(value: object, expected: LogLevel | None) -> None:
    """A word or a number of a family that is known; of anything else nothing is guessed."""
    assert levels.read(value) is expected
