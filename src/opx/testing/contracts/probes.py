# SPDX-License-Identifier: Apache-2.0

"""What every ``Prober`` must do. Give each of ``CHECKS`` a ``Bench``."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from opx.core.base.reads import Probe
from opx.engine.ports import Clock, Prober


class Bench(Protocol):
    """A prober and something to ask. ``well`` answers yes; ``failing`` answers wrongly;
    ``refusing`` refuses the connection; ``silent`` accepts it and says nothing;
    ``nowhere`` cannot be asked at all."""

    prober: Prober
    clock: Clock
    well: Probe
    failing: Probe
    refusing: Probe
    silent: Probe
    nowhere: Probe


async def a_well_one_says_yes(bench: Bench) -> None:
    """Yes comes with its key, its instant and how long it took."""
    began = bench.clock.now()

    answer = await bench.prober.ask("health", bench.well)

    assert (answer.key, answer.ok) == ("health", True), answer
    assert began <= answer.at <= bench.clock.now(), answer
    assert answer.latency_ms is not None, answer
    assert answer.latency_ms >= 0, answer


async def a_wrong_answer_is_a_no(bench: Bench) -> None:
    """What answers, but wrongly, says no, and what it said is in the detail."""
    answer = await bench.prober.ask("k", bench.failing)

    assert (answer.ok, answer.detail) == (False, "status 500"), answer


async def a_refusal_is_a_no(bench: Bench) -> None:
    """What refuses the connection says no."""
    answer = await bench.prober.ask("k", bench.refusing)

    assert (answer.ok, answer.detail) == (False, "connection refused"), answer


async def silence_is_a_no(bench: Bench) -> None:
    """What is silent beyond the probe's timeout says no."""
    answer = await bench.prober.ask("k", bench.silent)

    assert answer.ok is False, answer
    assert answer.detail == f"timed out after {bench.silent.timeout} ms", answer


async def what_cannot_be_asked_is_neither(bench: Bench) -> None:
    """Neither yes nor no, without a latency, and with the reason in the detail."""
    answer = await bench.prober.ask("k", bench.nowhere)

    assert (answer.ok, answer.latency_ms) == (None, None), answer
    assert answer.detail, answer


async def many_questions_at_once_keep_their_keys(bench: Bench) -> None:
    """Questions put at the same time are answered each under its own key."""
    asked = {"a": bench.well, "b": bench.refusing, "c": bench.well, "d": bench.nowhere}

    answers = await asyncio.gather(*(bench.prober.ask(key, one) for key, one in asked.items()))

    found = {answer.key: answer.ok for answer in answers}
    assert found == {"a": True, "b": False, "c": True, "d": None}


CHECKS: tuple[Callable[[Bench], Awaitable[None]], ...] = (
    a_well_one_says_yes,
    a_wrong_answer_is_a_no,
    a_refusal_is_a_no,
    silence_is_a_no,
    what_cannot_be_asked_is_neither,
    many_questions_at_once_keep_their_keys,
)
