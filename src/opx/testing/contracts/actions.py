# SPDX-License-Identifier: Apache-2.0

"""What every ``Action`` must do. Give each of ``CHECKS`` a ``Bench`` of its own; each of
``REMOTE`` where it is not the machine itself that answers for a target."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from opx.engine.ports import Action, EffectKnown
from opx.errors import OpxError, Unavailable


class Bench(Protocol):
    """An action, and a target on which it would take effect. ``effects`` counts, where the
    effect is felt, how often it did. ``missing``: a target that does not exist, as whoever
    answers for it says. ``inputs``: of a step that acts on a target; where the target itself is in
    them (a file), a bench names it by that."""

    action: Action
    target: str
    missing: str

    def inputs(self, target: str) -> dict[str, str]: ...

    async def effects(self) -> int: ...


class RemoteBench(Bench, Protocol):
    """``silent``: a target for which nobody answers."""

    silent: str


async def it_says_what_it_is(bench: Bench) -> None:
    """An action has a dotted name, by which runbooks use it."""
    kind, _, verb = bench.action.spec.name.partition(".")

    assert kind, bench.action.spec
    assert verb, bench.action.spec


async def looking_changes_nothing(bench: Bench) -> None:
    """Observing twice shows the same, and that nothing happened in between."""
    count = await bench.effects()

    before = await bench.action.observe(bench.target, bench.inputs(bench.target))
    now = await bench.action.observe(bench.target, bench.inputs(bench.target))

    assert bench.action.happened(before, now) is EffectKnown.NO, (before, now)
    assert await bench.effects() == count


async def a_dry_run_only_talks(bench: Bench) -> None:
    """A dry run says one line and has no effect."""
    count = await bench.effects()
    before = await bench.action.observe(bench.target, bench.inputs(bench.target))

    line = bench.action.dry_run(bench.target, bench.inputs(bench.target))

    assert line, "a dry run must say something"
    assert "\n" not in line
    now = await bench.action.observe(bench.target, bench.inputs(bench.target))
    assert bench.action.happened(before, now) is EffectKnown.NO
    assert await bench.effects() == count


async def what_was_done_can_be_seen(bench: Bench) -> None:
    """After ``apply`` the effect is there, once, and two observations tell."""
    count = await bench.effects()
    before = await bench.action.observe(bench.target, bench.inputs(bench.target))

    line = await bench.action.apply(bench.target, bench.inputs(bench.target), "order-1")

    assert line, "apply must tell what it did"
    now = await bench.action.observe(bench.target, bench.inputs(bench.target))
    assert bench.action.happened(before, now) is EffectKnown.YES, (before, now)
    assert await bench.effects() == count + 1


async def a_missing_target_cannot_be_seen_or_changed(bench: Bench) -> None:
    """On a target that does not exist, looking is ``Unavailable`` and acting another error:
    it certainly did not work, so nobody need look whether it did."""
    assert await _seeing(bench, bench.missing) is Unavailable
    failed = await _acting(bench, bench.missing)
    assert issubclass(failed, OpxError), failed
    assert not issubclass(failed, Unavailable), "Unavailable says that it may have worked"


async def no_answer_is_unavailable(bench: RemoteBench) -> None:
    """Where nobody answers, looking and acting are ``Unavailable``: what was asked for may
    yet have happened, and is looked for."""
    assert await _seeing(bench, bench.silent) is Unavailable
    assert await _acting(bench, bench.silent) is Unavailable


async def _seeing(bench: Bench, target: str) -> type[Exception]:
    try:
        await bench.action.observe(target, bench.inputs(target))
    except OpxError as error:
        return type(error)
    raise AssertionError(f"{target} must not be observable")


async def _acting(bench: Bench, target: str) -> type[Exception]:
    try:
        await bench.action.apply(target, bench.inputs(target), "order-1")
    except OpxError as error:
        return type(error)
    raise AssertionError(f"acting on {target} must be an error")


CHECKS: tuple[Callable[[Bench], Awaitable[None]], ...] = (
    it_says_what_it_is,
    looking_changes_nothing,
    a_dry_run_only_talks,
    what_was_done_can_be_seen,
    a_missing_target_cannot_be_seen_or_changed,
)
REMOTE: tuple[Callable[[RemoteBench], Awaitable[None]], ...] = (*CHECKS, no_answer_is_unavailable)
