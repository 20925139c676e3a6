# SPDX-License-Identifier: Apache-2.0

"""The templates of log lines, against those that people wrote down for loghub's systems.

The rules are those of Khan et al., "Guidelines for Assessing the Accuracy of Log Message
Template Identification Techniques" (2022): GA is the share of lines that are grouped exactly
as they should be, FGA the F1 of whole groups; PA is the share of lines whose template reads
right, FTA the F1 of groups that are right and read right. Only the text of a line is fed, in
the file's order, with no settings for any system.
"""

from __future__ import annotations

import csv
import re
import time
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from opx.bench.detect import anchors, intervals
from opx.bench.detect.scorers import Scorers, answers
from opx.bench.figures import Figure, Tell
from opx.core.detect.logs.miner import Miner
from opx.errors import BadInput

BOUNDS = {
    "GA": ("0.86", "0.94"), "FGA": ("0.90", "0.94"), "PA": ("0.70", "0.85"), "FTA": ("0.68", "0.75")
}  # fmt: skip
"""Must and aim."""
MIXED = 320_000
_ANY = re.compile(r"<[^<>\s]*>")
_ANY_IN_A_ROW = re.compile(r"(<\*>)+")


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """``groups``, ``texts``: of each line, as people have them."""

    name: str
    lines: tuple[str, ...]
    groups: tuple[str, ...]
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """Each 0 to 1."""

    GA: float
    FGA: float
    PA: float
    FTA: float


def measure(folder: Path, scorers: Scorers, seed: int, tell: Tell) -> list[Figure]:
    """``folder``: has a folder a system, with its structured CSV, as loghub has them."""
    original = systems(folder, corrected=False)
    tell(f"logs: {len(original)} systems, original labels")
    found = _means(original, scorers, seed, ("GA", "FGA"), "original labels")
    better = systems(folder, corrected=True)
    tell("logs: the same, corrected labels")
    found += _means(better, scorers, seed, ("PA", "FTA"), "corrected labels where there are any")
    tell(f"logs: {MIXED:,} lines of all of them, mixed")
    return [*found, *_speed(original, seed)]


def systems(folder: Path, *, corrected: bool) -> list[System]:
    """Those with the labels that are wished, the original ones for want of corrected ones.
    ``BadInput`` if there are none."""
    found = []
    for one in sorted(path for path in folder.iterdir() if path.is_dir()):
        paths = sorted(one.glob("*log_structured_corrected.csv")) if corrected else []
        for path in (paths or sorted(one.glob("*log_structured.csv")))[:1]:
            with path.open(encoding="utf-8", errors="replace", newline="") as file:
                rows = list(csv.DictReader(file))
            found.append(
                System(
                    name=one.name,
                    lines=tuple(row["Content"].replace("\n", " ") for row in rows),
                    groups=tuple(row["EventId"] for row in rows),
                    texts=tuple(row["EventTemplate"] for row in rows),
                )
            )
    if not found:
        raise BadInput(f"{folder} has no SYSTEM/*log_structured.csv")
    return found


def parse(system: System, scorers: Scorers) -> tuple[list[str], list[str]]:
    """The group and the template's text of each line, as ``opx score logs`` has them at the
    end of the file."""
    *rows, last = answers(scorers.logs, "".join(f"{line}\n" for line in system.lines).encode())
    table = last["templates"]

    def whole(id: str) -> str:
        while table[id]["parent"] is not None:
            id = table[id]["parent"]
        return id

    groups = [whole(row["template"]) for row in rows]
    return groups, [table[group]["text"] for group in groups]


def accuracy(groups: list[str], texts: list[str], system: System) -> Accuracy:
    """Of groups and texts, one a line, beside those of the system."""
    ours, theirs = _members(groups), _members(system.groups)
    wanted = {tuple(lines) for lines in theirs.values()}
    right = [lines for lines in ours.values() if tuple(lines) in wanted]
    reads = [same(a, b) for a, b in zip(texts, system.texts, strict=True)]
    every = len(ours) + len(theirs)
    return Accuracy(
        GA=sum(map(len, right)) / len(groups),
        FGA=2 * len(right) / every,
        PA=sum(reads) / len(groups),
        FTA=2 * sum(reads[lines[0]] for lines in right) / every,
    )


def same(text: str, other: str) -> bool:
    """Whether two templates read the same: whatever a placeholder is called, however many are
    in a row, however wide the space."""
    return _plain(text) == _plain(other)


def _plain(text: str) -> str:
    return " ".join(_ANY_IN_A_ROW.sub("<*>", _ANY.sub("<*>", text)).split())


def _members(groups: list[str] | tuple[str, ...]) -> dict[str, list[int]]:
    members = defaultdict(list)
    for line, group in enumerate(groups):
        members[group].append(line)
    return members


def _means(
    told: list[System], scorers: Scorers, seed: int, names: tuple[str, ...], labels: str
) -> list[Figure]:
    found = [accuracy(*parse(system, scorers), system) for system in told]
    weights = intervals.draws(len(told), seed)
    figures: list[Figure] = []
    for name in names:
        values = np.array([getattr(one, name) for one in found])
        measured = intervals.mean(values, weights)
        worst = int(values.argmin())
        must, aim = BOUNDS[name]
        figure = replace(
            measured.figure(f"log templates, {name}", digits=3),
            must=must,
            aim=aim,
            note=f"mean of {len(told)} systems, {labels}; the least is {told[worst].name} with"
            f" {values[worst]:.2f}",
        )
        source = "" if figures else anchors.LOGS_SOURCE
        figures.append(anchors.beside(figure, anchors.LOGS[name], measured, source))
    return figures


def mixed(told: list[System], many: int, seed: int) -> list[str]:
    """Lines of all systems in any order, every digit drawn anew, so that few come twice."""
    rng = np.random.default_rng(seed)
    lines = [line for system in told for line in system.lines]
    text = "\n".join(lines[number] for number in rng.integers(0, len(lines), many))
    codes = np.frombuffer(text.encode(), np.uint8).copy()
    digits = (codes >= ord("0")) & (codes <= ord("9"))
    codes[digits] = rng.integers(ord("0"), ord("9") + 1, int(digits.sum()), np.uint8)
    return codes.tobytes().decode().split("\n")


def _speed(told: list[System], seed: int) -> list[Figure]:
    """Each line has its template before the next is looked at."""
    lines = mixed(told, MIXED, seed)
    miner = Miner()
    began = time.process_time()
    for line in lines:
        miner.add(line)
    spent = time.process_time() - began
    true = sum(len(set(system.groups)) for system in told)
    return [
        Figure(
            name="log lines a second that get their template at once, one core",
            unit="/s",
            measured=int(MIXED / spent),
            anchor="Drain3 14,000, with masks 20,000",
            must="80,000/s",
            aim="200,000/s",
            note=f"{MIXED:,} lines mixed and with new digits, {len(set(lines)):,} of them distinct",
        ),
        Figure(
            name="log templates made of these, times the true number",
            unit="",
            measured=round(sum(1 for _ in miner.roots()) / true, 2),
            anchor="Drain3 7.0, with masks 5.8",
            must="2",
            aim="1.3",
            note=f"{true} true ones; theirs: lines of all 16 systems",
        ),
    ]
