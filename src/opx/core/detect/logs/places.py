# SPDX-License-Identifier: Apache-2.0

"""Where each template is known: what a merge has to touch, and nothing else.

Part of ``watch``. Whoever keeps ids of templates by the thousand keeps this beside them. It
must never be saved: it is made anew of what is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Renames = Mapping[str, str]
"""Ids of templates that became part of another, and of what they are part of now."""
Place = TypeVar("Place", str, tuple[str, str, str])


@dataclass(slots=True)
class Places(Generic[Place]):
    """The places of each id that has any, as the keys of a dictionary."""

    by_id: dict[str, dict[Place, None]] = field(default_factory=dict)

    def add(self, ids: Iterable[str], place: Place) -> None:
        for id in ids:
            self.by_id.setdefault(id, {})[place] = None

    def remove(self, ids: Iterable[str], place: Place) -> None:
        for id in ids:
            places = self.by_id[id]
            del places[place]
            if not places:
                del self.by_id[id]

    def of(self, ids: Iterable[str]) -> list[Place]:
        """The places of any of these, each once and in an order that does not depend on when
        they were added."""
        return sorted({place for id in ids for place in self.by_id.get(id, ())})
