# SPDX-License-Identifier: Apache-2.0

"""The template miner: every line gets the id of what it is a line of, at once.

Stage 2. A line whose skeleton is known costs a dictionary look-up; another is masked; a key
that is new becomes a template, or a part of an older one when there is evidence for that
(``merging``). An id never changes and is made of the template's first key, so that two
shards agree; of templates that became one the oldest stays, as the *parent* of the others.
The same lines give the same ids however they are cut into batches, and a state that was
saved goes on as if nothing had been. It must never forget without counting.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from opx.core.detect.logs import masking, wording
from opx.core.detect.logs.masking import HOLE
from opx.core.detect.logs.merging import Key, Siblings
from opx.core.ingest.masking import MASK

MOST_TEMPLATES = 8_192
"""Templates that are kept, with those that became part of another."""
MOST_KEYS = 16_384
"""Keys whose template is remembered; beyond that the templates' own only."""
MOST_SKELETONS = 16_384
"""Skeletons whose template is remembered. Only speed depends on it."""
CLOSE_READINGS = 32
"""So many lines of a template that look different are read closely, and one more at every
doubling of its lines. What has not varied by then hardly does."""


@dataclass(slots=True, eq=False)
class Template:
    """``number``: by age. ``first``: the key that it was made for. ``key``: what its lines have
    in common, less with every merge. ``shown``: its atoms as they read. ``count``: its lines,
    with those of what became part of it; ``use``: the same, where what is long ago counts
    less. ``read``: the skeletons of lines that were read closely, as CRC-32; ``next``: the count at
    which one more is."""

    id: str
    number: int
    first: str
    key: Key
    shown: list[str]
    count: int = 0
    use: int = 0
    read: list[int] = field(default_factory=list)
    next: int = 2
    parent: Template | None = None

    @property
    def text(self) -> str:
        """In words, ``<*>`` for what varies."""
        return wording.text(self.key[0], self.shown)

    def root(self) -> Template:
        """What it is part of by now, at the end of the chain of parents."""
        template = self
        while template.parent is not None:
            template = template.parent
        return template


@dataclass(slots=True)
class Miner:
    """``templates`` by number. ``made``, ``merged``, ``forgotten``: how many ever were. ``gone``:
    what was forgotten when there was no room the last time. ``joined``: what became part of
    another at the last line that had a key of its own."""

    templates: dict[int, Template] = field(default_factory=dict)
    made: int = 0
    merged: int = 0
    forgotten: int = 0
    most: int = MOST_TEMPLATES
    gone: list[Template] = field(default_factory=list)
    joined: list[Template] = field(default_factory=list)
    _by_key: dict[str, Template] = field(default_factory=dict)
    _by_skeleton: dict[bytes, Template] = field(default_factory=dict)
    _siblings: Siblings = field(default_factory=Siblings)

    def add(self, line: str) -> Template:
        """The template of a line, as far as it is known by now."""
        if MASK in line:  # what was a secret is a value that varies
            line = line.replace(MASK, "0")
        bones = masking.skeleton(line)
        template = self._by_skeleton.get(bones)
        if template is None:
            template = self._find(line, bones)
        while template.parent is not None:
            template = template.parent
        template.count += 1
        template.use += 1
        if template.count >= template.next:
            _look(template, line, bones)
            template.next = 2 * template.count
        return template

    def roots(self) -> Iterator[Template]:
        """The templates that are part of no other, the oldest first."""
        return (template for template in self.templates.values() if template.parent is None)

    def renames(self) -> dict[str, str]:
        """The ids of those that ``joined``, and of what they are part of: all that the line which
        changed ``merged`` has changed."""
        return {one.id: one.root().id for one in self.joined}

    def save(self) -> dict[str, Any]:
        """The state in its plain form."""
        return {
            "templates": [_row(template) for template in self.templates.values()],
            "keys": [[key, template.number] for key, template in self._by_key.items()],
            "made": self.made,
            "merged": self.merged,
            "forgotten": self.forgotten,
        }

    @classmethod
    def load(cls, saved: Mapping[str, Any], most: int = MOST_TEMPLATES) -> Miner:
        """What ``save`` gave, again."""
        counts = {name: saved[name] for name in ("made", "merged", "forgotten")}
        miner = cls(most=most, **counts)
        for row in saved["templates"]:
            separators, atoms = row["key"]
            values = {**row, "key": (tuple(separators), tuple(atoms)), "shown": list(row["shown"])}
            values["read"] = list(row["read"])
            miner.templates[row["number"]] = Template(**{**values, "parent": None})
        for row in saved["templates"]:
            if row["parent"] is not None:
                miner.templates[row["number"]].parent = miner.templates[row["parent"]]
        miner._by_key = {key: miner.templates[number] for key, number in saved["keys"]}
        miner._siblings = Siblings.of((one.key, one.number) for one in miner.roots())
        return miner

    def _find(self, line: str, bones: bytes) -> Template:
        """The template of a skeleton that is not known."""
        masked = masking.key(bones)
        template = self._by_key.get(masked)
        if template is None:
            template = self._new(masked, line, bones)
        else:
            _meet(template.root(), line, bones)
        if len(self._by_skeleton) >= MOST_SKELETONS:
            self._by_skeleton.clear()
        self._by_skeleton[bones] = template
        return template

    def _new(self, masked: str, line: str, bones: bytes) -> Template:
        """The template of a key that is not known."""
        if len(self.templates) >= self.most:
            self._forget()
        elif len(self._by_key) >= MOST_KEYS:
            self._own_keys()
        key = masking.parts(masked)
        number = self._siblings.covering(key)
        if number is not None:
            template = self._by_key[masked] = self.templates[number]
            _meet(template, line, bones)
            return template
        template = Template(
            id=hashlib.blake2b(masked.encode(), digest_size=8).hexdigest(),
            number=self.made,
            first=masked,
            key=key,
            shown=_shown(line, bones),
            read=[zlib.crc32(bones)],
        )
        self.made += 1
        self.templates[template.number] = self._by_key[masked] = template
        self._siblings.add(key, template.number)
        self._merge(template)
        return template

    def _merge(self, template: Template) -> None:
        """Make one of it and those that it is one with, until there are none."""
        self.joined = []
        while len(together := self._siblings.together(template.key)) > 1:
            template = self._one([self.templates[number] for number in together])
            name = masking.joined(*template.key)
            same = self._by_key.setdefault(name, template).root()
            if same is not template:  # what they have in common was a template already
                template = self._one(sorted((template, same), key=lambda one: one.number))

    def _one(self, together: list[Template]) -> Template:
        """The oldest of them, which comes first, with all the others in it."""
        oldest, *others = together
        for template in together:
            self._siblings.remove(template.key, template.number)
        for younger in others:
            _join(oldest, younger)
        self.merged += len(others)
        self.joined += others
        self._siblings.add(oldest.key, oldest.number)
        return oldest

    def _forget(self) -> None:
        """Make room for a quarter: what was of least use goes, with all that is part of it."""
        families: dict[int, list[Template]] = {}
        for template in self.templates.values():
            families.setdefault(template.root().number, []).append(template)
        self.gone = []
        for number in sorted(families, key=lambda number: (self.templates[number].use, number)):
            if len(self.templates) <= 3 * self.most // 4:
                break
            self.gone += families[number]
            root = self.templates[number]
            self._siblings.remove(root.key, number)
            for template in families[number]:
                del self.templates[template.number]
        self.forgotten += len(self.gone)
        for template in self.templates.values():
            template.use //= 2
        self._own_keys()

    def _own_keys(self) -> None:
        """Forget every key that is not a template's own."""
        self._by_key = {one.first: one for one in self.templates.values()}
        for one in self.roots():
            self._by_key.setdefault(masking.joined(*one.key), one)
        self._by_skeleton.clear()


def _join(older: Template, younger: Template) -> None:
    """The younger becomes part of the older."""
    younger.parent = older
    older.count += younger.count
    older.use += younger.use
    separators, atoms = older.key
    pairs = zip(atoms, younger.key[1], strict=True)
    older.key = separators, tuple(a if a == b else HOLE for a, b in pairs)
    older.shown = _both(older.shown, younger.shown)
    older.next = older.count + 1
    older.read = list(dict.fromkeys(older.read + younger.read))[:CLOSE_READINGS]


def _meet(template: Template, line: str, bones: bytes) -> None:
    """Read the first lines that look different closely. Which have been is kept, so that it
    makes no difference whether their skeletons still are."""
    known = zlib.crc32(bones)
    if len(template.read) < CLOSE_READINGS and known not in template.read:
        template.read.append(known)
        _look(template, line, bones)


def _look(template: Template, line: str, bones: bytes) -> None:
    """Read a line closely: what is not the same in it varies."""
    if not wording.settled(template.key[1], template.shown):
        template.shown = _both(template.shown, _shown(line, bones))


def _shown(line: str, bones: bytes) -> list[str]:
    masked, values = masking.read(line, bones)
    separators, atoms = masking.parts(masked)
    return [wording.of(*row) for row in zip(atoms, values, separators[1:], strict=True)]


def _both(one: list[str], other: list[str]) -> list[str]:
    return [wording.both(*pair) for pair in zip(one, other, strict=True)]


def _row(template: Template) -> dict[str, Any]:
    separators, atoms = template.key
    return {
        "id": template.id,
        "number": template.number,
        "first": template.first,
        "key": [list(separators), list(atoms)],
        "shown": list(template.shown),
        "count": template.count,
        "use": template.use,
        "read": list(template.read),
        "next": template.next,
        "parent": None if template.parent is None else template.parent.number,
    }
