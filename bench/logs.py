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
import csv
import os
import time
from pathlib import Path

import numpy as np

from opx.core.detect.logs.miner import Miner

LINES = 320_000


def lines_of(folder: Path, many: int) -> tuple[list[str], int]:
    """The stream, and how many true templates it is made of."""
    contents: list[str] = []
    true = 0
    for path in sorted(folder.glob("*/*log_structured.csv")):
        with path.open(encoding="utf-8", errors="replace") as file:
            rows = list(csv.DictReader(file))
        contents += [row["Content"].replace("\n", " ") for row in rows]
        true += len({row["EventId"] for row in rows})
    if not contents:
        raise SystemExit(f"no */*log_structured.csv below {folder}")
    random = np.random.default_rng(1)
    order = random.integers(0, len(contents), many)
    codes = np.frombuffer("\n".join(contents[at] for at in order).encode(), np.uint8).copy()
    digits = (codes >= ord("0")) & (codes <= ord("9"))
    codes[digits] = random.integers(ord("0"), ord("9") + 1, int(digits.sum()), np.uint8)
    return codes.tobytes().decode().split("\n"), true


def resident() -> int:
    """Bytes of memory that this process holds now (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--lines", type=int, default=LINES)
    asked = parser.parse_args()
    lines, true = lines_of(asked.data, asked.lines)
    before = resident()
    miner = Miner()
    began = time.process_time()
    for line in lines:
        miner.add(line).id  # noqa: B018
    took = time.process_time() - began
    grown = resident() - before
    templates = sum(1 for _ in miner.roots())
    print(
        f"{len(lines):,} lines, {len(set(lines)):,} distinct: {len(lines) / took:,.0f} lines/s,"
        f" {templates:,} templates ({true:,} true), {miner.made:,} made,"
        f" {miner.forgotten:,} forgotten, memory grown by {grown / 1e6:.0f} MB"
    )


if __name__ == "__main__":
    main()
