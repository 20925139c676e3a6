# SPDX-License-Identifier: Apache-2.0

"""``opx score logs``: lines in, the template of each out at once, the table of templates last.

Reads whatever has come, answers all of it, flushes, and reads on. A line in is a line out, in
order: ``{"template": id, "score": 0..1, "anomaly": bool}``; the last line is ``{"templates":
{id: {"text": ..., "parent": id or null}}}``. An id may be part of another by the end: its
parent says of which. ``anomaly`` is what ``core.detect.logs.novelty`` finds odd, the score is 1
for what nobody would expect and falls with every line of a kind. It must never fall over a
line, whatever it holds, nor wait for one that is not there.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from typing import BinaryIO, cast

from opx.core.detect.logs.masking import CONSIDERED
from opx.core.detect.logs.miner import Miner, Template
from opx.core.detect.logs.novelty import Known

CHUNK = 1 << 18
KEPT = 4 * CONSIDERED
"""Bytes of a line that are kept: a character has four at most."""


Table = dict[str, dict[str, str | None]]


def run(lines_in: BinaryIO, out: BinaryIO) -> None:
    """Score every line of ``lines_in``, a buffered stream of bytes, until its end."""
    read = cast(io.BufferedReader, lines_in).read1
    miner, known = Miner(), Known()
    table: Table = {}
    rest = b""
    while chunk := read(CHUNK):
        *lines, rest = (rest + chunk).split(b"\n")
        rest = rest[:KEPT]
        answers = [_answer(line, miner, known, table) for line in lines]
        out.write("".join(answers).encode())
        out.flush()
    if rest:
        out.write(_answer(rest, miner, known, table).encode())
    _tell(table, miner.templates.values())
    out.write(json.dumps({"templates": table}).encode() + b"\n")
    out.flush()


def _answer(line: bytes, miner: Miner, known: Known, table: Table) -> str:
    merged, forgotten = miner.merged, miner.forgotten
    template = miner.add(line[:KEPT].decode("utf-8", "replace"))
    if miner.merged != merged:
        aliases = miner.aliases()
        known.rename(lambda kind: aliases.get(kind, kind))
    if miner.forgotten != forgotten:
        _tell(table, miner.gone)
    surprise = max(0.0, 1 - known.expected)
    anomaly = "true" if known.take(template.id) else "false"
    score = surprise / known.counts[template.id]
    return f'{{"template": "{template.id}", "score": {score:.3g}, "anomaly": {anomaly}}}\n'


def _tell(table: Table, templates: Iterable[Template]) -> None:
    """Put these templates into the table as they stand."""
    for one in templates:
        parent = None if one.parent is None else one.parent.id
        table[one.id] = {"text": one.text, "parent": parent}
