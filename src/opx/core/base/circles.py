# SPDX-License-Identifier: Apache-2.0

"""Which nodes of a graph depend on each other in a circle, and which can be reached.

For graphs of who depends on whom, in whatever stage. It must not care what the nodes are.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from typing import TypeVar

Node = TypeVar("Node", bound=Hashable)


def reached(starts: Iterable[Node], onward: Callable[[Node], Iterable[Node]]) -> frozenset[Node]:
    """These, and all that one comes to from them. ``onward``: where one comes to at once."""
    waiting = list(starts)
    seen = set(waiting)
    while waiting:
        for one in onward(waiting.pop()):
            if one not in seen:
                seen.add(one)
                waiting.append(one)
    return frozenset(seen)


def circles(down: Mapping[Node, Iterable[Node]]) -> Iterator[set[Node]]:
    """The strongly connected components, callees before their callers (Tarjan 1972),
    without recursion: a chain of dependencies may be long. ``down``: the callees of every
    node; each of them is a key too."""
    number: dict[Node, int] = {}
    low: dict[Node, int] = {}
    path: list[Node] = []
    on_path: set[Node] = set()
    for start in down:
        if start in number:
            continue
        walk = [(start, iter(down[start]))]
        while walk:
            node, rest = walk[-1]
            if node not in number:
                number[node] = low[node] = len(number)
                path.append(node)
                on_path.add(node)
            one = next(rest, None)
            if one is None:
                walk.pop()
                if walk:
                    caller = walk[-1][0]
                    low[caller] = min(low[caller], low[node])
                if low[node] == number[node]:
                    yield _cut(path, on_path, node)
            elif one not in number:
                walk.append((one, iter(down[one])))
            elif one in on_path:
                low[node] = min(low[node], number[one])


def _cut(path: list[Node], on_path: set[Node], head: Node) -> set[Node]:
    circle: set[Node] = set()
    while head not in circle:
        one = path.pop()
        on_path.discard(one)
        circle.add(one)
    return circle
