# SPDX-License-Identifier: Apache-2.0

"""How a template reads."""

from __future__ import annotations

import pytest

from opx.core.detect.logs import wording
from opx.core.detect.logs.masking import HOLE


def reads(value: str, after: str = " ") -> str:
    return wording.of(HOLE, value, after).replace(HOLE, "*")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("17", "*"),
        ("-17", "*"),
        ("1.4.1", "*"),
        ("10.0.0.7", "*"),
        ("10.0.0.7:80", "*:*"),
        ("/10.0.0.7:80", "*:*"),
        ("db-1.example.org:5432", "*:*"),
        ("07:07:00", "*:*:*"),
        ("2017-05-16", "*-*-*"),
        ("Fri Jun 17 07:07:00 2005", "*:*:*"),
        ("00:1a:2b:3c:4d:5e", "*"),
        ("0b7c6a52-9f0e-4c1d-8a3b-2f4e5d6c7b8a", "*"),
        ("/var/log/app.log", "*"),
        ("/src/mice.c:17", "*:*"),
        ("hdfs://name/a/b", "hdfs://*"),
        ("5.2 KB", "* KB"),
        ("core.2275", "core.*"),
        ("node-129", "node-*"),
        ("blk_-38865", "*"),
        ("attempt_14_0020_m_00_0", "*"),
        ("cp-1.slow.example.org", "*"),
    ],
)
def test_a_single_value_reads_by_its_pieces(value: str, expected: str) -> None:
    """What can only be a value is a hole, by parts that colons and dashes divide; a word that
    stands before a number stays."""
    assert reads(value) == expected


def test_a_function_is_called_by_its_name() -> None:
    """A name with a number in it stays where a bracket follows at once."""
    assert reads("jk2_init", "() ") == "jk2_init"


def test_a_choice_reads_as_a_value() -> None:
    """True, false, nothing and the default account are values wherever they stand."""
    assert [wording.of(word, word, " ") for word in ("true", "null", "root", "word")] == [
        HOLE, HOLE, HOLE, "word",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("eth0", "eth0", "eth0"),
        ("eth0", "eth1", "*"),
        ("core.*", "core.*", "core.*"),
        ("core.*", "dump.*", "*"),
        ("node-*", "rack-*", "*-*"),
        ("*:*", "*", "*"),
        ("* KB", "* B", "*"),
    ],
)
def test_what_differs_is_a_hole(one: str, other: str, expected: str) -> None:
    """Piece by piece where both have the same pieces, else as a whole."""
    both = wording.both(one.replace("*", HOLE), other.replace("*", HOLE))
    assert both.replace(HOLE, "*") == expected


def test_a_template_is_settled_once_only_holes_could_change() -> None:
    """Words cannot change, holes cannot, anything with a number still may."""
    assert wording.settled(("a", HOLE), ("a", HOLE))
    assert not wording.settled(("a", HOLE), ("a", "core." + HOLE))
    assert not wording.settled(("eth0",), ("eth1",))
