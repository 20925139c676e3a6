# SPDX-License-Identifier: Apache-2.0

"""How a template reads: which pieces of its atoms are the same in every line seen so far.

Part of ``miner``. ``HOLE`` again marks what varies, by piece: ``core.2275`` beside
``core.862`` is ``core.`` and a hole. What can only be a value is a hole from the start, a
number in a word not before it was seen to differ. The conventions are those that are usual
for corrected templates: a piece of which a part varies is a hole as a whole, and so are
neighbours that a dot joins. It must never decide which lines belong together.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from opx.core.detect.logs import masking
from opx.core.detect.logs.masking import HOLE

WILDCARD = "<*>"

_PIECE = re.compile(r"((?:[.+@#$%&?=!*]|(?<!_)-)+)")
_SPLIT = re.compile(r"([.\-+@#$%&?=!*:/,\s]+)")
_FIELD = re.compile(r"[^:/,\s]+")
_WORD = re.compile(r"[A-Za-z]{2,}[0-9]{0,3}")
_PATH = re.compile(r"(?:\.{1,2}|~)?/(?![0-9]+\.[0-9]+\.[0-9]+\.[0-9]+)[^:]*")
_FUNCTION = re.compile(r"[A-Za-z_]\w*")
_NUMBER = re.compile(r"\w+")
_DATE = re.compile(r"(?:[A-Z][a-z]{2}\s){1,2}[0-9]+\s[0-9]+:")
_ADDRESS = re.compile(r"[^:]:[0-9]+$|^/?[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+\b")
_GROUPS = re.compile(r"[0-9a-fA-F]+(?:-[0-9a-fA-F]+){4}|[0-9a-fA-F]{0,4}(?::[0-9a-fA-F]{0,4}){4,}")
_DOTTED = re.compile(rf"{HOLE}(?:\.{HOLE})+")
_SIGNED = re.compile(rf"(?<![^\s,:])[+-]{HOLE}")
_NEIGHBOURS = re.compile(rf"{HOLE}(?:\s?{HOLE})+")
_NO_VALUE = frozenset(("true", "false", "null", "root", "admin"))
"""Words that stand for a value wherever they stand: a choice, nothing, the default account."""


def of(atom: str, value: str, after: str) -> str:
    """How an atom of the key reads where ``value`` was all that it ever stood for."""
    if atom != HOLE:
        return HOLE if value.lower() in _NO_VALUE else value
    if after[:1] == "(" and _FUNCTION.fullmatch(value):
        return value
    scheme, found, _ = value.partition("://")
    if found:
        return scheme + found + HOLE
    if _GROUPS.fullmatch(value):
        return HOLE
    if _PATH.match(value):
        return _tidy(_FIELD.sub(HOLE, _PATH.sub(HOLE, value)))
    if _ADDRESS.search(value):
        return _FIELD.sub(HOLE, value.lstrip("/"))
    if not value or value[1:3] == ":\\":
        return HOLE
    if _DATE.match(value):
        return _NEIGHBOURS.sub(HOLE, _tidy(_NUMBER.sub(HOLE, value)))
    return _FIELD.sub(_field, value)


def _field(found: re.Match[str]) -> str:
    """A part of a value between colons, slashes, commas and spaces."""
    pieces = _PIECE.split(found[0])
    words = [bool(_WORD.fullmatch(piece)) for piece in pieces[::2]]
    if any(words) and len(words) > 2:
        return HOLE
    pieces[::2] = [
        piece if word or not piece else HOLE for piece, word in zip(pieces[::2], words, strict=True)
    ]
    return _tidy("".join(pieces))


def both(one: str, other: str) -> str:
    """How an atom reads that read like ``one`` and like ``other``."""
    if one == other:
        return one
    first, second = _SPLIT.split(one), _SPLIT.split(other)
    if first[1::2] != second[1::2] or " " in one:
        return HOLE
    pieces = [a if a == b else HOLE for a, b in zip(first, second, strict=True)]
    return _tidy("".join(pieces))


def settled(atoms: Sequence[str], shown: Sequence[str]) -> bool:
    """Whether more lines of a template with these atoms cannot change how it reads."""
    return all(
        text == HOLE or (atom != HOLE and "0" not in atom)
        for atom, text in zip(atoms, shown, strict=True)
    )


def text(separators: Sequence[str], shown: Sequence[str]) -> str:
    """The template in words, ``<*>`` for what varies."""
    return masking.joined(separators, shown).replace(HOLE, WILDCARD)


def _tidy(shown: str) -> str:
    return _DOTTED.sub(HOLE, _SIGNED.sub(HOLE, shown))
