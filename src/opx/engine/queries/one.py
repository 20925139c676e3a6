# SPDX-License-Identifier: Apache-2.0

"""What people see of one thing: found by its id, or by enough of its beginning."""

from __future__ import annotations

from typing import Any, TypeVar

from opx.core.incident.incident import Incident
from opx.engine.ports import ReadTx, Where
from opx.errors import BadInput, NotFound

R = TypeVar("R")

Plain = dict[str, Any]

SHORTEST_PREFIX = 4


def find_one(tx: ReadTx, kind: type[R], id: str) -> R:
    """The row with this id, or the only one whose id begins so. ``NotFound`` when there is
    none, ``BadInput`` when there are several."""
    exact = tx.get(kind, id)
    if exact is not None:
        return exact
    name = kind.__name__.lower()
    if len(id) < SHORTEST_PREFIX:
        raise NotFound(f"there is no {name} {id!r}", hint="at least 4 characters of its id")
    begins = [Where("id", "ge", id), Where("id", "lt", id + "\x7f")]
    found = tx.find(kind, *begins, order="id", limit=2)
    if not found:
        raise NotFound(f"there is no {name} {id!r}")
    if len(found) > 1:
        raise BadInput(f"several ids begin with {id!r}", hint="give more of it")
    return found[0]


def find_incident(tx: ReadTx, id: str) -> Incident:
    return find_one(tx, Incident, id)
