# SPDX-License-Identifier: Apache-2.0

"""Which ill groups are one problem: the same trouble, felt along the dependencies.

Part of stage 3. A service that suffers from another is part of that one's trouble, so a
problem is named by its root: an ill group none of whose own dependencies is ill. The
answer is a function of the set of ill groups, so the order in which they were found ill
does not matter. Two roots under one caller stay two problems, and the caller is part of
the older one: that a caller feels both does not make them one. It must never connect
groups that no ``Service`` document connects.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeAlias

from opx.core.base import circles
from opx.core.base.time import Ms
from opx.core.correlate.episode import Group
from opx.core.ingest.services import Catalogue

Callees: TypeAlias = Callable[[Group], Iterable[Group]]
_Rank: TypeAlias = tuple[Ms, str, str]


@dataclass(frozen=True)
class Topology:
    """Who depends on whom, both ways, as the ``Service`` documents say."""

    callees: Mapping[Group, tuple[Group, ...]] = field(default_factory=dict)
    callers: Mapping[Group, tuple[Group, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, catalogue: Catalogue) -> Topology:
        callees: dict[Group, tuple[Group, ...]] = {}
        callers: dict[Group, list[Group]] = {}
        for service in catalogue.services.values():
            caller = Group(service.environment, service.name)
            named = [Group(service.environment, name) for name in service.depends_on]
            if named:
                callees[caller] = tuple(named)
            for callee in named:
                callers.setdefault(callee, []).append(caller)
        return cls(callees, {callee: tuple(those) for callee, those in callers.items()})

    @cached_property
    def rank(self) -> Mapping[Group, int]:
        """Of those in it: what a group depends on has a lower one than it, or the same where they
        go in a circle. Made when it is first asked for: a guard makes a topology and never does."""
        down = {group: self.below(group) for group in (*self.callees, *self.callers)}
        return {group: n for n, circle in enumerate(circles.circles(down)) for group in circle}

    def below(self, group: Group) -> tuple[Group, ...]:
        """What a group directly depends on."""
        return self.callees.get(group, ())

    def beneath(self, group: Group) -> frozenset[Group]:
        """All that a group depends on, directly or not; never itself."""
        return circles.reached([group], self.below) - {group}

    def hit_by(self, groups: Iterable[Group]) -> frozenset[Group]:
        """These, and all that depend on one of them, directly or not."""
        return circles.reached(groups, lambda one: self.callers.get(one, ()))

    def around(self, group: Group, ill: Callable[[Group], bool]) -> set[Group]:
        """The ill groups that are connected with one through ill groups, itself left out."""
        found: set[Group] = set()
        todo = [group]
        while todo:
            one = todo.pop()
            for other in (*self.callees.get(one, ()), *self.callers.get(one, ())):
                if other != group and other not in found and ill(other):
                    found.add(other)
                    todo.append(other)
        return found


def roots(ill: Mapping[Group, Ms], callees: Callees) -> dict[Group, Group]:
    """The root of every ill group. ``ill``: since when each is; ``callees``: what a group
    directly depends on, ill or not. Groups that depend on each other in a circle are one
    root, named by the one that was ill first (then by name)."""

    def rank(group: Group) -> _Rank:
        return ill[group], group.environment, group.service

    down = {group: [one for one in callees(group) if one in ill] for group in ill}
    root: dict[Group, Group] = {}
    for circle in circles.circles(down):
        below = [root[one] for group in circle for one in down[group] if one not in circle]
        oldest = min(below or circle, key=rank)
        root.update(dict.fromkeys(circle, oldest))
    return root
