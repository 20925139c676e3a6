# SPDX-License-Identifier: Apache-2.0

"""Silences, begun and ended by people. ``brain`` reads them and goes by them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from opx.core.base import canonical, ids
from opx.core.base.time import MINUTE, Ms
from opx.core.correlate import silences
from opx.core.correlate.silences import Silence
from opx.core.ingest import masking
from opx.engine import journal, queries
from opx.engine.people.once import Ask, Desk
from opx.engine.ports import WriteTx
from opx.errors import BadInput, IllegalChange

Plain = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quiet:
    """What somebody wants not to hear of: see ``Silence``; ``span``: for how long from now."""

    reason: str
    span: Ms
    environment: str = ""
    service: str = ""
    rule: str = ""


@dataclass(frozen=True, slots=True)
class Silences:
    desk: Desk

    async def add(self, ask: Ask, quiet: Quiet) -> Plain:
        """Begin one. What is open already stays open."""
        if quiet.span < silences.SHORTEST:
            raise BadInput(f"a silence is for {silences.SHORTEST // MINUTE} minute at least")

        def do(tx: WriteTx, now: Ms) -> Plain:
            silence = Silence(
                id=ids.derived("silence", now, self.desk.clock.entropy(16).hex()),
                by=ask.by.name,
                reason=masking.text(quiet.reason),
                starts_at=now,
                ends_at=now + quiet.span,
                environment=quiet.environment,
                service=quiet.service,
                rule=quiet.rule,
            )
            tx.save(silence)
            tx.append(journal.entry(now, silence.id, "silence.began", ask.by.name, silence=silence))
            return dict(canonical.plain(silence))

        return await self.desk.once(ask, "silence", {"quiet": quiet}, do)

    async def end(self, ask: Ask, id: str) -> Plain:
        """End one before its time. ``IllegalChange`` when it is over."""

        def do(tx: WriteTx, now: Ms) -> Plain:
            found = queries.find_one(tx, Silence, id)
            ask.still(found.version)
            if not found.holds(now):
                raise IllegalChange("end is not possible while a silence is over; possible: add")
            ended = replace(found, ends_at=now, ended_by=ask.by.name, version=found.version + 1)
            tx.save(ended)
            tx.append(journal.entry(now, ended.id, "silence.ended", ask.by.name, was=found))
            return dict(canonical.plain(ended))

        return await self.desk.once(ask, "silence.end", {"silence": id}, do)
