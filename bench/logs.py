# SPDX-License-Identifier: Apache-2.0

"""How fast log lines get their template, and how many templates come of it.

``python bench/logs.py --data DIR [--lines N]``. DIR has the folders of loghub
(``SYSTEM/*log_structured.csv`` with a ``Content`` and an ``EventId``). The lines of all
systems are mixed and every digit of them is drawn anew, so that hardly any line is told
twice; each has its template's id before the next one is looked at. One process, one core.
``distinct``: how many of the lines are. ``true``: the templates that people found in the same
systems.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

from opx.bench.detect import templates
from opx.core.detect.logs.miner import Miner

LINES = 320_000


def resident() -> int:
    """Bytes of memory that this process holds now (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--lines", type=int, default=LINES)
    asked = parser.parse_args()
    told = templates.systems(asked.data, corrected=False)
    lines = templates.mixed(told, asked.lines, 1)
    true = sum(len(set(system.groups)) for system in told)
    before = resident()
    miner = Miner()
    began = time.process_time()
    for line in lines:
        miner.add(line).id  # noqa: B018
    took = time.process_time() - began
    grown = resident() - before
    made = sum(1 for _ in miner.roots())
    print(
        f"{len(lines):,} lines, {len(set(lines)):,} distinct: {len(lines) / took:,.0f} lines/s,"
        f" {made:,} templates ({true:,} true), {miner.made:,} made,"
        f" {miner.forgotten:,} forgotten, memory grown by {grown / 1e6:.0f} MB"
    )


if __name__ == "__main__":
    main()
