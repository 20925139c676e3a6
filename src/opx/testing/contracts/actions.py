# SPDX-License-Identifier: Apache-2.0

"""What every ``Action`` must do. Give each of ``CHECKS`` a ``Bench`` of its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from opx.engine.ports import Action, EffectKnown
from opx.errors import OpxError, Unavailable


class Bench(Protocol):
    """An action, and a target on which it would take effect. ``effects`` counts, where the
    effect is felt, how often it did. ``missing``: a target that does not exist."""

    action: Action
    target: str
    missing: str

    async def effects(self) -> int: ...


async def it_says_what_it_is(bench: Bench) -> None:
    """An action has a dotted name, by which runbooks use it."""
    kind, _, verb = bench.action.spec.name.partition(".")

    assert kind, bench.action.spec
    assert verb, bench.action.spec


async def looking_changes_nothing(bench: Bench) -> None:
    """Observing twice shows the same, and that nothing happened in between."""
    count = await bench.effects()

    before = await bench.action.observe(bench.target)
    now = await bench.action.observe(bench.target)

    assert bench.action.happened(before, now) is EffectKnown.NO, (before, now)
    assert await bench.effects() == count


async def a_dry_run_only_talks(bench: Bench) -> None:
    """A dry run says one line and has no effect."""
    count = await bench.effects()
    before = await bench.action.observe(bench.target)

    line = bench.action.dry_run(bench.target, {})

    assert line, "a dry run must say something"
    assert "\n" not in line
    now = await bench.action.observe(bench.target)
    assert bench.action.happened(before, now) is EffectKnown.NO
    assert await bench.effects() == count


async def what_was_done_can_be_seen(bench: Bench) -> None:
    """After ``apply`` the effect is there, once, and two observations tell."""
    count = await bench.effects()
    before = await bench.action.observe(bench.target)

    line = await bench.action.apply(bench.target, {}, "order-1")

    assert line, "apply must tell what it did"
    now = await bench.action.observe(bench.target)
    assert bench.action.happened(before, now) is EffectKnown.YES, (before, now)
    assert await bench.effects() == count + 1


async def a_missing_target_cannot_be_seen_or_changed(bench: Bench) -> None:
    """On a target that does not exist, looking is ``Unavailable`` and acting an error."""
    try:
        await bench.action.observe(bench.missing)
    except Unavailable:
        pass
    else:
        raise AssertionError("a missing target must not be observable")
    try:
        await bench.action.apply(bench.missing, {}, "order-1")
    except OpxError:
        return
    raise AssertionError("acting on a missing target must be an error")


CHECKS: tuple[Callable[[Bench], Awaitable[None]], ...] = (
    it_says_what_it_is,
    looking_changes_nothing,
    a_dry_run_only_talks,
    what_was_done_can_be_seen,
    a_missing_target_cannot_be_seen_or_changed,
)
