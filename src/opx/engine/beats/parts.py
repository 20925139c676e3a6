# SPDX-License-Identifier: Apache-2.0

"""What the beats of ``brain`` work with, and the few things all three do.

A bag of ports and of the documents in force, made once by the composition root.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from opx.core.act.run import Run
from opx.core.base import ids
from opx.core.base.metrics import MetricQuery
from opx.core.base.reads import Answer, Answers, MetricRead, Read, SeriesRead
from opx.core.base.time import Ms
from opx.core.detect.predict.prediction import Happened
from opx.core.incident.incident import Incident
from opx.core.notify.notice import Delivery, DeliveryStatus, Notice
from opx.engine import journal
from opx.engine.beats.case import Knowledge
from opx.engine.ports import (
    Clock,
    Prober,
    Signer,
    StartRequest,
    Store,
    Telemetry,
    Where,
    Workflows,
    WriteTx,
)
from opx.errors import OpxError

ACTOR = "brain"
RESPOND = "respond"
RUN = "run"
POSITION = "sense"
"""What is saved under this name is how far the log was taken in, and what belongs to there."""
DETECTORS = "detectors"
"""And under this one, what is too large to be saved as often, with how far that goes."""
AT_ONCE = 20
"""Incidents that one segment responds to, in one commit: a storm opens them by the thousand."""


@dataclass(slots=True, kw_only=True)
class Parts:
    """``knowledge`` is replaced as a whole when documents change, and with it ``documents``, the
    digest of those in force. ``telemetry``: None where
    there is none to ask. ``protected``: targets that are opx's own. ``epoch``: begins anew
    with a restore. ``receivers``: by name. ``news``: what was done to services and kept, until
    the sense beat takes it."""

    store: Store
    clock: Clock
    prober: Prober
    workflows: Workflows
    signer: Signer
    knowledge: Knowledge
    telemetry: Telemetry | None = None
    documents: str = ""
    protected: frozenset[str] = frozenset()
    epoch: int = 1
    receivers: tuple[str, ...] = ()
    failpoint: Callable[[str], None] = lambda _: None
    news: deque[Happened] = field(default_factory=deque)

    def new_id(self, now: Ms) -> str:
        return ids.uuid7(now, self.clock.entropy(10))

    def acted(self) -> list[Happened]:
        """The news, which are none any more."""
        taken = list(self.news)
        self.news.clear()
        return taken

    async def ask(self, reads: Sequence[Read]) -> Answers:
        """Put all questions at once."""
        answers = await asyncio.gather(*(self._answer(read) for read in reads))
        return {answer.key: answer for answer in answers}

    async def _answer(self, read: Read) -> Answer:
        if not isinstance(read, MetricRead):
            return await self.prober.ask(read.key, read.probe)
        if self.telemetry is None:
            return Answer(key=read.key, at=self.clock.now(), ok=None, detail="no telemetry")
        try:
            found = await self.telemetry.query(_query(read))
        except OpxError as error:
            return Answer(key=read.key, at=self.clock.now(), ok=None, detail=str(error))
        values = tuple(bucket.value for bucket in found.results[0].buckets)
        at = self.clock.now()
        if isinstance(read, SeriesRead):
            return Answer(key=read.key, at=at, ok=True, values=values)
        return Answer(key=read.key, at=at, ok=True, value=values[0])

    def wake(self, tx: WriteTx, id: str, kind: str, **args: str) -> None:
        """Start a segment now."""
        self.workflows.start(StartRequest(id=id, kind=kind, args=args), tx)

    def respond_to(self, tx: WriteTx, incidents: Sequence[Incident], due: Ms | None = None) -> None:
        """Wake the respond beat for incidents, once per version of them; now, or when due."""
        for first in range(0, len(incidents), AT_ONCE):
            some = incidents[first : first + AT_ONCE]
            versions = [(incident.id, incident.version) for incident in some]
            request = StartRequest(
                id=f"{RESPOND}/{ids.derived(RESPOND, versions)}",
                kind=RESPOND,
                args={"incident": " ".join(incident.id for incident in some)},
                not_before=due,
            )
            self.workflows.start(request, tx)

    def go_on(self, tx: WriteTx, run: Run) -> None:
        """Wake a segment for a run when it is due, once per version of it. A segment that is
        at work goes on by itself; the sweep finds what a crash left behind."""
        request = StartRequest(
            id=f"{RUN}/{run.id}/{run.version}",
            kind=RUN,
            args={"run": run.id},
            not_before=run.due_at,
        )
        self.workflows.start(request, tx)

    def tell(self, tx: WriteTx, *notices: Notice) -> None:
        """Record notices and put them on their way to every receiver; each once, however often
        asked."""
        known = {one.id for one in tx.find(Notice, Where("id", "in", [n.id for n in notices]))}
        told = [notice for notice in notices if notice.id not in known]
        tx.add(*told)
        tx.append(
            *(
                journal.entry(
                    notice.at,
                    notice.about,
                    "notice.made",
                    ACTOR,
                    notice=notice.id,
                    edge=notice.edge,
                    title=notice.title,
                    text=notice.text,
                )
                for notice in told
            )
        )
        tx.add(
            *(
                Delivery(
                    id=ids.derived("delivery", notice.id, name),
                    notice=notice.id,
                    receiver=name,
                    status=DeliveryStatus.PENDING,
                    tries=0,
                    due_at=notice.at,
                )
                for notice in told
                for name in self.receivers
            )
        )


def _query(read: MetricRead) -> MetricQuery:
    """All its series together, in its steps or all of its window at once."""
    window = read.window
    return MetricQuery(
        metric=read.metric,
        labels=read.labels,
        window=window,
        step=read.step if isinstance(read, SeriesRead) else window.end - window.start,
        stat=read.stat,
    )
