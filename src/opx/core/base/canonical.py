# SPDX-License-Identifier: Apache-2.0

"""Canonical JSON: one byte string for one value, so that hashes mean something.

Beneath all stages. Keys sorted, no spaces, UTF-8, no NaN. Dataclasses, enums and tuples
are read as their plain JSON form. It never guesses: a type it does not know is an error.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import lru_cache
from typing import Any

_AS_IT_IS = frozenset({str, int, float, bool, type(None)})
# What ``plain`` made cannot be circular.
_encode = json.JSONEncoder(
    sort_keys=True,
    separators=(",", ":"),
    ensure_ascii=False,
    allow_nan=False,
    check_circular=False,
).encode


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
    if isinstance(value, (str, bool, int, float)):
        return value
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
    return _encode(plain(value)).encode()
