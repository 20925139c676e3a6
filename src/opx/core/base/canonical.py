# SPDX-License-Identifier: Apache-2.0

"""Canonical JSON: one byte string for one value, so that hashes mean something.

Beneath all stages. Keys sorted, no spaces, UTF-8, no NaN. Dataclasses, enums and tuples
are read as their plain JSON form. It never guesses: a type it does not know is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import lru_cache
from json.encoder import encode_basestring
from math import isfinite
from typing import Any

_AS_IT_IS = frozenset({str, int, float, bool, type(None)})


def plain(value: object) -> Any:
    """The JSON form of ``value``: dicts, lists, strings, numbers, booleans and None."""
    if type(value) in _AS_IT_IS:  # the usual case: ids are made on the hot path
        return value
    if isinstance(value, (list, tuple)):
        return [item if type(item) in _AS_IT_IS else plain(item) for item in value]
    if isinstance(value, dict):
        return _mapping(value)
    if isinstance(value, Enum):
        return value.value
    for kind in (str, int, float):  # a number of numpy's, or a text with a name
        if isinstance(value, kind):
            return kind(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {name: plain(getattr(value, name)) for name in _names(type(value))}
    if isinstance(value, Mapping):  # asked late: it is slow to tell
        return _mapping(value)
    if isinstance(value, (set, frozenset)):
        return sorted(plain(item) for item in value)
    raise TypeError(f"{type(value).__name__} has no canonical JSON form")


def _mapping(value: Mapping[Any, object]) -> dict[str, Any]:
    return {
        str(key): item if type(item) in _AS_IT_IS else plain(item) for key, item in value.items()
    }


@lru_cache(maxsize=256)
def _names(kind: type[Any]) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


def dumps(value: object) -> bytes:
    """Canonical JSON bytes of ``value``. ``ValueError`` on NaN or infinity."""
    return _json(value).encode()


def _json(value: object) -> str:
    """A third of what ``json.dumps`` takes, which makes an encoder for each value."""
    if type(value) is dict:
        named = _named(tuple(value))
        if named is None:
            return _json(plain(value))
        # Most of what stands in them is text: to look is cheaper than to call.
        items = [
            before + (encode_basestring(i) if type(i := value[name]) is str else _json(i))
            for name, before in named
        ]
        return "{" + ",".join(items) + "}"
    if type(value) is list or type(value) is tuple:
        items = [encode_basestring(i) if type(i) is str else _json(i) for i in value]
        return "[" + ",".join(items) + "]"
    write = _WRITTEN.get(type(value))
    return write(value) if write is not None else _json(plain(value))


@lru_cache(maxsize=256)
def _named(names: tuple[object, ...]) -> tuple[tuple[str, str], ...] | None:
    """These names in order, each with what stands before its value: the names of labels are few.
    None when one is no name."""
    named = [name for name in names if isinstance(name, str)]
    if len(named) < len(names):
        return None
    return tuple((name, encode_basestring(name) + ":") for name in sorted(named))


def _number(value: float) -> str:
    if not isfinite(value):
        raise ValueError(f"{value} is not JSON compliant")
    return float.__repr__(value)


_WRITTEN: dict[type, Callable[[Any], str]] = {
    str: encode_basestring,
    int: int.__repr__,
    float: _number,
    bool: {True: "true", False: "false"}.__getitem__,
    type(None): lambda _: "null",
}
