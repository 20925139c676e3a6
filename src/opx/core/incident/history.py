# SPDX-License-Identifier: Apache-2.0

"""What the journal says of an incident's state, and the state that it says.

Beside the lifecycle. Whoever changes an incident journals in the same transaction what it was
that changed it, or else the fields that it changed (``changes``, as ``set``); putting these
together gives the incident again. A state is plain JSON, without what only counts writes
(``version``, ``updated_at``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from opx.core.base import canonical
from opx.core.incident.incident import Incident

State = dict[str, Any]

_COUNTS = ("version", "updated_at")


def state(incident: Incident) -> State:
    """Its state, as plain values."""
    return bare(canonical.plain(incident))


def bare(plain: Mapping[str, Any]) -> State:
    """The state in an incident's plain form."""
    return {name: value for name, value in plain.items() if name not in _COUNTS}


def changes(before: Incident, after: Incident) -> State:
    """The fields of its state that are other than before, as they are now."""
    return {
        name: canonical.plain(getattr(after, name))
        for name in Incident.__slots__
        if name not in _COUNTS and getattr(before, name) != getattr(after, name)
    }


def hash_of(state: State) -> str:
    """SHA-256, 64 hex digits, of the canonical JSON of a state."""
    return hashlib.sha256(canonical.dumps(state)).hexdigest()


def differences(one: State, other: State) -> dict[str, tuple[Any, Any]]:
    """The fields in which two states differ, each with both values (None: it is not there)."""
    names = dict.fromkeys((*one, *other))
    return {
        name: (one.get(name), other.get(name))
        for name in names
        if one.get(name) != other.get(name) or (name in one) != (name in other)
    }
