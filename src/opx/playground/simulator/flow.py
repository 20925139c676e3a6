# SPDX-License-Identifier: Apache-2.0

"""Requests through a system under strain: load downwards, latency and failures upwards.

A fluid model, step by step in time but all steps at once. Load makes queues (M/M/1: own work
over 1 - utilisation), queues make timeouts, timeouts make retries, and retries make load: a
few rounds of that are enough to show a retry storm.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from opx.playground.simulator.faults import Strain
from opx.playground.simulator.graphs import Call, System

Floats = NDArray[np.float64]

ROUNDS = 4
FULL = 0.97
"""Utilisation beyond which the queue no longer grows: requests are refused instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """Arrays (nodes, steps): requests a second, mean latency in ms, failed share (0 to 1),
    utilisation (0 to 1), requests a second that went astray from each node, and where a node
    is ``down`` (reports nothing) or ``mute`` (finishes nothing)."""

    load: Floats
    latency: Floats
    failed: Floats
    busy: Floats
    astray: Floats
    down: NDArray[np.bool_]
    mute: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Usual:
    """What a healthy system is like at its mean demand, one number a node."""

    load: Floats
    latency: Floats


def usual(system: System) -> Usual:
    """By the same passes, without queues growing or calls failing."""
    size = len(system.nodes)
    load = np.array(system.demand, dtype=float)
    for call in system.calls:
        load[call.callee] += load[call.caller] * call.often
    latency = np.zeros(size)
    for i in range(size - 1, -1, -1):
        node = system.nodes[i]
        waits = [latency[c.callee, None] * c.often for c in system.calls if c.caller == i]
        latency[i] = node.own_ms / (1 - node.busy) + _together(waits, node.parallel)[0]
    return Usual(load=load, latency=latency)


def run(system: System, demand: Floats, strain: Strain) -> Flow:
    """``demand`` (nodes, steps): requests a second that users send."""
    known = usual(system)
    capacity = np.maximum(known.load, 1e-6) / np.array([node.busy for node in system.nodes])
    size, steps = demand.shape
    latency = np.repeat(known.latency[:, None], steps, axis=1)
    failed = np.zeros((size, steps))
    room, demand = capacity[:, None] * strain.capacity, demand * strain.demand
    for _ in range(ROUNDS):
        load, astray = _loads(system, demand, strain, room, (latency, failed, known))
        busy = load / np.maximum(room, 1e-9)
        latency, failed = _answers(system, busy, strain, known)
    return Flow(
        load=load,
        latency=latency,
        failed=failed,
        busy=np.minimum(busy, 1),
        astray=astray,
        down=strain.down,
        mute=strain.mute,
    )


def _loads(
    system: System,
    demand: Floats,
    strain: Strain,
    room: Floats,
    before: tuple[Floats, Floats, Usual],
) -> tuple[Floats, Floats]:
    latency, failed, known = before
    load, astray = demand.copy(), np.zeros_like(demand)
    for call in system.calls:
        # what is refused is not worked on, so it calls nobody
        taken = np.minimum(load[call.caller], FULL * room[call.caller])
        sent = taken * _often(strain, call) * ~strain.down[call.caller]
        lost = strain.astray.get((call.caller, call.callee))
        if lost is not None:
            astray[call.caller] += sent * lost
            sent = sent * (1 - lost)
        bad = _bad(call, latency[call.callee], failed[call.callee], known)
        load[call.callee] += sent * _tries(bad, call.retries)
    return load, astray


def _answers(system: System, busy: Floats, strain: Strain, known: Usual) -> tuple[Floats, Floats]:
    """Latency and failed share, callees before callers."""
    latency, failed = np.zeros_like(busy), np.zeros_like(busy)
    calls: dict[int, list[Call]] = {}
    for call in system.calls:
        calls.setdefault(call.caller, []).append(call)
    for i in range(len(system.nodes) - 1, -1, -1):
        node = system.nodes[i]
        refused = np.clip(1 - FULL / np.maximum(busy[i], 1e-9), 0, 1)
        fails = 1 - (1 - strain.fail[i]) * (1 - refused)
        # a request that the node fails by itself is answered early
        own = node.own_ms * strain.slow[i] / (1 - np.minimum(busy[i], FULL)) * (1 - 0.6 * fails)
        waits, good = [], 1 - fails
        for call in calls.get(i, ()):
            bad = _bad(call, latency[call.callee], failed[call.callee], known)
            tries = _tries(bad, call.retries)
            most = call.patience * known.latency[call.callee]
            waits.append(np.minimum(latency[call.callee], most) * tries * _often(strain, call))
            lost = strain.astray.get((i, call.callee), np.zeros(1))
            ends_bad = 1 - (1 - lost) * (1 - bad ** (call.retries + 1))
            # at most one call: that share of requests depends on it; more: on each of them
            good = good * (1 - min(1.0, call.often) * call.essential * ends_bad) ** max(
                1.0, call.often
            )
        latency[i] = own + _together(waits, node.parallel)
        failed[i] = np.where(strain.down[i], 1.0, 1 - good)
        latency[i] = np.where(strain.down[i], 1.0, latency[i])
    return latency, failed


def _bad(call: Call, latency: Floats, failed: Floats, known: Usual) -> Floats:
    """The share of calls that fail or time out. Latencies of single calls are taken to be
    exponential about their mean."""
    patience = call.patience * known.latency[call.callee]
    late = np.exp(-patience / np.maximum(latency, 1e-9))
    bad: Floats = np.clip(1 - (1 - failed) * (1 - late), 0, 1)
    return bad


def _often(strain: Strain, call: Call) -> Floats:
    return call.often * strain.often.get((call.caller, call.callee), np.ones(1))


def _tries(bad: Floats, retries: int) -> Floats:
    """Tries for each call: 1 + bad + bad^2 ..., ``retries`` of them beyond the first."""
    tries: Floats = np.sum([bad**i for i in range(retries + 1)], axis=0)
    return tries


def _together(waits: list[Floats], parallel: bool) -> Floats:
    """How long all calls take: the longest of them, or their sum."""
    if not waits:
        return np.zeros(1)
    together: Floats = np.max(waits, axis=0) if parallel else np.sum(waits, axis=0)
    return together
