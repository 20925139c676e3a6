# SPDX-License-Identifier: Apache-2.0

"""The ``needs``/``step`` protocol: how a pure stage asks the world a question.

Beneath all stages. ``needs(state, now)`` returns reads, the engine fetches their answers,
``step(state, answers, now)`` goes on. Those that a Decision or a Verdict rests on are
journaled with it; those of a service's own health probe stand in its findings, as evidence.
A read is a value; only the engine performs it. An answer that could not be had says so
(``ok is None``): it is never turned into a yes or a no.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from opx.core.base.time import SECOND, Ms, Window


class ProbeKind(StrEnum):
    HTTP = "http"
    TCP = "tcp"
    PROCESS = "process"


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One question put to a running thing.

    ``address``: a URL (http), ``host:port`` (tcp) or ``supervisor-url#program`` (process).
    HTTP answers yes on a status from 200 to 399; process on RUNNING.
    """

    kind: ProbeKind
    address: str
    timeout: Ms = SECOND


class Stat(StrEnum):
    COUNT = "count"
    AVG = "avg"
    MIN = "min"
    MAX = "max"
    SUM = "sum"
    P50 = "p50"
    P95 = "p95"
    P99 = "p99"
    RATE = "rate"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeRead:
    key: str
    probe: Probe


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricRead:
    """One number: ``stat`` over ``window`` of all series of ``metric`` that have ``labels``
    together. ``environment``, ``service`` and ``resource`` are labels of every series here."""

    key: str
    metric: str
    labels: dict[str, str] = field(default_factory=dict)
    window: Window
    stat: Stat


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesRead(MetricRead):
    """As many numbers as ``step`` fits into the window, oldest first."""

    step: Ms


Read: TypeAlias = ProbeRead | MetricRead


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back. ``ok``: True yes, False no, None "could not be asked". A number that was
    asked for is in ``value`` and ``ok`` is True; ``value`` None: no point to make it from. The
    numbers of a ``SeriesRead`` are in ``values``."""

    key: str
    at: Ms
    ok: bool | None
    value: float | None = None
    values: tuple[float | None, ...] = ()
    latency_ms: float | None = None
    detail: str = ""


Answers: TypeAlias = dict[str, Answer]
