# SPDX-License-Identifier: Apache-2.0

"""Fakes of the world outside: probes, actions, receivers and signatures, scripted by a test.

Each passes the contract suite its real adapter passes. They count what was asked of them,
so that a test can say "once" and mean it; nothing here touches anything.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from opx.core.base.reads import Answer, Probe
from opx.core.base.time import SECOND, Ms
from opx.core.decide.actions import ActionSpec, Blast, Undo
from opx.core.notify.notice import Notice
from opx.engine.ports import Clock, EffectKnown, Say, silent
from opx.errors import OpxError, Refused, Unavailable


@dataclass(frozen=True, slots=True)
class Told:
    """What a fake prober was told that an address answers."""

    ok: bool | None
    detail: str = ""
    after: Ms = 0


NOBODY = Told(None, "nobody said what this address answers")


class FakeProber:
    """``Prober``. ``say`` scripts it; ``asked`` counts the questions by address."""

    def __init__(self, clock: Clock) -> None:
        self.asked: Counter[str] = Counter()
        self._clock = clock
        self._script: dict[str, deque[Told]] = {}

    def say(self, address: str, *oks: bool | None, detail: str = "", after: Ms = 0) -> None:
        """From now on ``address`` answers these, one after the other, and the last for ever;
        each after that long."""
        self._script[address] = deque(Told(ok, detail, after) for ok in oks)

    async def ask(self, key: str, probe: Probe) -> Answer:
        self.asked[probe.address] += 1
        script = self._script.get(probe.address)
        told = NOBODY if not script else script.popleft() if len(script) > 1 else script[0]
        if told.after:
            await self._clock.sleep(told.after)
        return Answer(
            key=key,
            at=self._clock.now(),
            ok=told.ok,
            latency_ms=None if told.ok is None else 1.0,
            detail=told.detail,
        )


RESTART = ActionSpec(name="process.restart", undo=Undo.NOT_NEEDED, blast=Blast.PROCESS)


@dataclass(slots=True, kw_only=True)
class FakeAction:
    """``Action`` whose effect is a count. ``effects``: how often it took effect, by target.

    ``targets`` None: every target exists. ``hidden``: targets that cannot be seen now.
    ``failures``: what the next calls of ``apply`` raise, before any effect; ``lost``: what
    the next ones raise after it, as when an answer is lost. ``then`` is called with the
    target after each effect: where a scenario lets the world get well. ``slow``: how long an
    effect on a target takes.
    """

    spec: ActionSpec = RESTART
    targets: frozenset[str] | None = None
    hidden: set[str] = field(default_factory=set)
    failures: deque[OpxError] = field(default_factory=deque)
    lost: deque[OpxError] = field(default_factory=deque)
    slow: dict[str, Ms] = field(default_factory=dict)
    then: Callable[[str], None] = lambda _: None
    effects: Counter[str] = field(default_factory=Counter)
    keys: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    async def observe(self, target: str, inputs: dict[str, str]) -> dict[str, str]:
        if target in self.hidden or not self._exists(target):
            raise Unavailable(f"{target} cannot be seen")
        return {"effects": str(self.effects[target])}

    def happened(self, before: dict[str, str], now: dict[str, str]) -> EffectKnown:
        done = int(now["effects"]) - int(before["effects"])
        if done < 0:
            return EffectKnown.UNKNOWN
        return EffectKnown.YES if done else EffectKnown.NO

    async def apply(self, target: str, inputs: dict[str, str], key: str, say: Say = silent) -> str:
        if not self._exists(target):
            raise Refused(f"there is no {target}")
        if target in self.hidden:
            raise Unavailable(f"{target} does not answer")
        if self.failures:
            raise self.failures.popleft()
        if target in self.slow:
            await asyncio.sleep(self.slow[target] / SECOND)
        say(f"{self.spec.name} {target}")
        self.effects[target] += 1
        self.keys[target].append(key)
        self.then(target)
        if self.lost:
            raise self.lost.popleft()
        return f"{self.spec.name} {target}: done"

    def dry_run(self, target: str, inputs: dict[str, str]) -> str:
        return f"would do {self.spec.name} to {target}"

    def _exists(self, target: str) -> bool:
        return self.targets is None or target in self.targets


@dataclass(slots=True, kw_only=True)
class FakeReceiver:
    """``Receiver``. ``failures``: what the next deliveries raise. ``got``: what arrived."""

    name: str = "fake"
    failures: deque[Exception] = field(default_factory=deque)
    got: list[Notice] = field(default_factory=list)
    tries: int = 0

    async def deliver(self, notice: Notice) -> None:
        self.tries += 1
        if self.failures:
            raise self.failures.popleft()
        self.got.append(notice)


@dataclass(frozen=True, slots=True)
class PlainSigner:
    """``Signer`` and ``Verifier`` with a shared word instead of keys. For tests only."""

    word: str = "a test's own word"

    def sign(self, message: bytes) -> str:
        return hmac.digest(self.word.encode(), message, hashlib.sha256).hex()

    def genuine(self, message: bytes, signature: str) -> bool:
        return hmac.compare_digest(self.sign(message).encode(), signature.encode(errors="replace"))


PlainVerifier = PlainSigner
"""The same word on both sides."""
