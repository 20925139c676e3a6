# SPDX-License-Identifier: Apache-2.0
"""The log metrics, on groups made by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import BinaryIO

import pytest

from opx.bench.detect import templates
from opx.bench.detect.scorers import Scorers
from opx.bench.detect.templates import System


def system(groups: str, texts: list[str]) -> System:
    return System(name="s", lines=("",) * len(groups), groups=tuple(groups), texts=tuple(texts))


TRUE = system("aaabbc", ["up <*>"] * 3 + ["down"] * 2 + ["odd <*> <*>"])


@pytest.mark.parametrize(
    ("groups", "texts", "grouping", "f1", "reading", "both"),
    [
        ("xxxyyz", ["up <*>"] * 3 + ["down"] * 2 + ["odd <*> <*>"], 1, 1, 1, 1),
        # c joined to b: of three lines two read right, but only a is a right group of 2 + 3
        ("xxxyyy", ["up <*>"] * 3 + ["down"] * 3, 3 / 6, 2 / 5, 5 / 6, 2 / 5),
        # a torn apart: b and c are right groups of 4 + 3, and all lines read right
        ("xxwyyz", ["up <*>"] * 3 + ["down"] * 2 + ["odd <*> <*>"], 3 / 6, 4 / 7, 1, 4 / 7),
        # grouped right, a reads wrong
        ("xxxyyz", ["<*> <*>"] * 3 + ["down"] * 2 + ["odd <*> <*>"], 1, 1, 3 / 6, 4 / 6),
        # every line for itself: only c, alone in truth too, is right, of 6 + 3
        ("uvwxyz", ["no"] * 6, 1 / 6, 2 / 9, 0, 0),
    ],
    ids=["right", "joined", "torn", "misread", "alone"],
)
def test_accuracy_is_counted_by_lines_and_by_groups(
    groups: str, texts: list[str], grouping: float, f1: float, reading: float, both: float
) -> None:
    """Six lines of three true groups."""
    found = templates.accuracy(list(groups), texts, TRUE)

    told = (found.GA, found.FGA, found.PA, found.FTA)
    assert told == pytest.approx((grouping, f1, reading, both))


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("up <*>", "up  <NUM> ", True),
        ("<*><*>:<*>", "<ip>:<port>", True),
        ("up <*>", "up <*> <*>", False),
        ("a < b", "a < b", True),
        ("up", "Up", False),
    ],
)
def test_two_templates_read_the_same_but_for_their_placeholders(
    one: str, other: str, alike: bool
) -> None:
    """Names of placeholders, several side by side and space do not count; all else does."""
    assert templates.same(one, other) is alike


def joined(lines_in: BinaryIO, out: BinaryIO) -> None:
    """Gives each line an id; "b" turns out to be part of "c", which is part of "a"."""
    for line in lines_in.read().decode().splitlines():
        out.write(json.dumps({"template": line, "score": 0, "anomaly": False}).encode() + b"\n")
    parents = {"a": None, "b": "c", "c": "a"}
    table = {id: {"text": f"text {id}", "parent": parents[id]} for id in "abc"}
    out.write(json.dumps({"templates": table}).encode())


def test_a_line_belongs_to_what_its_template_became() -> None:
    """The group is that of the last parent."""
    scorers = Scorers(metrics=lambda a, b: 0, logs=joined, causes=lambda a, b: None)
    told = System(name="s", lines=("b", "a"), groups=("", ""), texts=("", ""))

    assert templates.parse(told, scorers) == (["a", "a"], ["text a", "text a"])


HEAD = "LineId,Content,EventId,EventTemplate\n"


def test_corrected_labels_come_before_original_ones_where_there_are_any(tmp_path: Path) -> None:
    """Only when they are wished; a system without them keeps its own."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        text = f'{HEAD}1,"a, b",E1,old\n'
        (tmp_path / name / f"{name}_2k.log_structured.csv").write_text(text)
    corrected = tmp_path / "one" / "one_2k.log_structured_corrected.csv"
    corrected.write_text(f'{HEAD}1,"a, b",E7,new\n')

    old, new = (templates.systems(tmp_path, corrected=wished) for wished in (False, True))

    assert [one.texts for one in old] == [("old",), ("old",)]
    assert [one.texts for one in new] == [("new",), ("old",)]
    assert (new[0].lines, new[0].groups) == (("a, b",), ("E7",))
