# SPDX-License-Identifier: Apache-2.0

"""The ``needs``/``step`` protocol: how a pure stage asks the world a question.

Beneath all stages. ``needs(state, now)`` returns reads, the engine fetches their answers,
``step(state, answers, now)`` goes on. Those that a Decision or a Verdict rests on are
journaled with it; those of a service's own health probe stand in its findings, as evidence.
A read is a value; only the engine performs it. An answer that could not be had says so
(``ok is None``): it is never turned into a yes or a no.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from opx.core.base.time import SECOND, Ms


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


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeRead:
    key: str
    probe: Probe


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back. ``ok``: True yes, False no, None "could not be asked"."""

    key: str
    at: Ms
    ok: bool | None
    value: float | None = None
    latency_ms: float | None = None
    detail: str = ""


Answers: TypeAlias = dict[str, Answer]
