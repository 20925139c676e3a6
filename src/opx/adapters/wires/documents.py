# SPDX-License-Identifier: Apache-2.0

"""YAML documents into trees that know their lines.

What ``opx apply`` and the packs read. Built from the parser's events and no object is
ever constructed: text, numbers, true, false and null, by YAML 1.2's core schema, so that
``on``, ``1:30`` and ``2026-01-01`` are text. Anchors, aliases, tags and merge keys are
refused; so nothing in a document means more than what is written there. Every error is a
``DocumentError`` with file and line.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import replace

import yaml

from opx.core.base import documents
from opx.core.base.documents import Document, Node
from opx.errors import DocumentError

MAX_BYTES = 256 << 10
MAX_DEPTH = 32

_WORDS: dict[str, bool | None] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip
_INTEGER = re.compile(r"[-+]?[0-9]{1,18}|0x[0-9a-fA-F]{1,15}|0o[0-7]{1,20}", re.ASCII)
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", re.ASCII)
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


def parse_yaml(text: str, source: str) -> list[Document]:
    """The documents in ``text``, empty ones left out, each with its envelope checked.

    ``source``: the file's name, for the errors. ``DocumentError`` for whatever is wrong.
    """
    if len(text.encode("utf-8", "replace")) > MAX_BYTES:
        raise DocumentError(f"more than {MAX_BYTES} bytes of YAML", source=source, line=1)
    try:
        roots = list(_roots(yaml.parse(text, Loader=yaml.CSafeLoader), source))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise DocumentError(f"not YAML: {error.problem}", source=source, line=line) from None
    except (yaml.YAMLError, UnicodeError) as error:
        said = str(error).partition("\n")[0]
        raise DocumentError(f"not YAML: {said}", source=source, line=1) from None
    return [documents.envelope(root) for root in roots if root.value is not None]


def _roots(events: Iterator[yaml.Event], source: str) -> Iterator[Node]:
    for event in events:
        if isinstance(event, yaml.NodeEvent):
            yield _node(event, events, _place(event, source), 0)


def _node(event: yaml.Event, events: Iterator[yaml.Event], place: Node, depth: int) -> Node:
    """The value that begins with ``event``. ``place``: where its key or itself stands."""
    if not isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent) or event.anchor:
        raise place.wrong("anchors and aliases are not read", "write the value out")
    if event.tag is not None:
        raise place.wrong(f"tags such as {event.tag} are not read", "leave it out")
    if depth > MAX_DEPTH:
        raise place.wrong(f"nested deeper than {MAX_DEPTH}")
    if isinstance(event, yaml.ScalarEvent):
        return replace(place, value=_scalar(event, place))
    if isinstance(event, yaml.SequenceStartEvent):
        return replace(place, value=_sequence(events, place.source, depth + 1))
    return replace(place, value=_mapping(events, place.source, depth + 1))


def _place(event: yaml.Event, source: str) -> Node:
    return Node(None, event.start_mark.line + 1 if event.start_mark else 1, source)


def _sequence(events: Iterator[yaml.Event], source: str, depth: int) -> list[Node]:
    items = []
    for event in events:
        if isinstance(event, yaml.SequenceEndEvent):
            break
        items.append(_node(event, events, _place(event, source), depth))
    return items


def _mapping(events: Iterator[yaml.Event], source: str, depth: int) -> dict[str, Node]:
    values: dict[str, Node] = {}
    for event in events:
        if isinstance(event, yaml.MappingEndEvent):
            break
        # A value stands where its key does: that is the line a person looks for.
        place = _place(event, source)
        key = _node(event, events, place, depth).value
        if not isinstance(key, str) or key == "<<":
            raise place.wrong("a key must be text", "put it in quotes")
        if key in values:
            first = values[key].line
            raise place.wrong(f"the key {key!r} is already there", f"first in line {first}")
        values[key] = _node(next(events), events, place, depth)
    return values


def _scalar(event: yaml.ScalarEvent, place: Node) -> str | int | float | bool | None:
    text: str = event.value
    if not event.implicit[0]:  # in quotes, or a block of text
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text, 0) if text[1:2] in "xo" and text[0] == "0" else int(text)
    if _FLOAT.fullmatch(text):
        number = float(text)
        if math.isfinite(number):
            return number
    elif not _NOT_FINITE.fullmatch(text):
        return text
    raise place.wrong(f"{text[:40]!r} is not a finite number", "put it in quotes if it is text")
