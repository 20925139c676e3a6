# SPDX-License-Identifier: Apache-2.0

"""Who is let in: what ``Access`` believes, and for how long."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from opx.core.decide.roles import Role
from opx.engine import access
from opx.engine.access import Access, Refusals, Wanted
from opx.engine.ports import Entry, Token, WriteTx
from opx.errors import BadInput, NotLoggedIn, Unavailable
from opx.testing.memory import ManualClock, MemoryStore

Story = Callable[[MemoryStore, ManualClock, Access], Awaitable[None]]


def tell(story: Story) -> None:
    async def run() -> None:
        store, clock = MemoryStore(), ManualClock()
        await story(store, clock, Access(store, clock))

    asyncio.run(run())


def test_the_first_secret_lets_the_administrator_in() -> None:
    """The secret of ``admin.token`` is let in once and stays; nothing in the store is it."""

    async def story(store: MemoryStore, clock: ManualClock, gate: Access) -> None:
        secret = access.new_secret(clock)
        await gate.ensure_admin(secret)
        await gate.ensure_admin(secret)
        await gate.refresh()

        principal = gate.principal(secret)
        assert principal is not None
        assert principal.roles == {Role.ADMIN}
        tokens = await store.read(lambda tx: tx.find(Token))
        assert len(tokens) == 1
        assert secret not in repr(tokens)

    tell(story)


def test_revoking_the_administrator_lasts() -> None:
    """Starting again with the same ``admin.token`` does not let a revoked secret back in."""

    async def story(store: MemoryStore, clock: ManualClock, gate: Access) -> None:
        secret = access.new_secret(clock)
        await gate.ensure_admin(secret)
        id = access.id_of(secret)
        await store.write(lambda tx: access.revoke(tx, id[:12], "me", clock.now()))
        await gate.ensure_admin(secret)
        await gate.refresh()

        assert gate.principal(secret) is None

    tell(story)


def test_old_knowledge_is_not_believed() -> None:
    """Tokens that could not be read for a minute open nothing: somebody may have revoked one."""

    async def story(store: MemoryStore, clock: ManualClock, gate: Access) -> None:
        with pytest.raises(Unavailable):
            gate.principal("opx_x")
        await gate.refresh()
        await clock.advance(60_000)
        assert gate.principal("opx_x") is None
        await clock.advance(1)
        with pytest.raises(Unavailable):
            gate.principal("opx_x")
        gate.still_fresh()
        assert gate.principal("opx_x") is None

    tell(story)


def token_of(name: str, *roles: Role, **other: Any) -> Token:
    """A token whose secret is ``name``."""
    id, names = access.id_of(name), tuple(role.value for role in roles)
    return Token(**{"id": id, "name": name, "roles": names, "created_at": 0, **other})


def test_two_who_race_for_a_link_get_one_session() -> None:
    """A code is exchanged in one transaction, so only one of two succeeds. The session has
    its maker's name, roles and services, and twelve hours."""

    async def story(store: MemoryStore, clock: ManualClock, gate: Access) -> None:
        ann = token_of("ann", Role.OPERATOR, Role.VIEWER, services=("orders",))
        await store.write(lambda tx: tx.save(ann))
        code = await gate.login_link(ann.id)
        results = await asyncio.gather(gate.redeem(code), gate.redeem(code), return_exceptions=True)

        sessions = [one for one in results if isinstance(one, str)]
        assert [type(one) for one in results if not isinstance(one, str)] == [NotLoggedIn]
        principal = gate.principal(sessions[0])
        assert principal is not None
        assert (principal.name, principal.roles) == ("ann", {Role.OPERATOR, Role.VIEWER})
        assert principal.services == {"orders"}
        await clock.advance(12 * 3_600_000)
        await gate.refresh()
        assert gate.principal(sessions[0]) is None

    tell(story)


@pytest.mark.parametrize("fate", ["revoked", "expired", "gone"])
def test_nothing_outlives_the_token_it_was_opened_with(fate: str) -> None:
    """When a token ends, in whatever way, so do its sessions, what they opened, and links
    that were made and not used."""

    async def story(store: MemoryStore, clock: ManualClock, gate: Access) -> None:
        now = clock.now()
        lasting = fate != "expired"
        ann = token_of("ann", Role.ADMIN, expires_at=None if lasting else now + 3_600_000)
        await store.write(lambda tx: tx.save(ann))
        first = await gate.redeem(await gate.login_link(ann.id))
        second = await gate.redeem(await gate.login_link(access.id_of(first)))
        unused = await gate.login_link(ann.id)
        assert gate.principal(first) is not None
        assert gate.principal(second) is not None

        if fate == "revoked":
            await store.write(lambda tx: access.revoke(tx, ann.id[:12], "me", now))
        elif fate == "expired":
            await clock.advance(3_600_000)
        else:  # a store that was restored from before the token was made
            opened = await store.read(lambda tx: [t for t in tx.find(Token) if t.id != ann.id])
            store, gate = await bare(clock, *opened)
        await gate.refresh()

        assert gate.principal(first) is None
        assert gate.principal(second) is None
        with pytest.raises(NotLoggedIn):
            await gate.redeem(unused)
        with pytest.raises(NotLoggedIn):
            await gate.login_link(access.id_of(first))

    tell(story)


async def bare(clock: ManualClock, *tokens: Token) -> tuple[MemoryStore, Access]:
    store = MemoryStore()
    await store.write(lambda tx: tx.add(*tokens))
    return store, Access(store, clock)


def test_a_session_ends_no_later_than_its_token() -> None:
    """A token with an hour left opens sessions of an hour, and links of ten minutes."""

    async def story(store: MemoryStore, clock: ManualClock, gate: Access) -> None:
        now = clock.now()
        await store.write(lambda tx: tx.save(token_of("ann", expires_at=now + 3_600_000)))
        code = await gate.login_link(access.id_of("ann"))
        session = await gate.redeem(code)

        ends = {t.id: t.expires_at for t in await store.read(lambda tx: tx.find(Token))}
        assert ends[access.id_of(code)] == now + 600_000
        assert ends[access.id_of(session)] == now + 3_600_000

    tell(story)


def test_a_flood_of_nobodies_hides_nobodys_refusals() -> None:
    """A thousand anonymous refusals are thirty lines, and what two people were refused beside
    them is all there; the next line of nobody tells how many were left out."""

    async def story(store: MemoryStore, clock: ManualClock, gate: Access) -> None:
        refusals = Refusals(store, clock)
        for n in range(1_000):
            await refusals.add(access.NOBODY, "POST", "/api/v1/tokens")
            if n % 100 == 99:
                await refusals.add("ann", "halt", "/api/v1/automation/halt")
                await refusals.add("bob", "halt", "/api/v1/automation/halt")
        await clock.advance(60_000)
        await refusals.add(access.NOBODY, "POST", "/api/v1/tokens")

        rows = await store.read(lambda tx: tx.find(Entry, order="seq"))
        assert Counter(row.actor for row in rows) == {"nobody": 31, "ann": 10, "bob": 10}
        assert rows[-1].body["unrecorded"] == 970

    tell(story)


def test_what_a_refused_request_says_of_itself_is_masked_and_cut() -> None:
    """Anybody may ask for anything: what they ask for is not kept as it is."""

    async def story(store: MemoryStore, clock: ManualClock, gate: Access) -> None:
        refusals = Refusals(store, clock)
        await refusals.add(access.NOBODY, "PUT", "/api/v1/login?token=SECRET" + "x" * 5_000)
        await refusals.add(
            access.NOBODY, "A" * 5_000, "/" + "x" * 190 + "/token=SECRET", "pwd=SECRET"
        )

        first, second = await store.read(lambda tx: tx.find(Entry, order="seq"))
        assert first.body["path"] == "/api/v1/login?token=[masked]"
        assert second.body["permission"] == "A" * 200
        assert second.body["path"] == "/" + "x" * 190 + "/token=[m"
        assert second.body["detail"] == "pwd=[masked]"

    tell(story)


def test_a_refusal_that_cannot_be_written_down_is_counted() -> None:
    """A store that does not answer makes no refusal anything else; the next line counts it."""

    class Away(MemoryStore):
        away = True

        async def write(self, fn: Callable[[WriteTx], Any]) -> Any:
            if self.away:
                raise Unavailable
            return await super().write(fn)

    async def story() -> None:
        store, clock = Away(), ManualClock()
        refusals = Refusals(store, clock)
        await refusals.add("ann", "halt", "/")
        store.away = False
        await refusals.add("ann", "halt", "/")

        rows = await store.read(lambda tx: tx.find(Entry))
        assert [row.body["unrecorded"] for row in rows] == [1]

    asyncio.run(story())


def test_a_role_of_another_version_gives_nothing() -> None:
    """A token whose role this version does not know has no roles, rather than any."""

    async def story(store: MemoryStore, clock: ManualClock, gate: Access) -> None:
        token = Token(id=access.id_of("opx_s"), name="n", roles=("root",), created_at=0)
        await store.write(lambda tx: tx.save(token))
        await gate.refresh()

        principal = gate.principal("opx_s")
        assert principal is not None
        assert principal.roles == frozenset()

    tell(story)


@pytest.mark.parametrize(
    "wanted",
    [
        Wanted(name="a", roles=("root",), ttl=3_600_000),
        Wanted(name="a", roles=("viewer",), ttl=59_999),
        Wanted(name="a", roles=("viewer",), ttl=367 * 86_400_000),
    ],
)
def test_a_token_needs_known_roles_and_an_end(wanted: Wanted) -> None:
    """The engine refuses by itself what the API's schema refuses too."""
    with pytest.raises(BadInput):
        access.new_token("opx_s", wanted, 0)
