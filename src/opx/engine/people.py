# SPDX-License-Identifier: Apache-2.0

"""What people may do: each verb is one transaction with its line in the journal.

``front`` writes halts, documents, grants, tokens and outcomes itself. What touches derived
state (acknowledge, approve, reject, close a breaker) becomes a ``Command`` row that
``brain`` carries out. Whether somebody may is asked before, by role; who did it comes from
their token. With an ``Idempotency-Key`` a verb happens once, however often it is sent.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from opx.core.base import canonical, ids
from opx.core.base.time import SECOND, Ms
from opx.core.decide import grants, roles
from opx.core.decide.case import Approval, Automation, Breaker, Grant, Mode, Policy
from opx.core.decide.documents import bind_policy
from opx.core.decide.roles import Permission
from opx.core.learn.outcome import Outcome, OutcomeKind
from opx.engine import access, documents, journal, queries
from opx.engine.access import Access, Principal, Wanted
from opx.engine.beats.case import Knowledge
from opx.engine.documents import Check
from opx.engine.ports import Clock, Command, Store, WriteTx
from opx.errors import (
    BadInput,
    Conflict,
    NotAllowed,
    NotFound,
    OpxError,
    Refused,
    Stale,
    Unavailable,
)

PATIENCE: Ms = 5 * SECOND
"""How long a person waits for ``brain`` to carry out a command."""
LOOK_AGAIN: Ms = 250


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """Who asks, and the key under which asking again is the same asking ("" for none).
    ``version``: what the incident must still be at, None for whatever it is at."""

    by: Principal
    key: str = ""
    version: int | None = None


@dataclass(slots=True, kw_only=True)
class People:
    """``knowledge``: the documents in force, bound."""

    store: Store
    clock: Clock
    access: Access
    check: Check
    knowledge: Callable[[], Awaitable[Knowledge]]

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

        return await self._once(ask, f"automation.{to}", {"scope": scope, "reason": reason}, do)

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
        return await self._once(ask, "grant", request, do)

    # ------------------------------------------------------------ documents

    async def apply_documents(self, ask: Ask, text: str, source: str) -> dict[str, Any]:
        """Apply every document of ``text``, or none. What is unchanged stays as it was."""
        known = await self.store.read(queries.stored_documents)
        checked = self.check(text, source, known)
        policies = [one.document for one in checked if one.document.kind == documents.POLICY]
        await self._may_loosen(ask, [bind_policy(one) for one in policies])

        def do(tx: WriteTx, now: Ms) -> dict[str, Any]:
            current = documents.still(tx, known)
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

        return await self._once(ask, "apply", {"text": text}, do)

    async def delete_document(self, ask: Ask, id: str) -> dict[str, Any]:
        """Keep a document no longer. Without its policy opx goes by the defaults."""
        known = await self.store.read(queries.stored_documents)
        catalogue = (await self.knowledge()).catalogue
        if id.partition("/")[0] == documents.POLICY:
            await self._may_loosen(ask, [Policy()])

        def do(tx: WriteTx, now: Ms) -> dict[str, Any]:
            current = documents.still(tx, known)
            document = documents.withdrawable(current.values(), id, catalogue)
            return documents.withdraw(tx, document, ask.by.name, now)

        return await self._once(ask, "delete", {"document": id}, do)

    async def _may_loosen(self, ask: Ask, wanted: Sequence[Policy]) -> None:
        """A policy by which opx may do more takes what a grant takes: ``NotAllowed`` without."""
        if not wanted or roles.may(ask.by.roles, Permission.GRANT_AUTONOMY):
            return
        in_force = (await self.knowledge()).policy
        looser = [name for one in wanted for name in grants.loosens(in_force, one)]
        if looser:
            what = f"loosen the policy: {', '.join(looser)}"
            entry = journal.entry(
                self.clock.now(), access.SUBJECT, "access.refused", ask.by.name, permission=what
            )
            await self.store.write(lambda tx: tx.append(entry))
            raise NotAllowed(f"{ask.by.name} may not {what}", hint="it takes who may grant")

    # ------------------------------------------------------------ outcomes

    async def outcome(self, ask: Ask, incident: str, said: dict[str, str]) -> dict[str, Any]:
        """Record what an incident really was. Added to what was said before, never instead.

        ``said``: ``kind`` (an ``OutcomeKind``), ``cause``, ``fixed_by``, ``note``.
        """

        def do(tx: WriteTx, now: Ms) -> dict[str, Any]:
            found = queries.find_incident(tx, incident)
            if ask.version not in (None, found.version):
                raise Stale
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

        return await self._once(ask, "outcome", {"incident": incident, **said}, do)

    # ------------------------------------------------------------ tokens

    async def make_token(self, ask: Ask, wanted: Wanted) -> dict[str, Any]:
        """Make a token and return its secret, which is shown this once. Asking again with the
        same key is a ``Conflict`` therefore: the secret is not kept."""
        secret = access.new_secret(self.clock)
        token = access.new_token(secret, wanted, self.clock.now())

        def do(tx: WriteTx, now: Ms) -> dict[str, Any]:
            access.make(tx, token, ask.by.name, now)
            return {"id": token.id}

        made = await self._once(ask, "token", {"wanted": wanted}, do)
        if made["id"] != token.id:
            raise Conflict("this token was made already and its secret is not kept: revoke it")
        await self.access.refresh()
        return {**access.view(token, self.clock.now()), "token": secret}

    async def revoke_token(self, ask: Ask, prefix: str) -> dict[str, Any]:
        """Revoke the one token whose id begins so. Revoking again changes nothing."""
        revoked = await self._once(
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

    async def acknowledge(self, ask: Ask, incident: str) -> dict[str, Any]:
        found = await self.store.read(lambda tx: queries.find_incident(tx, incident))
        body = {} if ask.version is None else {"version": ask.version}
        return await self._through_brain(ask, "acknowledge", found.id, body)

    async def answer(self, ask: Ask, run: str, approve: bool, reason: str) -> dict[str, Any]:
        """Approve or reject what waits for an answer. The answer binds the plan as it is now."""
        approval = await self.store.read(lambda tx: queries.find_one(tx, Approval, run))
        verb = "approve" if approve else "reject"
        body = {"plan": approval.plan, "reason": reason}
        return await self._through_brain(ask, verb, approval.id, body)

    async def close_breaker(self, ask: Ask, breaker: str) -> dict[str, Any]:
        found = await self.store.read(lambda tx: tx.get(Breaker, breaker))
        if found is None:
            raise NotFound(f"there is no breaker {breaker!r}", hint="opx status lists them")
        return await self._through_brain(ask, "close_breaker", found.id, {})

    async def _through_brain(
        self, ask: Ask, kind: str, subject: str, body: dict[str, Any]
    ) -> dict[str, Any]:
        """Write the command and wait until it is done. ``Unavailable`` when that takes too
        long; what its error says, when ``brain`` refused it."""
        now = self.clock.now()
        request = _fingerprint(kind, {"subject": subject, **body})
        command = Command(
            id=self._command_id(ask, now),
            kind=kind,
            subject=subject,
            actor=ask.by.name,
            at=now,
            body={**body, "request": request},
        )

        def put(tx: WriteTx) -> None:
            if _earlier(tx, command.id, request) is None:
                tx.save(command)

        await self.store.write(put)
        done = await self._done(command.id)
        if done.error:
            raise said(done.error)
        return {"id": done.id, "kind": kind, "subject": subject, "done_at": done.done_at}

    async def _done(self, id: str) -> Command:
        waited: Ms = 0
        while True:
            command = await self.store.read(lambda tx: tx.get(Command, id))
            if command is not None and command.done_at is not None:
                return command
            if waited >= PATIENCE:
                raise Unavailable("brain does not answer; the command is kept")
            before = self.clock.now()
            changed = await self.store.changed(LOOK_AGAIN)
            waited += self.clock.now() - before if changed else LOOK_AGAIN

    # ------------------------------------------------------------ once

    async def _once(
        self,
        ask: Ask,
        kind: str,
        request: dict[str, Any],
        do: Callable[[WriteTx, Ms], dict[str, Any]],
    ) -> dict[str, Any]:
        """``do`` in one transaction, together with the record that it was done under this key."""
        now = self.clock.now()
        fingerprint = _fingerprint(kind, request)

        def work(tx: WriteTx) -> dict[str, Any]:
            if not ask.key:
                return do(tx, now)
            id = self._command_id(ask, now)
            earlier = _earlier(tx, id, fingerprint)
            if earlier is not None:
                return dict(earlier.body["result"])
            result = do(tx, now)
            body = {"request": fingerprint, "result": canonical.plain(result)}
            tx.save(
                Command(
                    id=id, kind=kind, subject="", actor=ask.by.name, at=now, body=body, done_at=now
                )
            )
            return result

        return await self.store.write(work)

    def _command_id(self, ask: Ask, now: Ms) -> str:
        if ask.key:
            return ids.derived("command", ask.by.name, ask.key)
        return ids.uuid7(now, self.clock.entropy(10))


def scopes_of(knowledge: Knowledge) -> set[str]:
    """Every scope, besides ``all``, that covers something people taught opx."""
    places = knowledge.catalogue.services
    return {
        *(f"environment/{environment}" for environment, _ in places),
        *(f"service/{environment}/{name}" for environment, name in places),
        *(f"runbook/{runbook.name}" for runbook in knowledge.runbooks),
    }


def said(error: str) -> OpxError:
    """The error that ``brain`` wrote into a command as ``code: text``."""
    code, _, text = error.partition(": ")
    kinds = (BadInput, NotAllowed, NotFound, Conflict, Refused, Stale, Unavailable)
    known = next((kind for kind in kinds if kind.code == code), None)
    return known(text) if known else Refused(error)


def _fingerprint(kind: str, request: dict[str, Any]) -> str:
    return ids.derived("request", kind, request)


def _earlier(tx: WriteTx, id: str, fingerprint: str) -> Command | None:
    """The command already there under this id. ``Conflict`` when it asked something else."""
    command = tx.get(Command, id)
    if command is not None and command.body.get("request") != fingerprint:
        raise Conflict("this Idempotency-Key was used for another request")
    return command
