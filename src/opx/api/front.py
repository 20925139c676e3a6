# SPDX-License-Identifier: Apache-2.0

"""``Front``: what the HTTP side of opx works with, made once by the composition root.

It holds ports and the engine's people side. ``Live`` keeps what every request needs at hand
(tokens, mode, the journal's end) within a second of the store, so that none waits for it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

from opx.core.act.steps import Would
from opx.core.base.metrics import MetricAnswer, MetricQuery
from opx.core.base.time import SECOND, Ms
from opx.core.ingest.services import Catalogue
from opx.engine import queries
from opx.engine.access import Access, Refusals
from opx.engine.beats.case import Knowledge
from opx.engine.beats.health import BrainState
from opx.engine.documents import Check, Checked
from opx.engine.journal.audit import Anchor
from opx.engine.people import People
from opx.engine.ports import Clock, ReadTx, Store, StoredDocument
from opx.errors import Unavailable

BACK_OFF: Ms = SECOND
CALM_S = 0.05
"""A busy brain commits often; reading it all again so often is enough."""


class BrainLink(Protocol):
    """``front``'s line to ``brain``."""

    async def query(self, query: MetricQuery) -> MetricAnswer:
        """``BadInput`` when it cannot be answered like that, ``TooLarge`` when it asks for too
        much, ``Unavailable`` when brain does not answer."""
        ...

    async def state(self) -> BrainState | None:
        """How brain is, None when it does not answer."""
        ...


class Live:
    """What ``front`` knows by heart. ``automation`` is unknown, so halted, until it was read."""

    def __init__(self, store: Store, clock: Clock, access: Access) -> None:
        self.automation = "halted"
        self.newest = 0
        self.closing = False
        self._store = store
        self._clock = clock
        self._access = access
        self._news = asyncio.Event()

    async def refresh(self) -> None:
        """Read it all again and tell those who wait for news."""
        await self._access.refresh()
        self.automation, self.newest = await self._store.read(_known)
        self._tell()

    async def follow(self) -> None:
        """Refresh whenever any process has committed, until cancelled."""
        while True:
            try:
                if await self._store.changed(SECOND):
                    await self.refresh()
                    await asyncio.sleep(CALM_S)
                else:
                    self._access.still_fresh()
            except Unavailable:
                await self._clock.sleep(BACK_OFF)

    async def news(self, after: int, within: Ms) -> None:
        """Wait until the journal goes beyond ``after``, opx closes, or ``within`` has passed."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within / SECOND):
                while self.newest <= after and not self.closing:
                    await self._news.wait()

    def close(self) -> None:
        """Let every stream end: the server is stopping."""
        self.closing = True
        self._tell()

    def _tell(self) -> None:
        told, self._news = self._news, asyncio.Event()
        told.set()


@dataclass(slots=True, kw_only=True)
class Front:
    """``check`` and ``bind`` read documents; ``would`` says what an action would do; ``anchors``
    reads the journal's; ``exposition`` is opx's own metrics as Prometheus text; ``hands_alive``
    says whether ``hands`` runs, ``keeping`` whether the log took what was written to it last.
    ``allowed_hosts``: names besides loopback that may stand in ``Host``; ``*`` is any.
    ``behind_proxy``: browsers come over TLS, whatever arrives here. ``streams``: how many each
    token has open."""

    store: Store
    clock: Clock
    access: Access
    brain: BrainLink
    check: Check
    bind: Callable[[Sequence[StoredDocument]], Knowledge]
    would: Would
    anchors: Callable[[], Sequence[Anchor]]
    exposition: Callable[[], Awaitable[bytes]]
    hands_alive: Callable[[], bool]
    keeping: Callable[[], bool] = lambda: True
    allowed_hosts: tuple[str, ...] = ()
    behind_proxy: bool = False
    streams: Counter[str] = field(default_factory=Counter)
    live: Live = field(init=False)
    people: People = field(init=False)
    refusals: Refusals = field(init=False)
    _checker: Executor = field(init=False, default_factory=lambda: ThreadPoolExecutor(1))
    _binding: asyncio.Lock = field(init=False, default_factory=asyncio.Lock)
    _bound: tuple[tuple[tuple[str, str], ...], Knowledge] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.live = Live(self.store, self.clock, self.access)
        self.refusals = Refusals(self.store, self.clock)
        self.people = People(
            store=self.store,
            clock=self.clock,
            access=self.access,
            check=self.checked,
            knowledge=self.knowledge,
        )

    async def checked(
        self, text: str, source: str, known: Sequence[StoredDocument]
    ) -> Sequence[Checked]:
        """``check``, one text after the other in a thread of its own: one that takes long holds
        up those who teach opx, but nobody who has to stop it."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._checker, self.check, text, source, known)

    async def knowledge(self) -> Knowledge:
        """The documents in force, bound; bound again only when one has changed. One at a time:
        what was read before a change must not take the place of what was read after it."""
        async with self._binding:
            documents = await self.store.read(queries.stored_documents)
            version = tuple((document.id, document.hash) for document in documents)
            if self._bound is None or self._bound[0] != version:
                self._bound = version, await asyncio.to_thread(self.bind, documents)
            return self._bound[1]

    def catalogue(self) -> Catalogue:
        """That of ``knowledge`` as it was last asked for: at the start, and whenever somebody
        changed a document, before that was answered."""
        return self._bound[1].catalogue if self._bound else Catalogue()


def _known(tx: ReadTx) -> tuple[str, int]:
    return str(queries.automation(tx)["automation"]), queries.newest(tx)
