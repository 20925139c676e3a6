# SPDX-License-Identifier: Apache-2.0

"""What people do about an incident: take it on, give it to somebody, say something of it, end it.

Whatever changes it is carried out by ``brain``; what is only said of it is written here.
Every text is masked before anything keeps it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from opx.core.base import canonical, ids
from opx.core.base.time import Ms
from opx.core.incident.incident import Incident, ResolutionKind
from opx.core.ingest import masking
from opx.core.learn.outcome import Outcome, OutcomeKind
from opx.engine import journal, queries
from opx.engine.people.once import Ask, Desk
from opx.engine.ports import WriteTx
from opx.errors import Conflict

Plain = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Incidents:
    """``incident`` is everywhere an id, or enough of its beginning."""

    desk: Desk

    async def acknowledge(self, ask: Ask, incident: str) -> Plain:
        """Take it on: opx asks from now on before it acts on it."""
        return await self._through_brain(ask, "acknowledge", incident, {})

    async def assign(self, ask: Ask, incident: str, to: str) -> Plain:
        """Somebody is to see to it."""
        return await self._through_brain(ask, "assign", incident, {"to": masking.text(to)})

    async def merge(self, ask: Ask, incident: str, into: str) -> Plain:
        """It is the same trouble as another, which goes on for both."""
        other = await self.desk.store.read(lambda tx: queries.find_incident(tx, into))
        return await self._through_brain(ask, "merge", incident, {"into": other.id})

    async def resolve(self, ask: Ask, incident: str, kind: ResolutionKind, text: str) -> Plain:
        """It is over, whatever still fires, and this is what became of it."""
        body = {"resolution": kind.value, "text": masking.text(text)}
        return await self._through_brain(ask, "resolve", incident, body)

    async def close(self, ask: Ask, incident: str) -> Plain:
        """It has been looked at; nothing more becomes of it."""
        return await self._through_brain(ask, "close", incident, {})

    async def reopen(self, ask: Ask, incident: str, reason: str) -> Plain:
        """It is not over after all: a new one goes on for it, which ``incident`` names."""
        found = await self.desk.store.read(lambda tx: queries.find_incident(tx, incident))
        body = {"reason": masking.text(reason)}
        done = await self.desk.through_brain(ask, "reopen", found.id, body)
        return await self._as_it_is(done, Incident.id_after(found.id))

    async def comment(self, ask: Ask, incident: str, text: str) -> Plain:
        """Say something of it, for its timeline."""
        masked = masking.text(text)

        def do(tx: WriteTx, now: Ms) -> Plain:
            found = queries.find_incident(tx, incident)
            ask.still(found.version)
            tx.append(journal.entry(now, found.id, "incident.commented", ask.by.name, text=masked))
            return {"incident": found.id, "text": masked, "by": ask.by.name, "at": now}

        return await self.desk.once(ask, "comment", {"incident": incident, "text": masked}, do)

    async def outcome(self, ask: Ask, incident: str, said: dict[str, str]) -> Plain:
        """Record what an incident really was. Added to what was said before, never instead.

        ``said``: ``kind`` (an ``OutcomeKind``), ``cause``, ``fixed_by``, ``note``.
        """

        def do(tx: WriteTx, now: Ms) -> Plain:
            found = queries.find_incident(tx, incident)
            ask.still(found.version)
            outcome = Outcome(
                id=ids.derived("outcome", found.id, ask.by.name, now),
                incident=found.id,
                kind=OutcomeKind(said["kind"]),
                by=ask.by.name,
                at=now,
                cause=said.get("cause", ""),
                fixed_by=said.get("fixed_by", ""),
                note=said.get("note", ""),
            )
            if not tx.add(outcome):
                raise Conflict("you recorded one at this very moment")
            tx.append(
                journal.entry(now, found.id, "outcome.recorded", ask.by.name, outcome=outcome)
            )
            return dict(canonical.plain(outcome))

        return await self.desk.once(ask, "outcome", {"incident": incident, **said}, do)

    async def _through_brain(self, ask: Ask, verb: str, incident: str, body: Plain) -> Plain:
        found = await self.desk.store.read(lambda tx: queries.find_incident(tx, incident))
        done = await self.desk.through_brain(ask, verb, found.id, body)
        return await self._as_it_is(done, found.id)

    async def _as_it_is(self, done: Plain, id: str) -> Plain:
        """What was done, and how the incident stands now."""
        found = await self.desk.store.read(lambda tx: tx.get(Incident, id))
        now = {"status": found.status, "version": found.version} if found is not None else {}
        return {**done, "incident": id, **canonical.plain(now)}
