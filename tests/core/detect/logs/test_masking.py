# SPDX-License-Identifier: Apache-2.0

"""What of a line is a value, and what is left."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opx.core.detect.logs import masking
from opx.core.detect.logs.masking import HOLE


def key(line: str) -> str:
    return masking.key(masking.skeleton(line)).replace(HOLE, "<*>")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("took 15 ms", "took <*>"),
        ("sent 5.2 KB", "sent <*>"),
        ("sent 17 B", "sent <*>"),
        ("lifetime <1 sec", "lifetime <*>"),
        ("lifetime 00:01:07", "lifetime <*>"),
        ("at -3", "at <*>"),
        ("to 10.0.0.7:8080", "to <*>"),
        ("to db.example.org:5432", "to <*>"),
        ("to ::ffff:1:2:3:4:5 now", "to ::<*> now"),
        ("mac 00:1a:2b:3c:4d:5e", "mac <*>"),
        ("id 0b7c6a52-9f0e-4c1d-8a3b-2f4e5d6c7b8a", "id <*>"),
        ("id 9f86d081884c7d65", "id <*>"),
        ("at 0xDEADbeef", "at <*>"),
        ("mask ffffffff", "mask <*>"),
        ("open /var/log/app.log", "open <*>"),
        ("open ./app.log", "open <*>"),
        ("open /", "open <*>"),
        ('"GET /a/b?c=d&e=f HTTP/1.1" 200', '"GET <*>" <*>'),
        ("from https://example.org/a?b=c", "from <*>"),
        (r"from C:\Windows\x.dll", "from <*>"),
        ("on Fri Jun 17 07:07:00 2005", "on <*>"),
        ("blocks 1 2 3", "blocks <*>"),
        ("blocks 1, 2, 3", "blocks <*>"),
        ("block blk_-38865", "block <*>"),
        ("core.2275 written", "<*> written"),
        ('tag="View Lock" held', 'tag="<*>" held'),
        ("from somewhere () at noon", "from somewhere (<*>) at noon"),
        ("enable.......1", "enable.......<*>"),
    ],
)
def test_a_value_is_one_hole(line: str, expected: str) -> None:
    """Each class of value is taken out whole, with its unit and its port."""
    assert key(line) == expected


@pytest.mark.parametrize(
    "line", ["link eth0 is up", "main() returned", "deadline of the faded cafe", "it's done..."]
)
def test_a_word_stays(line: str) -> None:
    """Words are left alone, also those that a number or only letters of hexadecimal end."""
    assert key(line) == line


def test_a_skeleton_has_no_run_of_digits_and_no_nul() -> None:
    """Digits become one zero each run, whatever its length; NUL is a blank; the rest is kept."""
    assert masking.skeleton("a12345b\x00c7é") == "a0b c0é".encode()


def test_only_the_beginning_of_a_line_counts() -> None:
    """Lines that are the same in what is considered have the same skeleton."""
    line = "x" * masking.CONSIDERED
    assert masking.skeleton(line + "1 a") == masking.skeleton(line + " b")


def test_a_key_falls_into_atoms_and_separators() -> None:
    """There is one separator more than atoms, and together they are the key again."""
    separators, atoms = masking.parts("(a b=c.d). e")
    assert separators == ("(", " ", "=", "). ", "")
    assert atoms == ("a", "b", "c.d", "e")
    assert masking.joined(separators, atoms) == "(a b=c.d). e"


def test_what_is_beyond_the_most_atoms_is_one_hole() -> None:
    """A line of very many words is told by the first of them."""
    separators, atoms = masking.parts(" ".join("w" * (masking.MOST_ATOMS + 9)))
    assert len(atoms) == masking.MOST_ATOMS
    assert separators[-1] == " " + HOLE


def test_values_are_read_as_they_stood() -> None:
    """Beside the key come the words and the values, with all their digits, in order."""
    line = "node-129 took 5.2 KB of 10.0.0.7:80 in eth12. Next 3"
    masked, values = masking.read(line, masking.skeleton(line))
    assert masked.replace(HOLE, "*") == "* took * of * in eth0. Next *"
    assert values == ["node-129", "took", "5.2 KB", "of", "10.0.0.7:80", "in", "eth12", "Next", "3"]


@given(st.text(max_size=80) | st.text("a0f:./-_ =\"'()[]<>,|?!\x00%", max_size=80))
def test_reading_agrees_with_masking(line: str) -> None:
    """Whatever the line holds, its key is the same either way, and each atom has its value."""
    bones = masking.skeleton(line)
    masked, values = masking.read(line, bones)
    separators, atoms = masking.parts(masked)
    assert masked == masking.key(bones)
    assert len(values) == len(atoms) == len(separators) - 1
