# SPDX-License-Identifier: Apache-2.0

"""``System``: a service graph drawn at random, with what each node and each call is like.

The ground that faults are put on. Names say nothing about places in the graph. Nodes are in
topological order; the few calls that go back up are kept apart. It must never know what
reads its cases.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.random import Generator

LEAST, MOST = 5, 40
"""Nodes of a graph."""


class Role(StrEnum):
    ENTRY = "entry"
    SERVICE = "service"
    STORE = "store"
    EXTERNAL = "external"


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """``own_ms``: its own work for one request when idle. ``busy``: the share of its capacity
    that usual load takes, 0 to 1. ``noise``: the spread (sigma of the logarithm) of what its
    latency is measured as. ``parallel``: it makes its calls at once rather than in turn."""

    name: str
    role: Role
    own_ms: float
    busy: float
    noise: float
    parallel: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """``often``: calls for each request of the caller. ``essential``: the share of failed
    calls that fail the caller's request too. ``retries``: tries beyond the first. ``patience``:
    after so many times the usual latency it times out."""

    caller: int
    callee: int
    often: float
    essential: float
    retries: int
    patience: float


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """``calls``: caller before callee, sorted by caller. ``back``: (caller, callee) that close
    cycles: so rare that nothing flows along them. ``demand``: requests a second that users
    send to each node (0 but for entries)."""

    nodes: tuple[Node, ...]
    calls: tuple[Call, ...]
    back: tuple[tuple[int, int], ...]
    demand: tuple[float, ...]

    def reach(self, start: int) -> set[int]:
        """The nodes that a request to ``start`` can touch, itself included."""
        found = {start}
        for call in self.calls:
            if call.caller in found:
                found.add(call.callee)
        return found

    def callers(self, node: int) -> list[int]:
        return [call.caller for call in self.calls if call.callee == node]

    def graph(self) -> dict[str, list[str]]:
        """{caller: [callee]} by name, cycles included."""
        names = [node.name for node in self.nodes]
        found: dict[str, list[str]] = {name: [] for name in names}
        for caller, callee in [(c.caller, c.callee) for c in self.calls] + list(self.back):
            found[names[caller]].append(names[callee])
        return found


def draw(rng: Generator, *, retrying: bool, shared: bool) -> System:
    """A system of ``LEAST`` to ``MOST`` nodes. ``retrying``: most calls are tried again.
    ``shared``: some nodes are called from many places."""
    size = int(np.exp(rng.uniform(np.log(LEAST), np.log(MOST + 1))))
    entries = min(int(rng.integers(1, 4)), size // 4 + 1)
    pairs = _pairs(rng, size, entries, shared)
    leaves = set(range(size)) - {caller for caller, _ in pairs}
    labels = rng.permutation(size)
    nodes = tuple(
        _node(rng, f"svc-{labels[i]:02d}", _role(rng, i < entries, i in leaves))
        for i in range(size)
    )
    calls = tuple(_call(rng, *pair, retrying) for pair in sorted(pairs))
    back: tuple[tuple[int, int], ...] = ()
    if rng.random() < 0.2:
        caller, callee = sorted(pairs)[int(rng.integers(len(pairs)))]
        back = ((callee, caller),)
    demand = [float(np.exp(rng.uniform(0, 4))) if i < entries else 0.0 for i in range(size)]
    return System(nodes=nodes, calls=calls, back=back, demand=tuple(demand))


def _pairs(rng: Generator, size: int, entries: int, shared: bool) -> set[tuple[int, int]]:
    """Every node that is no entry has a caller; entries call something."""
    pairs = {(int(rng.integers(max(0, i // 3 - 1), i)), i) for i in range(entries, size)}
    for i in range(entries):
        if not any(caller == i for caller, _ in pairs):
            pairs.add((i, int(rng.integers(entries, size))))
    for _ in range(size // 4):
        low, high = sorted(int(i) for i in rng.choice(size, 2, replace=False))
        if high >= entries:
            pairs.add((low, high))
    if shared:
        for _ in range(1 + size // 15):
            hub = int(rng.integers(max(entries, size // 2), size))
            for caller in rng.choice(hub, min(hub, 2 + size // 8), replace=False):
                pairs.add((int(caller), hub))
    return pairs


def _role(rng: Generator, entry: bool, leaf: bool) -> Role:
    if entry:
        return Role.ENTRY
    if not leaf:
        return Role.SERVICE
    return (Role.SERVICE, Role.STORE, Role.EXTERNAL)[int(rng.choice(3, p=(0.3, 0.5, 0.2)))]


def _node(rng: Generator, name: str, role: Role) -> Node:
    return Node(
        name=name,
        role=role,
        own_ms=float(np.exp(rng.uniform(np.log(1), np.log(80)))),
        busy=float(rng.uniform(0.1, 0.5)),
        noise=float(np.exp(rng.uniform(np.log(0.02), np.log(0.3)))),
        parallel=bool(rng.random() < 0.3),
    )


def _call(rng: Generator, caller: int, callee: int, retrying: bool) -> Call:
    return Call(
        caller=caller,
        callee=callee,
        often=float(np.exp(rng.uniform(np.log(0.1), np.log(3)))),
        essential=1.0 if rng.random() < 0.7 else float(rng.uniform(0, 0.3)),
        retries=int(rng.integers(1, 4)) if rng.random() < (0.8 if retrying else 0.1) else 0,
        patience=float(rng.uniform(5, 40)),
    )
