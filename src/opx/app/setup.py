# SPDX-License-Identifier: Apache-2.0

"""Making a data folder ready, at every start of ``opx up``; what is there stays.

Schema, keys, the first documents and modes, the administrator's token. A fresh install
runs its jobs and suggests repairs; nothing here grants anybody anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import os

from opx import packs
from opx.adapters.anchors import AnchorFile
from opx.adapters.keys import SIGN, VERIFY, KeyPair, KeySigner, KeyVerifier
from opx.adapters.stores import migrate, sqlite
from opx.adapters.stores.sql import SqlStore
from opx.adapters.system import SystemClock
from opx.app import documents
from opx.core.base.time import Ms
from opx.core.decide.case import Automation, Mode
from opx.core.decide.scopes import ALL
from opx.engine import journal, queries
from opx.engine.access import Access, id_of, new_secret
from opx.engine.documents import Change, put, stored
from opx.engine.hands import EPOCH
from opx.engine.ports import Clock, Saved, Store, WriteTx
from opx.errors import Damaged, NotLoggedIn
from opx.settings import Settings, publish

ACTOR = "opx"


def prepare(settings: Settings) -> str:
    """Make it ready; return a one-time login code for an administrator, "" when the token in
    the data folder was revoked. ``Refused`` or ``Damaged`` when a key is one that brain or hands
    would not take."""
    current, newest = sqlite.schema_state(settings.database_url)
    if current != newest:
        migrate.migrate(settings.database_url)
    pair = [settings.keys / name for name in (SIGN, VERIFY)]
    if not all(path.exists() for path in pair):  # half a pair is what a crash left
        for path in pair:
            path.unlink(missing_ok=True)
        KeyPair.create(settings.keys)
    KeySigner.load(settings.keys)
    KeyVerifier.load(settings.keys)
    publish(settings.served, {"host": settings.host, "port": settings.port})
    return asyncio.run(_prepare(settings))


async def _prepare(settings: Settings) -> str:
    clock, store = SystemClock(), SqlStore(settings.database_url)
    try:
        await _first(store, clock)
        await _epoch(store, clock, AnchorFile(settings.anchors))
        access = Access(store, clock)
        secret = _admin_secret(settings, clock)
        await access.ensure_admin(secret)
        return await access.login_link(id_of(secret))
    except NotLoggedIn:  # it was revoked, which lasts
        return ""
    finally:
        await store.close()


async def _first(store: Store, clock: Clock) -> None:
    """The modes, the epoch and the shipped documents of a new data folder."""
    shipped = [
        checked
        for name, text in packs.texts().items()
        for checked in documents.check(text, name, [])
    ]

    def write(tx: WriteTx) -> None:
        if tx.get(Mode, ALL) is not None:
            return
        now = clock.now()
        tx.save(Mode(id=ALL, automation=Automation.RUNNING, by=ACTOR, reason="first start", at=now))
        tx.set(Saved(id=EPOCH, seq=1))
        for checked in shipped:
            put(tx, stored(checked, ACTOR, now), None, Change.ADDED)
        tx.append(journal.entry(now, "automation", "automation.resumed", ACTOR, scope=ALL))

    await store.write(write)


async def _epoch(store: Store, clock: Clock, anchors: AnchorFile) -> None:
    """Begin a new epoch when the journal ends before what was anchored last: the database is
    an older one that was put back, and the orders in it may have been carried out since."""
    with contextlib.suppress(Damaged):  # opx doctor and opx audit verify say so
        last = max((anchor.last for anchor in anchors.read()[-1:]), default=0)
        await store.write(lambda tx: _anew(tx, last, clock.now()))


def _anew(tx: WriteTx, anchored: int, now: Ms) -> None:
    epoch, journalled = tx.get(Saved, EPOCH), queries.newest(tx)
    if epoch is None or anchored <= journalled:
        return
    tx.set(Saved(id=EPOCH, seq=epoch.seq + 1))
    told = {"epoch": epoch.seq + 1, "journalled": journalled, "anchored": anchored}
    tx.append(journal.entry(now, "automation", "epoch.begun", ACTOR, **told))


def _admin_secret(settings: Settings, clock: Clock) -> str:
    """The secret in ``admin.token``; made at the first start, for its owner only."""
    path = settings.admin_token
    if not path.exists():
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(new_secret(clock))
    return path.read_text().strip()
