# SPDX-License-Identifier: Apache-2.0

"""What of a log line can only be a value, taken out of it: the first half of mining.

Stage 2, before ``miner``. A line becomes its *skeleton* (every run of digits is one ``0``,
a few passes in C: the key of the fast path), a skeleton becomes its *key* (every value is
one ``HOLE``), and a key is *atoms* between *separators*. It must never take longer than
linear time, whatever the line holds, and never look at more than ``CONSIDERED`` of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

HOLE = "\x00"
"""Stands where a value stood. A line's own NUL is read as a space."""
CONSIDERED = 2_048
"""Characters of a line that are looked at: a template is told by its beginning."""
MOST_ATOMS = 128
"""Atoms of a key that are looked at."""

_DIGITS = bytes.maketrans(b"123456789\x00", b"000000000 ")
_RUN = re.compile(r"[0-9]+")
_STOP = r"""\s"'()\[\]{}<>=,;|\x00"""  # what ends a word; `:` and `/` do so only sometimes
_UNIT = (
    r"(?:\s?(?:[KMGTP]i?B|[kmg]b|B|[kKMG]Hz|sec(?:ond)?s?|[mun]s)|[smhdkKMGCFVW%])"  # sizes, times
)
_NUMBER = rf"(?:[.,:/x_-]0)*{_UNIT}?(?![A-Za-z0-9_])"
_SURE = re.compile(
    # The first two lines let most positions of a line fail at once.
    rf"""
    (?<![\w.+-]) (?:
        # a quoted value of a key; nothing, in brackets of its own
        (?<==")[^"\x00]{{1,99}}(?=") | (?<=\s\()(?=\))
        # a date with a name in it
      | (?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)\s)?
        (?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)\s0\s0:0:0(?:\s0)?(?!\w)
        # a relative path, a URL, a path of Windows, a network address
      | (?:\.{{1,2}}|~)/[^{_STOP}:?]+(?![^{_STOP}:.])
      | [a-z][a-z0-9+.-]{{1,40}}://[^{_STOP}]*(?:=[^{_STOP}]*)*(?<![:.])
      | [A-Za-z]:\\[^{_STOP}:]+
      | [A-Za-z][\w-]*(?:\.[\w-]+)+:0(?![^{_STOP}])
        # hexadecimal: UUID, with digits and letters, letters alone, in groups
      | [0a-fA-F]{{1,8}}(?:-[0a-fA-F]{{1,4}}){{3}}-[0a-fA-F]{{1,12}}(?!\w)
      | (?=[a-fA-F]*0)(?=0*[a-fA-F])[0a-fA-F]{{4,}}(?!\w)
      | (?:[a-f]{{8,}}|[A-F]{{8,}})(?!\w)
      | [0a-fA-F]{{1,4}}(?::[0a-fA-F]{{0,4}}){{4,19}}(?!\w)
    )
    # a path, with the query and the protocol of a request; the root
  | /(?<![^{_STOP}:]/)(?:[^{_STOP}:?]*[^{_STOP}:?.])?
      (?:\?[^\s"<>\x00]*)?(?:\sHTTP/0\.0)?(?![^{_STOP}:.])
    # a number, a time, a version, an address, with its unit; "less than one second"
  | 0(?<![A-Za-z0-9_]0)(?:x[0-9a-fA-F]+|{_NUMBER})
  | [+-](?<![A-Za-z0-9_][+-])0{_NUMBER}
  | <(?<![\w.]<)0\s?(?:sec|ms|s)\b
    """,
    re.VERBOSE,
)
_MIXED = re.compile(
    r"""(?: (?<![^\s"'()\[\]{}<>=,;|:/]) | (?<=\.\.)(?!\.) )
        (?:(?!\.\.)[^\s"'()\[\]{}<>=,;|:/\x000])*
        [\x000] [^\s"'()\[\]{}<>=,;|:/]* (?<![.!?])""",
    re.VERBOSE,
)
NUMBERED = re.compile(r"[A-Za-z]{2,}0")
"""A word and a number, as in ``eth0``: the word may well be part of the template."""
_JOINED = re.compile(r"\x00(?:(?:,\s?|[.@:/\s])?\x00)*")
_ATOM = re.compile(
    r"""( [^\s"'()\[\]{}<>=,;|:.!?]+ (?: (?:\.(?!\.)|[!?])+ [^\s"'()\[\]{}<>=,;|:.!?]+ )* )""",
    re.VERBOSE,
)


def skeleton(line: str) -> bytes:
    """The line, in UTF-8, with every run of digits as one ``0`` and without NULs."""
    # As bytes, because `str.translate` takes ten times as long as all the rest of this.
    bones = line[:CONSIDERED].encode("utf-8", "replace").translate(_DIGITS)
    while b"00" in bones:
        bones = bones.replace(b"00", b"0")
    return bones


def key(bones: bytes) -> str:
    """The skeleton with every value as one ``HOLE`` and every space as one blank."""
    masked = _SURE.sub(HOLE, _spaced(bones))
    masked = _MIXED.sub(_mixed, masked)
    return _JOINED.sub(HOLE, masked)


def parts(masked: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The separators and the atoms of a key; one separator more than atoms."""
    found = _ATOM.split(masked, MOST_ATOMS)
    if _ATOM.search(found[-1]):
        found[-1] = " " + HOLE  # whatever is left over
    return tuple(found[::2]), tuple(found[1::2])


def joined(separators: Sequence[str], atoms: Sequence[str]) -> str:
    """The key that has these parts."""
    pieces = [separators[0]]
    for atom, separator in zip(atoms, separators[1:], strict=True):
        pieces += (atom, separator)
    return "".join(pieces)


def read(line: str, bones: bytes) -> tuple[str, list[str]]:
    """The key of a line, and what stood in its atoms: its words and its values."""
    taken: list[str] = []

    def take(found: re.Match[str]) -> str:
        taken.append(found[0])
        return HOLE

    masked = _SURE.sub(take, _spaced(bones))
    masked, taken = _again(_MIXED, masked, taken)
    masked, taken = _again(_JOINED, masked, taken)
    inside, runs = iter(taken), iter(_RUN.findall(line[:CONSIDERED]))
    atoms = parts(masked)[1]
    return masked, [_filled(next(inside) if atom == HOLE else atom, "0", runs) for atom in atoms]


def _spaced(bones: bytes) -> str:
    return " ".join(bones.decode().split())


def _mixed(found: re.Match[str]) -> str:
    return found[0] if NUMBERED.fullmatch(found[0]) else HOLE


def _again(pattern: re.Pattern[str], text: str, taken: list[str]) -> tuple[str, list[str]]:
    """One round of masking more, and what all the holes stand for after it."""
    before = iter(taken)
    after: list[str] = []

    def take(found: re.Match[str]) -> str:
        if NUMBERED.fullmatch(found[0]):
            return found[0]
        after.append(_filled(found[0], HOLE, before))
        return HOLE

    return pattern.sub(take, text), after


def _filled(text: str, mark: str, by: Iterator[str]) -> str:
    """``text`` with the next of ``by`` in the place of each ``mark``."""
    if mark not in text:
        return text
    first, *rest = text.split(mark)
    return first + "".join(next(by, "") + piece for piece in rest)
