# SPDX-License-Identifier: Apache-2.0

"""Who is asking: tokens, sessions and one-time login links.

``front`` asks ``principal`` on every request; it answers from memory, and ``refresh`` keeps
that at most a second behind the store. A secret is never stored, only its SHA-256, and
authority comes from the stored token, never from what a request says about itself. What was
opened with a token (a link, a session, another from there) never outlives it.
"""

from __future__ import annotations

import base64
import hashlib
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from opx.core.base import canonical
from opx.core.base.time import DAY, HOUR, MINUTE, SECOND, Ms
from opx.core.decide.roles import Role
from opx.core.ingest import masking
from opx.engine import journal
from opx.engine.ports import Clock, Entry, ReadTx, Store, Token, Where, WriteTx
from opx.errors import BadInput, Conflict, NotFound, NotLoggedIn, Unavailable

PREFIX = "opx_"
SUBJECT = "access"
"""What the journal says of tokens and refusals is about this: for auditors only."""
LOGIN_LINK_TTL: Ms = 10 * MINUTE
SESSION_TTL: Ms = 12 * HOUR
MAX_TTL: Ms = 366 * DAY
STALE: Ms = 60 * SECOND
"""Tokens that could not be read again for so long are not believed any more."""
SHOWN = 12
REFUSALS_A_MINUTE = 30
MOST_SAID, SAID = 1_000, 200
"""Of each thing that a request said of itself: how much is looked at for secrets, and kept."""
NOBODY = "nobody"
"""Whoever sends no secret that is in force, in the journal."""
OWN_NAMES = frozenset({"opx", "brain", "hands", "front", NOBODY})
FIRST_ROLES = (Role.ADMIN,)
"""Who can read the data folder is the administrator of this machine."""


@dataclass(frozen=True, slots=True)
class Principal:
    """``services``: those it may ingest for, empty = any. ``token``: the id of what they sent."""

    name: str
    roles: frozenset[Role]
    services: frozenset[str] = frozenset()
    token: str = ""


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
        if token is None or token.single_use or not in_force(token, now, self._known):
            return None
        return principal

    def _known(self, id: str) -> Token | None:
        token, _ = self._tokens.get(id, (None, None))
        return token

    async def refresh(self) -> None:
        """Read the tokens again. Called when the store changed, and after each own change."""
        now = self._clock.now()
        tokens = await self._store.read(lambda tx: _unexpired(tx, now))
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

    async def login_link(self, parent: str) -> str:
        """A code that opens one session with the roles of the token ``parent``, once, within
        ten minutes. ``NotLoggedIn`` when that is not in force."""
        code, now = new_secret(self._clock), self._clock.now()

        def mint(tx: WriteTx) -> None:
            holder = tx.get(Token, parent)
            if holder is None or not in_force(holder, now, _stored(tx)):
                raise NotLoggedIn
            link = replace(_opened(code, holder, now, LOGIN_LINK_TTL), single_use=True)
            tx.save(link)
            tx.append(_entry(now, "link.made", holder.name, token=parent, link=link.id))

        await self._store.write(mint)
        return code

    async def redeem(self, code: str) -> str:
        """The secret of a new session for a login code. ``NotLoggedIn`` unless the code is
        good, in time and unused; two that race for it get one session."""
        session, now = new_secret(self._clock), self._clock.now()

        def exchange(tx: WriteTx) -> None:
            link = tx.get(Token, id_of(code))
            holder = tx.get(Token, link.parent) if link else None
            if link is None or holder is None or not link.single_use:
                raise _bad_link("never was")
            if link.revoked_at is not None:
                raise _bad_link("was used")
            if not in_force(link, now, _stored(tx)):
                raise _bad_link("is over")
            tx.save(replace(link, revoked_at=now, version=link.version + 1))
            opened = _opened(session, holder, now, SESSION_TTL)
            tx.save(opened)
            tx.append(_entry(now, "session.opened", link.name, token=opened.id, link=link.id))

        await self._store.write(exchange)
        await self.refresh()
        return session


Find = Callable[[str], Token | None]


def valid(token: Token, now: Ms) -> bool:
    expired = token.expires_at is not None and token.expires_at <= now
    return token.revoked_at is None and not expired


def in_force(token: Token, now: Ms, find: Find) -> bool:
    """Whether it opens anything now: it is valid, and so is all that it was opened with."""
    known: Token | None = token
    while known is not None and valid(known, now):
        if not known.parent:
            return True
        known = find(known.parent)
    return False


def _stored(tx: ReadTx) -> Find:
    return lambda id: tx.get(Token, id)


def _opened(secret: str, holder: Token, now: Ms, ttl: Ms) -> Token:
    """What ``holder`` opens: with its name, roles and services, and ending no later than it."""
    ends = now + ttl
    return Token(
        id=id_of(secret),
        name=holder.name,
        roles=holder.roles,
        services=holder.services,
        parent=holder.id,
        created_at=now,
        expires_at=ends if holder.expires_at is None else min(ends, holder.expires_at),
    )


def _bad_link(what: str) -> NotLoggedIn:
    return NotLoggedIn(f"this login link {what}", hint="opx login makes a new one")


def principal_of(token: Token) -> Principal:
    return Principal(token.name, roles_of(token), frozenset(token.services), token.id)


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
    find = _stored(tx)
    same = tx.find(Token, Where("name", "eq", token.name))
    if token.name in OWN_NAMES or any(in_force(other, now, find) for other in same):
        raise Conflict(f"the name {token.name!r} is taken: the journal must tell people apart")
    tx.save(token)
    what = {name: getattr(token, name) for name in ("name", "roles", "services", "expires_at")}
    tx.append(_entry(now, "token.made", by, token=token.id, **what))


def revoke(tx: WriteTx, prefix: str, by: str, now: Ms) -> Token:
    """Revoke the token whose id begins so. ``NotFound`` unless that is exactly one."""
    begins = [Where("id", "ge", prefix), Where("id", "lt", prefix + "\x7f")]
    found = tx.find(Token, *begins, order="id", limit=2) if len(prefix) >= 4 else []
    if len(found) != 1:
        raise NotFound(f"{len(found) or 'no'} token ids begin with {prefix!r}")
    token = found[0]
    return _revoke(tx, token, "token.revoked", by, now) if token.revoked_at is None else token


def log_out(tx: WriteTx, id: str, now: Ms) -> int:
    """End the session ``id``, or every session and link that was opened with the token ``id``;
    how many that were. What they opened in turn ends with them."""
    asker = tx.get(Token, id)
    if asker is None:
        return 0
    same = [asker] if asker.parent else tx.find(Token, Where("name", "eq", asker.name))
    ending = [one for one in same if id in (one.id, one.parent) and one.parent and valid(one, now)]
    for one in ending:
        _revoke(tx, one, "session.ended", asker.name, now)
    return len(ending)


def _revoke(tx: WriteTx, token: Token, kind: str, by: str, now: Ms) -> Token:
    revoked = replace(token, revoked_at=now, version=token.version + 1)
    tx.save(revoked)
    tx.append(_entry(now, kind, by, token=token.id, name=token.name))
    return revoked


def view(token: Token, now: Ms) -> dict[str, Any]:
    """A token as people see it: never enough of its id to be looked up by."""
    gone = "revoked" if token.revoked_at is not None else "expired"
    return {
        **canonical.plain(token),
        "id": token.id[:SHOWN],
        "parent": token.parent[:SHOWN],
        "state": "active" if valid(token, now) else gone,
    }


def views(tx: ReadTx, now: Ms) -> list[dict[str, Any]]:
    """Every token, newest first, each followed by the sessions that were opened with it:
    those have a ``parent``, and the state ``ended`` when it is that which ended them."""
    tokens = {token.id: token for token in tx.find(Token) if not token.single_use}
    opened: dict[str, list[Token]] = defaultdict(list)
    for token in sorted(tokens.values(), key=lambda token: (token.created_at, token.id)):
        opened[token.parent if token.parent in tokens else ""].append(token)
    rows, waiting = [], opened[""]
    while waiting:
        token = waiting.pop()
        ended = valid(token, now) and not in_force(token, now, tokens.get)
        rows.append({**view(token, now), **({"state": "ended"} if ended else {})})
        waiting += opened[token.id]
    return rows


class Refusals:
    """Journals who was refused what. Of more than a fixed number a minute it only counts:
    whoever hammers at the door must not fill the disk. Each name has its own number, and all
    who have none share one, so that nobody's noise hides what somebody else was refused."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._tallies: dict[str, _Tally] = {}

    async def add(self, who: str, permission: str, path: str, detail: str = "") -> None:
        """``who``: a token's name or ``NOBODY``. Never raises ``Unavailable``: what cannot be
        written down now is counted in the next line that can."""
        now, tally = self._clock.now(), self._tallies.setdefault(who, _Tally())
        if now - tally.minute >= MINUTE:
            tally.minute, tally.journalled = now, 0
        if tally.journalled >= REFUSALS_A_MINUTE:
            tally.uncounted += 1
            return
        tally.journalled += 1
        missed, tally.uncounted = tally.uncounted, 0
        said = {"permission": permission, "path": path, "detail": detail}
        what = {name: masking.text(text[:MOST_SAID])[:SAID] for name, text in said.items()}
        entry = _entry(now, "access.refused", who, **what, unrecorded=missed)
        try:
            await self._store.write(lambda tx: tx.append(entry))
        except Unavailable:
            tally.uncounted += missed + 1


@dataclass(slots=True)
class _Tally:
    """``uncounted``: refusals that no line in the journal has told of yet."""

    minute: Ms = 0
    journalled: int = 0
    uncounted: int = 0


def _entry(at: Ms, kind: str, actor: str, **body: object) -> Entry:
    """A line about access, in which tokens and links stand as people see them."""
    for name in body.keys() & {"token", "link"}:
        body[name] = str(body[name])[:SHOWN]
    return journal.entry(at, SUBJECT, kind, actor, **body)


def _unexpired(tx: ReadTx, now: Ms) -> list[Token]:
    lasting = tx.find(Token, Where("expires_at", "null"))
    return lasting + tx.find(Token, Where("expires_at", "gt", now))


def _first(tx: WriteTx, token: Token) -> None:
    if tx.add(token):
        tx.append(_entry(token.created_at, "token.made", "opx", token=token.id, name=token.name))
