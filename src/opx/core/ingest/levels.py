# SPDX-License-Identifier: Apache-2.0

"""How loggers' words and numbers for a level are read: one table, used by every log wire.

Stage 1. Three families of numbers never overlap, so each is read: syslog's 0 to 7 (GELF,
journald), the tens of pino and bunyan up to 60, and the hundreds of Google Cloud up to 800.
Python's own numbers look like pino's and mean something milder there; a Python logger sends
names. What is in no table has no level here, and nothing is ever guessed.
"""

from __future__ import annotations

from opx.core.ingest.signals import LogLevel

WORDS: dict[str, LogLevel] = {
    word: level
    for level, words in (
        (LogLevel.TRACE, ("trace", "verbose", "finest", "finer")),
        (LogLevel.DEBUG, ("debug", "fine", "dbg")),
        (LogLevel.INFO, ("info", "information", "informational", "notice", "log", "default")),
        (LogLevel.WARN, ("warn", "warning")),
        (LogLevel.ERROR, ("error", "err", "severe")),
        (LogLevel.FATAL, ("fatal", "critical", "crit", "alert", "emerg", "emergency", "panic")),
    )
    for word in words
}

_SYSLOG = (
    LogLevel.FATAL, LogLevel.FATAL, LogLevel.FATAL, LogLevel.ERROR,
    LogLevel.WARN, LogLevel.INFO, LogLevel.INFO, LogLevel.DEBUG,
)  # fmt: skip
"""RFC 5424: 0 is an emergency, 7 is debug."""

_GOOGLE = (
    LogLevel.DEBUG, LogLevel.INFO, LogLevel.INFO, LogLevel.WARN,
    LogLevel.ERROR, LogLevel.FATAL, LogLevel.FATAL, LogLevel.FATAL,
)  # fmt: skip
"""Google Cloud's LogSeverity: 100 is debug, 800 an emergency."""

NUMBERS: dict[int, LogLevel] = {
    **dict(enumerate(_SYSLOG)),
    **{10 * level.value: level for level in LogLevel},
    **{100 * hundred: level for hundred, level in enumerate(_GOOGLE, start=1)},
}


def read(value: object) -> LogLevel | None:
    """The level that a word in any case, or a number, stands for; None when it is in no table."""
    if isinstance(value, str):
        word = value.strip().lower()
        return WORDS.get(word) or (NUMBERS.get(int(word)) if _is_number(word) else None)
    if isinstance(value, int) and not isinstance(value, bool):
        return NUMBERS.get(value)
    return None


def _is_number(word: str) -> bool:
    return len(word) <= 3 and word.isascii() and word.isdigit()
