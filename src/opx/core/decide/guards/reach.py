# SPDX-License-Identifier: Apache-2.0

"""Who depends on whom, all the way, by the ``Service`` documents.

Used by the guards that ask what a run may hit and what it would disturb. Each is one pass
over the catalogue. It must never connect services that no document connects.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from opx.core.correlate.episode import Group
from opx.core.correlate.problems import Topology
from opx.core.ingest.services import Catalogue


def callees(catalogue: Catalogue, group: Group) -> list[Group]:
    """What it directly depends on, in its own environment."""
    service = catalogue.services.get((group.environment, group.service))
    names = service.depends_on if service is not None else ()
    return [Group(group.environment, name) for name in names]


def beneath(catalogue: Catalogue, group: Group) -> frozenset[Group]:
    """All that it depends on, directly or not; never itself."""
    return _walk([group], lambda one: callees(catalogue, one)) - {group}


def hit_by(catalogue: Catalogue, groups: Iterable[Group]) -> frozenset[Group]:
    """These, and all that depend on one of them, directly or not."""
    callers = Topology.of(catalogue).callers
    return _walk(groups, lambda one: callers.get(one, ()))


def _walk(groups: Iterable[Group], onward: Callable[[Group], Iterable[Group]]) -> frozenset[Group]:
    waiting = list(groups)
    seen = set(waiting)
    while waiting:
        for one in onward(waiting.pop()):
            if one not in seen:
                seen.add(one)
                waiting.append(one)
    return frozenset(seen)
