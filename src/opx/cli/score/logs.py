# SPDX-License-Identifier: Apache-2.0

"""``opx score logs``: lines in, the template of each out at once, the table of templates last.

Reads whatever has come, answers all of it, flushes, and reads on. A line in is a line out, in
order: ``{"template": id, "score": 0..1, "anomaly": bool}``; the last line is ``{"templates":
{id: {"text": ..., "parent": id or null}}}``. An id may be part of another by the end: its
parent says of which. ``anomaly`` is what ``core.detect.logs.novelty`` finds odd, the score is 1
for what nobody would expect and falls with every line of a kind. A line that continues the one
before it, as those of a stack trace do, has the answer of the record that it is part of: of its
first line, since the others have not come when it is answered. It must never fall over a line,
whatever it holds, wait for one that is not there, or repeat a secret.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import BinaryIO, cast

from opx.core.detect.logs.joining import Records
from opx.core.detect.logs.masking import CONSIDERED
from opx.core.detect.logs.miner import Miner, Template
from opx.core.detect.logs.novelty import Known
from opx.core.ingest import masking

CHUNK = 1 << 18
KEPT = 4 * CONSIDERED
"""Bytes of a line that are kept: a character has four at most."""


def run(lines_in: BinaryIO, out: BinaryIO) -> None:
    """Score every line of ``lines_in``, a buffered stream of bytes, until its end."""
    read = cast(io.BufferedReader, lines_in).read1
    scorer = _Scorer()
    rest = b""
    while chunk := read(CHUNK):
        *lines, rest = (rest + chunk).split(b"\n")
        rest = rest[:KEPT]
        out.write("".join([scorer.line(line) for line in lines]).encode())
        out.flush()
    if rest:
        out.write(scorer.line(rest).encode())
    scorer.tell(scorer.miner.templates.values())
    out.write(json.dumps({"templates": scorer.table}).encode() + b"\n")
    out.flush()


@dataclass(slots=True)
class _Scorer:
    """``table``: of the templates that are told of so far. ``answer``: to the last record."""

    miner: Miner = field(default_factory=Miner)
    known: Known = field(default_factory=Known)
    records: Records = field(default_factory=Records)
    table: dict[str, dict[str, str | None]] = field(default_factory=dict)
    answer: str = ""

    def line(self, line: bytes) -> str:
        """The answer to one more line."""
        text = masking.text(line[:KEPT].decode("utf-8", "replace"))
        if not self.records.continues(text):
            self.answer = self._record(text)
        return self.answer

    def tell(self, templates: Iterable[Template]) -> None:
        """Put these templates into the table as they stand."""
        for one in templates:
            parent = None if one.parent is None else one.parent.id
            self.table[one.id] = {"text": one.text, "parent": parent}

    def _record(self, text: str) -> str:
        miner, known = self.miner, self.known
        merged, forgotten = miner.merged, miner.forgotten
        template = miner.add(text)
        if miner.merged != merged:
            known.rename(miner.renames())
        if miner.forgotten != forgotten:
            self.tell(miner.gone)
        surprise = max(0.0, 1 - known.expected)
        anomaly = "true" if known.take(template.id) else "false"
        score = surprise / known.counts[template.id]
        return f'{{"template": "{template.id}", "score": {score:.3g}, "anomaly": {anomaly}}}\n'
