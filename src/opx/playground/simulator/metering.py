# SPDX-License-Identifier: Apache-2.0

"""What the monitoring shows of a flow: noise, small counts, gaps, and nodes nobody measures.

Turns the true state (``Flow``) into {node: {metric: values}} of the kind that a monitoring
system exports. It adds nothing that a fault would do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from opx.playground.simulator.flow import Flow
from opx.playground.simulator.graphs import Role, System

Floats = NDArray[np.float64]
Metrics = dict[str, Floats]

GHOST = "somewhere-else"
"""The node that calls gone astray arrive at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheme:
    """How a system is monitored. ``counts_errors``: failures as a count instead of a percentage
    of availability. ``processors``: utilisation too. ``unseen``: nodes that never report.
    ``gaps``: the share (0 to 1) of values that get lost."""

    counts_errors: bool
    processors: bool
    unseen: frozenset[int]
    gaps: float


def measure(
    rng: Generator, system: System, flow: Flow, scheme: Scheme, period_s: float
) -> dict[str, Metrics]:
    """Every node's metrics, each as long as the flow. NaN: not reported."""
    found: dict[str, Metrics] = {}
    for i, node in enumerate(system.nodes):
        if i not in scheme.unseen:
            metrics = _node(rng, system, flow, i, period_s)
            if not scheme.processors or node.role is Role.EXTERNAL:
                del metrics["cpu/Average"]
            del metrics["availability/Average" if scheme.counts_errors else "errors/Sum"]
            for values in metrics.values():
                values[rng.random(len(values)) < scheme.gaps] = np.nan
            found[node.name] = metrics
    lost = flow.astray.sum(axis=0)
    if lost.any():
        found[GHOST] = _ghost(rng.poisson(lost * period_s).astype(float), scheme)
    return found


def _node(rng: Generator, system: System, flow: Flow, i: int, period_s: float) -> Metrics:
    node, steps = system.nodes[i], flow.load.shape[1]
    requests = rng.poisson(flow.load[i] * period_s).astype(float)
    silent = requests == 0
    failed = rng.binomial(requests.astype(np.int64), np.clip(flow.failed[i] + 0.0005, 0, 1))
    # the fewer requests, the noisier their mean; part of the noise lasts from step to step
    spread = node.noise * (0.3 + 1 / np.sqrt(np.maximum(requests, 1)) * 3)
    noise = 0.7 * rng.standard_normal(steps) + 0.7 * _lasting(rng, steps)
    mean = flow.latency[i] * np.exp(spread * noise)
    tail = 1 + (1.5 + node.noise * 3) * np.exp(0.3 * spread * rng.standard_normal(steps))
    available = 100 * (1 - failed / np.maximum(requests, 1))
    busy = 100 * np.clip(flow.busy[i] * np.exp(0.05 * rng.standard_normal(steps)), 0, 1)
    metrics = {
        "latency/Average": np.where(silent, np.nan, mean),
        "latency/p50": np.where(silent, np.nan, mean * 0.8),
        "latency/p99": np.where(silent, np.nan, mean * tail),
        "availability/Average": np.where(silent, np.nan, available),
        "errors/Sum": failed.astype(float),
        "requests/Sum": requests,
        "cpu/Average": busy,
    }
    for name in ("latency/Average", "latency/p50", "latency/p99", "availability/Average"):
        metrics[name][flow.mute[i]] = np.nan
    metrics["errors/Sum"][flow.mute[i]] = 0
    return {name: np.where(flow.down[i], np.nan, values) for name, values in metrics.items()}


def _lasting(rng: Generator, steps: int) -> Floats:
    """Noise of unit spread with a memory of about five steps."""
    kept, drawn = 0.8, rng.standard_normal(steps)
    out = np.empty(steps)
    last = drawn[0]
    for i in range(steps):
        last = kept * last + np.sqrt(1 - kept**2) * drawn[i]
        out[i] = last
    return out


def _ghost(requests: Floats, scheme: Scheme) -> Metrics:
    """Every request to a wrong address fails at once."""
    silent = requests == 0
    metrics = {
        "latency/Average": np.where(silent, np.nan, 2.0),
        "requests/Sum": np.where(silent, np.nan, requests),
    }
    if scheme.counts_errors:
        metrics["errors/Sum"] = metrics["requests/Sum"]
    else:
        metrics["availability/Average"] = np.where(silent, np.nan, 0.0)
    return metrics
