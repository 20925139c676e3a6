# SPDX-License-Identifier: Apache-2.0

"""Who is asking: tokens, sessions and one-time login links.

``front`` asks ``principal`` on every request; it answers from memory, and ``refresh`` keeps
that at most a second behind the store. A secret is never stored, only its SHA-256, and
authority comes from the stored token, never from what a request says about itself.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, replace
from typing import Any

from opx.core.base import canonical
from opx.core.base.time import DAY, HOUR, MINUTE, SECOND, Ms
from opx.core.decide.roles import Role
from opx.engine import journal
from opx.engine.ports import Clock, ReadTx, Store, Token, Where, WriteTx
from opx.errors import BadInput, Conflict, NotFound, NotLoggedIn, Unavailable

PREFIX = "opx_"
LOGIN_LINK_TTL: Ms = 10 * MINUTE
SESSION_TTL: Ms = 12 * HOUR
MAX_TTL: Ms = 366 * DAY
STALE: Ms = 60 * SECOND
"""Tokens that could not be read again for so long are not believed any more."""
SHOWN = 12
MANY = 100_000
REFUSALS_A_MINUTE = 30
OWN_NAMES = frozenset({"opx", "brain", "hands", "front"})
FIRST_ROLES = (Role.ADMIN,)
"""Who can read the data folder is the administrator of this machine."""


@dataclass(frozen=True, slots=True)
class Principal:
    """``services``: those it may ingest for, empty = any."""

    name: str
    roles: frozenset[Role]
    services: frozenset[str] = frozenset()


def new_secret(clock: Clock) -> str:
    """``opx_`` and 43 url-safe characters: 256 random bits."""
    return PREFIX + base64.urlsafe_b64encode(clock.entropy(32)).rstrip(b"=").decode()


def id_of(secret: str) -> str:
    """The id a secret is stored under: its SHA-256, 64 hex digits."""
    return hashlib.sha256(secret.encode()).hexdigest()


class Access:
    """The tokens in force, in memory, and what makes more of them."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._tokens: dict[str, tuple[Token, Principal]] = {}
        self._read_at: Ms | None = None

    def principal(self, secret: str) -> Principal | None:
        """Whose secret this is, None when it is nobody's (any more).
        ``Unavailable`` when the tokens in memory are too old to be believed."""
        now = self._clock.now()
        if self._read_at is None or now - self._read_at > STALE:
            raise Unavailable("tokens cannot be read now")
        token, principal = self._tokens.get(id_of(secret), (None, None))
        if token is None or not valid(token, now) or token.single_use:
            return None
        return principal

    async def refresh(self) -> None:
        """Read the tokens again. Called when the store changed, and after each own change."""
        now = self._clock.now()
        tokens = await self._store.read(lambda tx: _in_force(tx, now))
        self._tokens = {token.id: (token, principal_of(token)) for token in tokens}
        self._read_at = now

    def still_fresh(self) -> None:
        """Nothing has changed since the tokens were read."""
        self._read_at = self._clock.now()

    async def ensure_admin(self, secret: str) -> None:
        """Let the secret in ``admin.token`` in; once, so that revoking it lasts."""
        token = Token(
            id=id_of(secret),
            name="admin",
            roles=tuple(role.value for role in FIRST_ROLES),
            created_at=self._clock.now(),
        )
        await self._store.write(lambda tx: _first(tx, token))

    async def login_link(self, name: str, roles: frozenset[Role]) -> str:
        """A code that opens one session with these roles, once, within ten minutes."""
        code, now = new_secret(self._clock), self._clock.now()
        token = Token(
            id=id_of(code),
            name=name,
            roles=tuple(sorted(role.value for role in roles)),
            created_at=now,
            expires_at=now + LOGIN_LINK_TTL,
            single_use=True,
        )
        await self._store.write(lambda tx: tx.save(token))
        return code

    async def redeem(self, code: str) -> str:
        """The secret of a new session for a login code. ``NotLoggedIn`` unless the code is
        good, in time and unused; two that race for it get one session."""
        session, now = new_secret(self._clock), self._clock.now()

        def exchange(tx: WriteTx) -> None:
            link = tx.get(Token, id_of(code))
            if link is None or not link.single_use or not valid(link, now):
                raise NotLoggedIn(
                    "this login link was used, is too old or never was",
                    hint="opx login makes a new one",
                )
            tx.save(replace(link, revoked_at=now, version=link.version + 1))
            tx.save(
                Token(
                    id=id_of(session),
                    name=link.name,
                    roles=link.roles,
                    created_at=now,
                    expires_at=now + SESSION_TTL,
                )
            )
            tx.append(journal.entry(now, "access", "session.opened", link.name))

        await self._store.write(exchange)
        await self.refresh()
        return session


def valid(token: Token, now: Ms) -> bool:
    expired = token.expires_at is not None and token.expires_at <= now
    return token.revoked_at is None and not expired


def principal_of(token: Token) -> Principal:
    return Principal(token.name, roles_of(token), frozenset(token.services))


def roles_of(token: Token) -> frozenset[Role]:
    """The token's roles; one that this version does not know gives nothing."""
    known = {role.value for role in Role}
    return frozenset(Role(name) for name in token.roles if name in known)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A token as somebody wants it."""

    name: str
    roles: tuple[str, ...]
    services: tuple[str, ...] = ()
    ttl: Ms


def new_token(secret: str, wanted: Wanted, now: Ms) -> Token:
    """The record of a new token. ``BadInput`` when a role is not one or it would live too long."""
    known = [role.value for role in Role]
    for name in wanted.roles:
        if name not in known:
            raise BadInput(f"{name!r} is not a role", hint=f"known: {', '.join(known)}")
    if not MINUTE <= wanted.ttl <= MAX_TTL:
        raise BadInput("a token lives for at least a minute and at most 366 days")
    return Token(
        id=id_of(secret),
        name=wanted.name,
        roles=tuple(sorted(set(wanted.roles))),
        services=tuple(sorted(set(wanted.services))),
        created_at=now,
        expires_at=now + wanted.ttl,
    )


def make(tx: WriteTx, token: Token, by: str, now: Ms) -> None:
    """Store a new token. ``Conflict`` while another holds its name, or when opx does."""
    same = tx.find(Token, Where("name", "eq", token.name), limit=MANY)
    if token.name in OWN_NAMES or any(valid(other, now) for other in same):
        raise Conflict(f"the name {token.name!r} is taken: the journal must tell people apart")
    tx.save(token)
    tx.append(
        journal.entry(
            now,
            "access",
            "token.made",
            by,
            token=token.id[:SHOWN],
            name=token.name,
            roles=token.roles,
            services=token.services,
            expires_at=token.expires_at,
        )
    )


def revoke(tx: WriteTx, prefix: str, by: str, now: Ms) -> Token:
    """Revoke the token whose id begins so. ``NotFound`` unless that is exactly one."""
    begins = [Where("id", "ge", prefix), Where("id", "lt", prefix + "\x7f")]
    found = tx.find(Token, *begins, order="id", limit=2) if len(prefix) >= 4 else []
    if len(found) != 1:
        raise NotFound(f"{len(found) or 'no'} token ids begin with {prefix!r}")
    token = found[0]
    if token.revoked_at is None:
        token = replace(token, revoked_at=now, version=token.version + 1)
        tx.save(token)
        entry = journal.entry(
            now, "access", "token.revoked", by, token=token.id[:SHOWN], name=token.name
        )
        tx.append(entry)
    return token


def view(token: Token, now: Ms) -> dict[str, Any]:
    """A token as people see it: never enough of its id to be looked up by."""
    gone = "revoked" if token.revoked_at is not None else "expired"
    return {
        **canonical.plain(token),
        "id": token.id[:SHOWN],
        "state": "active" if valid(token, now) else gone,
    }


def views(tx: ReadTx, now: Ms) -> list[dict[str, Any]]:
    """Every token and session, newest first."""
    tokens = [token for token in tx.find(Token, limit=MANY) if not token.single_use]
    return [view(token, now) for token in sorted(tokens, key=lambda token: -token.created_at)]


class Refusals:
    """Journals who was refused what. Of more than a fixed number a minute it only counts:
    whoever hammers at the door must not fill the disk."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._minute: Ms = 0
        self._journalled = 0
        self._uncounted = 0

    async def add(self, who: str, permission: str, path: str) -> None:
        now = self._clock.now()
        if now - self._minute >= MINUTE:
            self._minute, self._journalled = now, 0
        if self._journalled >= REFUSALS_A_MINUTE:
            self._uncounted += 1
            return
        self._journalled += 1
        missed, self._uncounted = self._uncounted, 0
        entry = journal.entry(
            now,
            "access",
            "access.refused",
            who,
            permission=permission,
            path=path[:200],
            unrecorded=missed,
        )
        await self._store.write(lambda tx: tx.append(entry))


def _in_force(tx: ReadTx, now: Ms) -> list[Token]:
    lasting = tx.find(Token, Where("expires_at", "null"), limit=MANY)
    return lasting + tx.find(Token, Where("expires_at", "gt", now), limit=MANY)


def _first(tx: WriteTx, token: Token) -> None:
    if tx.add(token):
        tx.append(journal.entry(token.created_at, "access", "token.made", "opx", name=token.name))
