# SPDX-License-Identifier: Apache-2.0

"""Pages of what is listed newest first: by (time, id), so that what comes in between neither
repeats nor hides a row. Each range is read off one index."""

from __future__ import annotations

import base64
import binascii
import heapq
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from operator import attrgetter
from typing import Any, TypeVar

from opx.core.base.time import Ms
from opx.engine.ports import ReadTx, Where
from opx.engine.queries.one import Plain
from opx.errors import BadInput

R = TypeVar("R")
Place = tuple[Ms, str]
"""When, and the id of what came then: a page begins before it."""

BEYOND: Place = 1 << 62, ""
Ranges = Sequence[Sequence[Where]]
"""What to ask an index for, so that the answers together are what is listed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """``next``: the cursor of what follows, None at the end."""

    items: list[Plain]
    next: str | None


def newest(
    tx: ReadTx, kind: type[R], ranges: Ranges, by: str, before: Place, limit: int
) -> list[R]:
    """The newest of all ranges that come before that. ``by``: the field of their time."""
    place = attrgetter(by, "id")
    found: Iterable[R] = heapq.merge(
        *(_range(tx, kind, where, by, before, limit) for where in ranges), key=place, reverse=True
    )
    return list(islice(found, limit))


def _range(
    tx: ReadTx, kind: type[R], where: Sequence[Where], by: str, before: Place, limit: int
) -> Iterator[R]:
    at, id = before
    same = [Where(by, "eq", at), Where("id", "lt", id)]
    found = tx.find(kind, *where, *same, order="-id", limit=limit) if id else []
    yield from found
    if len(found) < limit:
        older = Where(by, "lt", at)
        yield from tx.find(kind, *where, older, order=f"-{by}", limit=limit - len(found))


def cursor(*place: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode()


def read(cursor: str) -> tuple[list[Any], Place]:
    """What stands before the place, and the place. ``BadInput`` if opx gave out no such cursor."""
    try:
        *more, at, id = json.loads(base64.urlsafe_b64decode(cursor.encode()))
    except (binascii.Error, ValueError, TypeError, RecursionError) as error:
        raise BadInput("this cursor was not given out by opx") from error
    if type(at) is not int or abs(at) >= 1 << 62 or not isinstance(id, str) or not id.isascii():
        raise BadInput("this cursor was not given out by opx")
    return more, (at, id)
