# SPDX-License-Identifier: Apache-2.0

"""Typed documents from a parsed tree with positions.

Beneath all stages. A wire parser (``opx.adapters.wires.documents`` for YAML) makes
``Node`` trees; each kind of document is bound to its dataclass by the stage that owns it,
with these readers. Every error names the file and line and, where it can, the fix. An
unknown field is an error: nothing in a document is ever silently ignored.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar

from opx.core.base import canonical, ids
from opx.core.base import time as opx_time
from opx.core.base.expressions import Expression
from opx.core.base.time import Ms
from opx.errors import DocumentError, ExpressionError

API_VERSION = "opx/v1"
NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,98}[a-z0-9])?")

E = TypeVar("E", bound=Enum)


@dataclass(frozen=True, slots=True)
class Node:
    """One value of a parsed document: a mapping, a list or a scalar, and where it stands."""

    value: dict[str, Node] | list[Node] | str | int | float | bool | None
    line: int
    source: str

    def wrong(self, message: str, hint: str = "") -> DocumentError:
        return DocumentError(message, source=self.source, line=self.line, hint=hint)

    def fields(self, required: Iterable[str] = (), optional: Iterable[str] = ()) -> dict[str, Node]:
        """A mapping with exactly these fields; the optional ones may be absent."""
        if not isinstance(self.value, dict):
            raise self.wrong("a mapping is expected here")
        needed = tuple(required)
        known = (*needed, *optional)
        for name, node in self.value.items():
            if name not in known:
                raise node.wrong(f"unknown field {name!r}", _meant(name, known))
        for name in needed:
            if name not in self.value:
                raise self.wrong(f"the field {name!r} is missing")
        return self.value

    def entries(self) -> dict[str, Node]:
        """A mapping with any keys."""
        if not isinstance(self.value, dict):
            raise self.wrong("a mapping is expected here")
        return self.value

    def items(self) -> list[Node]:
        if not isinstance(self.value, list):
            raise self.wrong("a list is expected here")
        return self.value

    def text(self, pattern: str = "", most: int = 2_000) -> str:
        if not isinstance(self.value, str):
            raise self.wrong(f"text is expected, not {self.value!r}", "put it in quotes")
        if len(self.value) > most:
            raise self.wrong(f"text is longer than {most} characters")
        if pattern and not re.fullmatch(pattern, self.value):
            raise self.wrong(f"{self.value!r} does not match {pattern}")
        return self.value

    def texts(self) -> tuple[str, ...]:
        return tuple(node.text() for node in self.items())

    def integer(self, least: int, most: int) -> int:
        if not isinstance(self.value, int) or isinstance(self.value, bool):
            raise self.wrong(f"a whole number is expected, not {self.value!r}")
        if not least <= self.value <= most:
            raise self.wrong(f"{self.value} is not within {least} to {most}")
        return self.value

    def number(self) -> float:
        if isinstance(self.value, bool) or not isinstance(self.value, (int, float)):
            raise self.wrong(f"a number is expected, not {self.value!r}")
        return float(self.value)

    def boolean(self) -> bool:
        if not isinstance(self.value, bool):
            raise self.wrong(f"true or false is expected, not {self.value!r}")
        return self.value

    def choice(self, options: type[E]) -> E:
        """A member of an enum, by value or, for numbered enums, by name in any case."""
        for member in options:
            same = type(self.value) is type(member.value) and self.value == member.value
            if same or str(self.value).upper() == member.name:  # True is 1, too, to ==
                return member
        raise self.wrong(
            f"{self.value!r} is not known here",
            "one of " + ", ".join(str(member.name).lower() for member in options),
        )

    def duration(self, least: Ms = 1, most: Ms = 366 * opx_time.DAY) -> Ms:
        try:
            span = opx_time.duration(self.text())
        except ValueError as error:
            raise self.wrong(str(error)) from error
        if not least <= span <= most:
            raise self.wrong(f"{self.value} is not within {least} ms to {most} ms")
        return span

    def expression(self, facts: Mapping[str, Any]) -> Expression:
        """CEL that may hold over facts like these: of these names and types, with anything in an
        empty mapping. Every ``when`` and ``expect`` is read by this."""
        try:
            found = Expression(self.text())
        except ExpressionError as error:
            raise self.wrong(str(error)) from error
        unknown = found.unknown(facts)
        if unknown is not None:
            path, known = unknown
            raise self.wrong(f"there is no {path!r}", _meant(path.rpartition(".")[2], known))
        never = found.never(facts)
        if never:
            raise self.wrong(never)
        return found

    def plain(self) -> object:
        """The tree as plain values."""
        if isinstance(self.value, dict):
            return {name: node.plain() for name, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value


def _meant(name: str, known: Iterable[str]) -> str:
    """What to write instead of a name that is not known."""
    names = tuple(known)
    close = difflib.get_close_matches(name, names, 1)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"known: {', '.join(names)}" if names else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One document: its envelope checked, its ``spec`` still to be bound by its kind's owner.

    ``root``: the whole of it. ``hash``: of the canonical JSON of kind, metadata and spec, so
    layout does not matter.
    """

    kind: str
    name: str
    labels: dict[str, str]
    root: Node
    spec: Node
    hash: str
    source: str
    line: int

    def at(self, *path: str) -> Node:
        """What stands in its envelope under these names: ``kind``, or ``metadata``, ``name``."""
        node = self.root
        for name in path:
            node = node.entries()[name]
        return node


def envelope(root: Node) -> Document:
    """Check ``apiVersion / kind / metadata / spec`` of one parsed document."""
    top = root.fields(("apiVersion", "kind", "metadata", "spec"))
    if top["apiVersion"].text() != API_VERSION:
        raise top["apiVersion"].wrong("this apiVersion is not known", f"write {API_VERSION}")
    metadata = top["metadata"].fields(("name",), ("labels", "owner", "severity", "tags"))
    labels = metadata["labels"].entries() if "labels" in metadata else {}
    content = [top["kind"].plain(), top["metadata"].plain(), top["spec"].plain()]
    try:
        hashed = ids.derived("document", canonical.plain(content))
    except ValueError as error:
        raise root.wrong("a number in it is not finite", "write a plain number") from error
    return Document(
        kind=top["kind"].text(),
        name=metadata["name"].text(NAME.pattern, 100),
        labels={name: node.text() for name, node in labels.items()},
        root=root,
        spec=top["spec"],
        hash=hashed,
        source=root.source,
        line=root.line,
    )
