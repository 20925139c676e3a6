# SPDX-License-Identifier: Apache-2.0

"""Lines of one record put together: a stack trace belongs to what it is the trace of.

Stage 2, before mining; pure text. A line continues the one before it when it is indented, or
begins as traces do in Java and Python; so does the error that ends a Python trace. It must
never join what it is not sure of, nor wait for the line after.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_CONTINUES = re.compile(
    r"[ \t]|at [\w$.<>]+\(|Caused by:? |Suppressed: |\.\.\. \d+ (?:more|common)"
    r"|Traceback \(most recent|During handling of the above|The above exception was"
)
_TRACEBACK = re.compile(r"Traceback \(most recent")
_ERROR = re.compile(r"[A-Za-z_][\w.]*(?:Error|Exception|Warning|Exit|Interrupt)\b")


@dataclass(slots=True)
class Records:
    """Where each of several lines that come in order belongs. ``begun``: whether there is a record
    to continue; ``tracing``: whether it is within a Python trace."""

    begun: bool = False
    tracing: bool = False

    def continues(self, line: str) -> bool:
        """Whether this line is part of the record before it; if not, it begins one."""
        raised = self.tracing and _ERROR.match(line) is not None
        part = self.begun and (raised or _CONTINUES.match(line) is not None)
        traced = _TRACEBACK.match(line.lstrip()) is not None
        self.begun, self.tracing = True, traced or (part and self.tracing and not raised)
        return part


def gist(record: str) -> str:
    """What a record is told by: its first line and the last that is not indented, which is the
    cause. A trace has another depth every time."""
    first, found, rest = record.partition("\n")
    if not found:
        return first
    outer = [line for line in rest.split("\n") if line and not line[0].isspace()]
    return f"{first} {outer[-1]}" if outer else first
