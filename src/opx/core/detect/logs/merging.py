# SPDX-License-Identifier: Apache-2.0

"""Which templates are one: the evidence that a place in them is variable.

Part of ``miner``. Templates that differ in one atom are siblings; how many different atoms
they need there before the place counts as variable depends on what stands around it: after
``=`` or in quotes few, among plain words many, and at the head of a line no number of words
is enough, because that is where a program says what it does. It must never look at how often
a line came: a rare template is one too.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from functools import lru_cache
from itertools import islice

from opx.core.detect.logs.masking import HOLE, NUMBERED

Atoms = tuple[str, ...]
Key = tuple[tuple[str, ...], Atoms]
"""Separators and atoms."""
Form = tuple[tuple[str, ...], Atoms]
"""Separators and the first atom, if there is one."""


class Place(IntEnum):
    """What a place in a template looks like; the value is how many different atoms it needs
    there to be variable."""

    NAME = 2
    """A dotted name: nobody writes one into every branch of a program."""
    CUED = 3
    """A word after a noun that has names, as in ``user root``."""
    FIELD = 4
    """After ``=``, in quotes, or a word with a number: often a value, sometimes a choice of two
    or three, which are three kinds of event then."""
    OBJECT = 5
    """A word after a preposition."""
    WORD = 6
    """Any other word. States and verbs come in fours and fives."""
    HEAD = 1 << 30
    """The first word."""


CROWD = 24
"""So many templates with one form are a crowd."""
_SIZES = frozenset(CROWD * 3**n // 2**n for n in range(16))

KEPT_WORDS = 3
"""Words that must be left of a template of which a plain word becomes variable."""

_NAME = re.compile(r"[\w$-]+(?:[./@]+[\w$-]+){2,}")
_CONSTANT = re.compile(r"[./@][A-Z][A-Z_]+$")
_NOUNS = frozenset((
    "user", "username", "account", "group", "host", "hostname", "node", "client", "server",
    "service", "domain", "device", "interface", "process", "program", "job", "task", "file",
    "database", "table", "queue", "topic", "named", "called",
))  # fmt: skip
"""What has names of its own."""
_PREPOSITIONS = frozenset(("at", "by", "for", "from", "in", "of", "on", "to", "with"))


def place(separators: tuple[str, ...], atoms: tuple[str, ...], at: int) -> Place:
    """What the place of one atom looks like."""
    atom, before, after = atoms[at], separators[at], separators[at + 1]
    if not atom.isalpha():  # most are letters only, and then it is neither of these
        if atom == HOLE or NUMBERED.fullmatch(atom):
            return Place.FIELD
        if _NAME.fullmatch(atom) and not _CONSTANT.search(atom):
            return Place.NAME if at else Place.FIELD
    if before.endswith("=") or (before[-1:] in ("'", '"') and after.startswith(before[-1])):
        return Place.FIELD
    if at == 0:
        return Place.HEAD
    if before in (" ", ": ") and atoms[at - 1].lower() in _NOUNS:
        return Place.CUED
    if before == " " and atoms[at - 1].lower() in _PREPOSITIONS:
        return Place.OBJECT
    return Place.WORD


@lru_cache(maxsize=16_384)
def _term(at: int, atom: str) -> int:
    digest = hashlib.blake2b(f"{at} {atom}".encode("utf-8", "replace"), digest_size=8).digest()
    return int.from_bytes(digest, "little")


@dataclass(slots=True)
class Siblings:
    """The keys of templates, by what is left of each without one atom (a 64-bit hash: among
    10^5 of them two are the same with probability 10^-9). ``by_rest``: the number of the
    template by the atom left out. ``by_bare``: those that are the same but for their fields.
    ``by_form``: the atoms of those with the same separators and the same first atom, the
    oldest first."""

    by_rest: dict[int, dict[str, int]] = field(default_factory=dict)
    by_bare: dict[Key, list[int]] = field(default_factory=dict)
    by_form: dict[Form, dict[int, Atoms]] = field(default_factory=dict)

    @classmethod
    def of(cls, keys: Iterable[tuple[Key, int]]) -> Siblings:
        """Those of these keys, with the numbers of their templates."""
        siblings = cls()
        for key, number in keys:
            siblings.add(key, number)
        return siblings

    def add(self, key: Key, number: int) -> None:
        atoms = key[1]
        for at, rest in enumerate(_rests(key)):
            self.by_rest.setdefault(rest, {})[atoms[at]] = number
        without = bare(key)
        if without != key:
            self.by_bare.setdefault(without, []).append(number)
        form = self.by_form.setdefault(_form(key), {})
        late = bool(form) and number < next(reversed(form))
        form[number] = atoms
        if late:
            self.by_form[_form(key)] = dict(sorted(form.items()))

    def remove(self, key: Key, number: int) -> None:
        atoms = key[1]
        for at, rest in enumerate(_rests(key)):
            one = self.by_rest.get(rest, {})
            if one.get(atoms[at]) == number:
                del one[atoms[at]]
                if not one:
                    del self.by_rest[rest]
        without = bare(key)
        numbers = self.by_bare.get(without, [])
        if number in numbers:
            numbers.remove(number)
            if not numbers:
                del self.by_bare[without]
        form = self.by_form.get(_form(key), {})
        if form.pop(number, None) is not None and not form:
            del self.by_form[_form(key)]

    def together(self, key: Key) -> list[int]:
        """The templates that the one with this key is one with, itself among them; else none."""
        separators, atoms = key
        words = _words(atoms)
        for at, rest in enumerate(_rests(key)):
            others = self.by_rest[rest]
            if len(others) > 1:
                left = words - _is_word(atoms[at])
                needed = place(separators, atoms, at)
                kept = KEPT_WORDS if needed >= Place.OBJECT else 1
                enough = len(others) >= needed and left >= kept
                if enough or (HOLE in others and left >= KEPT_WORDS):
                    return sorted(set(others.values()))
        alike = self.by_bare.get(bare(key), ())
        if len(alike) >= Place.FIELD:
            return sorted(alike)
        return _crowd(self.by_form[_form(key)])

    def covering(self, key: Key) -> int | None:
        """The oldest template that has a hole wherever it is not this key, else nothing."""
        form = self.by_form.get(_form(key), {})
        for number, atoms in islice(form.items(), 2 * CROWD):
            for ours, theirs in zip(key[1], atoms, strict=True):
                if ours != theirs and theirs != HOLE:
                    break
            else:
                if _words(atoms) >= KEPT_WORDS:
                    return number
        return None


@lru_cache(maxsize=256)
def bare(key: Key) -> Key:
    """The key with a hole for every field."""
    separators, atoms = key
    return separators, tuple(
        HOLE if place(separators, atoms, at) is Place.FIELD else atom
        for at, atom in enumerate(atoms)
    )


def _crowd(form: Mapping[int, Atoms]) -> list[int]:
    """Those of a form that are one because it is crowded: where most of its templates have an
    atom of their own the place is variable, and so two names in a line are found that are
    both new every time. Looked at whenever the crowd has grown by a half."""
    size = len(form)
    if size < CROWD or size not in _SIZES:
        return []
    free = [len(set(column)) > size // 2 for column in zip(*form.values(), strict=True)]
    groups: dict[Atoms, list[int]] = {}
    for number, atoms in form.items():
        rest = tuple(HOLE if at else atom for at, atom in zip(free, atoms, strict=True))
        groups.setdefault(rest, []).append(number)
    rest, most = max(groups.items(), key=lambda item: len(item[1]))
    enough = len(most) >= Place.WORD and _words(rest) >= KEPT_WORDS
    return sorted(most) if enough else []


def _form(key: Key) -> Form:
    return key[0], key[1][:1]


@lru_cache(maxsize=256)
def _rests(key: Key) -> list[int]:
    separators, atoms = key
    terms = [_term(at, atom) for at, atom in enumerate(atoms)]
    whole = sum(terms) + _term(-1, "\n".join(separators))
    return [(whole - term) * 131 + at for at, term in enumerate(terms)]


def _is_word(atom: str) -> bool:
    return len(atom) > 1 and atom.isalpha()


def _words(atoms: tuple[str, ...]) -> int:
    return sum(_is_word(atom) for atom in atoms)
