# SPDX-License-Identifier: Apache-2.0

"""Lines of one record put together: a stack trace belongs to what it is the trace of.

Stage 2, before mining; pure text, so the wires may use it as well. A line continues the one
before it when it is indented, or begins as traces do in Java and Python; so does the error
that ends a Python trace. It must never join what it is not sure of, and never grow a record
without bound.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

MOST_LINES = 256
"""Lines of a record that are kept; those after them are dropped with it."""

_CONTINUES = re.compile(
    r"[ \t]|at [\w$.<>]+\(|Caused by:? |Suppressed: |\.\.\. \d+ (?:more|common)"
    r"|Traceback \(most recent|During handling of the above|The above exception was"
)
_TRACEBACK = re.compile(r"Traceback \(most recent")
_ERROR = re.compile(r"[A-Za-z_][\w.]*(?:Error|Exception|Warning|Exit|Interrupt)\b")


def join(lines: Iterable[str]) -> list[str]:
    """The records that these lines are, each with its lines in order, ``\\n`` between them."""
    records: list[list[str]] = []
    tracing = False
    for line in lines:
        raised = tracing and _ERROR.match(line) is not None
        if records and (raised or _CONTINUES.match(line)):
            if len(records[-1]) < MOST_LINES:
                records[-1].append(line)
        else:
            records.append([line])
            tracing = False
        tracing = not raised and (tracing or _TRACEBACK.match(line.lstrip()) is not None)
    return ["\n".join(record) for record in records]


def gist(record: str) -> str:
    """What a record is told by: its first line and the last that is not indented, which is the
    cause. A trace has another depth every time."""
    first, found, rest = record.partition("\n")
    if not found:
        return first
    outer = [line for line in rest.split("\n") if line and not line[0].isspace()]
    return f"{first} {outer[-1]}" if outer else first
