# SPDX-License-Identifier: Apache-2.0

"""What people may do about opx itself: automation, documents, approvals, breakers and tokens."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from opx.core.base.time import Ms
from opx.core.decide import grants, roles
from opx.core.decide.case import Approval, Automation, Breaker, Grant, Mode, Policy
from opx.core.decide.roles import Permission
from opx.engine import access, documents, journal, queries
from opx.engine.access import Access, Wanted
from opx.engine.beats.case import Knowledge
from opx.engine.documents import Checking
from opx.engine.people.incidents import Incidents
from opx.engine.people.once import Ask, Desk
from opx.engine.people.silences import Silences
from opx.engine.ports import Clock, Store, WriteTx
from opx.errors import Conflict, NotAllowed, NotFound


@dataclass(slots=True, kw_only=True)
class People:
    """``knowledge``: the documents in force, bound."""

    store: Store
    clock: Clock
    access: Access
    check: Checking
    knowledge: Callable[[], Awaitable[Knowledge]]
    desk: Desk = field(init=False)
    incidents: Incidents = field(init=False)
    silences: Silences = field(init=False)

    def __post_init__(self) -> None:
        self.desk = Desk(store=self.store, clock=self.clock)
        self.incidents = Incidents(self.desk)
        self.silences = Silences(self.desk)

    # ------------------------------------------------------------ automation

    async def halt(self, ask: Ask, scope: str, reason: str) -> dict[str, Any]:
        return await self._switch(ask, scope, reason, Automation.HALTED)

    async def resume(self, ask: Ask, scope: str, reason: str) -> dict[str, Any]:
        return await self._switch(ask, scope, reason, Automation.RUNNING)

    async def _switch(self, ask: Ask, scope: str, reason: str, to: Automation) -> dict[str, Any]:
        """Set the mode of a scope. A scope that covers nothing is ``NotFound``: a typo in a
        halt must not look like a halt."""
        if scope != "all" and scope not in scopes_of(await self.knowledge()):
            raise NotFound(
                f"nothing is covered by the scope {scope!r}",
                hint="all, environment/E, service/E/S or runbook/R, as in opx status",
            )

        def do(tx: WriteTx, now: Ms) -> dict[str, Any]:
            old = tx.get(Mode, scope)
            mode = Mode(
                id=scope,
                automation=to,
                by=ask.by.name,
                reason=reason,
                at=now,
                version=old.version + 1 if old else 1,
            )
            tx.save(mode)
            kind = f"automation.{'resumed' if to is Automation.RUNNING else 'halted'}"
            tx.append(
                journal.entry(now, "automation", kind, ask.by.name, scope=scope, reason=reason)
            )
            return {"scope": scope, "automation": to.value, "by": ask.by.name, "at": now}

        return await self.desk.once(ask, f"automation.{to}", {"scope": scope, "reason": reason}, do)

    async def grant(self, ask: Ask, grant: Grant) -> dict[str, Any]:
        """Let a runbook, as it is now, do something on a service's target, as it is now. Only
        ``id``, ``autonomy``, ``probation`` and ``expires_at`` are the asker's."""
        name, environment, service = grant.id.split("|")
        known = await self.knowledge()
        runbook, declared = known.runbook(name), known.service(environment, service)
        bound = grants.bound(grant, runbook, declared, self.clock.now())

        def do(tx: WriteTx, now: Ms) -> dict[str, Any]:
            old = tx.get(Grant, grant.id)
            given = replace(bound, by=ask.by.name, at=now, version=old.version + 1 if old else 1)
            tx.save(given)
            tx.append(journal.entry(now, grant.id, "grant.given", ask.by.name, grant=given))
            return queries.grant_view(given)

        ttl = grant.expires_at - grant.at if grant.expires_at else None
        terms = [grant.autonomy, grant.probation, ttl]
        request = {"grant": grant.id, "terms": terms}
        return await self.desk.once(ask, "grant", request, do)

    # ------------------------------------------------------------ documents

    async def apply_documents(self, ask: Ask, text: str, source: str) -> dict[str, Any]:
        """Apply every document of ``text``, or none. What is unchanged stays as it was. ``Stale``
        unless all that are kept are still as the asker read them, if that was said."""
        known = await self.store.read(queries.stored_documents)
        checked = await self.check(text, source, known)
        policy = (await self.knowledge()).policy
        looser = [name for one in checked for name in documents.loosened(policy, one)]
        await self._may_loosen(ask, looser)

        def do(tx: WriteTx, now: Ms) -> dict[str, Any]:
            current = documents.still(tx, known)
            ask.still(documents.state(current.values()))
            return {
                "applied": [
                    documents.put(
                        tx,
                        documents.stored(one, ask.by.name, now),
                        current.get(one.id),
                        documents.change(one, current.get(one.id)),
                    )
                    for one in checked
                ]
            }

        return await self.desk.once(ask, "apply", {"text": text}, do)

    async def delete_document(self, ask: Ask, id: str) -> dict[str, Any]:
        """Keep a document no longer. Without its policy opx goes by the defaults. ``Stale`` as
        ``apply_documents``."""
        known = await self.store.read(queries.stored_documents)
        in_force = await self.knowledge()
        if id.partition("/")[0] == documents.POLICY:
            await self._may_loosen(ask, grants.loosens(in_force.policy, Policy()))

        def do(tx: WriteTx, now: Ms) -> dict[str, Any]:
            current = documents.still(tx, known)
            document = documents.withdrawable(current.values(), id, in_force.catalogue)
            ask.still(documents.state(current.values()))
            return documents.withdraw(tx, document, ask.by.name, now)

        return await self.desk.once(ask, "delete", {"document": id}, do)

    async def _may_loosen(self, ask: Ask, looser: Sequence[str]) -> None:
        """What lets opx do more takes what a grant takes: ``NotAllowed`` without."""
        if looser and not roles.may(ask.by.roles, Permission.GRANT_AUTONOMY):
            what = f"loosen the policy: {', '.join(looser)}"
            entry = journal.entry(
                self.clock.now(), access.SUBJECT, "access.refused", ask.by.name, permission=what
            )
            await self.store.write(lambda tx: tx.append(entry))
            raise NotAllowed(f"{ask.by.name} may not {what}", hint="it takes who may grant")

    # ------------------------------------------------------------ tokens

    async def make_token(self, ask: Ask, wanted: Wanted) -> dict[str, Any]:
        """Make a token and return its secret, which is shown this once. Asking again with the
        same key is a ``Conflict`` therefore: the secret is not kept."""
        secret = access.new_secret(self.clock)
        token = access.new_token(secret, wanted, self.clock.now())

        def do(tx: WriteTx, now: Ms) -> dict[str, Any]:
            access.make(tx, token, ask.by.name, now)
            return {"id": token.id}

        made = await self.desk.once(ask, "token", {"wanted": wanted}, do)
        if made["id"] != token.id:
            raise Conflict("this token was made already and its secret is not kept: revoke it")
        await self.access.refresh()
        return {**access.view(token, self.clock.now()), "token": secret}

    async def revoke_token(self, ask: Ask, prefix: str) -> dict[str, Any]:
        """Revoke the one token whose id begins so. Revoking again changes nothing."""
        revoked = await self.desk.once(
            ask,
            "revoke",
            {"token": prefix},
            lambda tx, now: access.view(access.revoke(tx, prefix, ask.by.name, now), now),
        )
        await self.access.refresh()
        return revoked

    async def login_link(self, ask: Ask) -> str:
        """A one-time code that opens a session with the asker's own roles."""
        return await self.access.login_link(ask.by.token)

    async def log_out(self, ask: Ask) -> int:
        """End the asker's session; of a token, every session that was opened with it."""
        now = self.clock.now()
        ended = await self.store.write(lambda tx: access.log_out(tx, ask.by.token, now))
        await self.access.refresh()
        return ended

    # ------------------------------------------------------------ through brain

    async def answer(self, ask: Ask, run: str, approve: bool, reason: str) -> dict[str, Any]:
        """Approve or reject what waits for an answer. The answer binds the plan as it is now."""
        approval = await self.store.read(lambda tx: queries.find_one(tx, Approval, run))
        verb = "approve" if approve else "reject"
        body = {"plan": approval.plan, "reason": reason}
        return await self.desk.through_brain(ask, verb, approval.id, body)

    async def close_breaker(self, ask: Ask, breaker: str) -> dict[str, Any]:
        found = await self.store.read(lambda tx: tx.get(Breaker, breaker))
        if found is None:
            raise NotFound(f"there is no breaker {breaker!r}", hint="opx status lists them")
        return await self.desk.through_brain(ask, "close_breaker", found.id, {})


def scopes_of(knowledge: Knowledge) -> set[str]:
    """Every scope, besides ``all``, that covers something people taught opx."""
    places = knowledge.catalogue.services
    return {
        *(f"environment/{environment}" for environment, _ in places),
        *(f"service/{environment}/{name}" for environment, name in places),
        *(f"runbook/{runbook.name}" for runbook in knowledge.runbooks),
    }
