# SPDX-License-Identifier: Apache-2.0

"""Who is let in: what ``Access`` believes, and for how long."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from opx.core.decide.roles import Role
from opx.engine import access
from opx.engine.access import Access, Wanted
from opx.engine.ports import Token
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


def test_two_who_race_for_a_link_get_one_session() -> None:
    """A code is exchanged in one transaction, so only one of two succeeds."""

    async def story(store: MemoryStore, clock: ManualClock, gate: Access) -> None:
        code = await gate.login_link("ann", frozenset({Role.OPERATOR, Role.VIEWER}))
        results = await asyncio.gather(gate.redeem(code), gate.redeem(code), return_exceptions=True)

        sessions = [one for one in results if isinstance(one, str)]
        assert [type(one) for one in results if not isinstance(one, str)] == [NotLoggedIn]
        principal = gate.principal(sessions[0])
        assert principal is not None
        assert (principal.name, principal.roles) == ("ann", {Role.OPERATOR, Role.VIEWER})
        await clock.advance(12 * 3_600_000)
        await gate.refresh()
        assert gate.principal(sessions[0]) is None

    tell(story)


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
