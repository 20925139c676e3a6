# SPDX-License-Identifier: Apache-2.0

"""What ``opx doctor`` reads in the data folder: the database, the keys, the journal, brain; and
whether what the documents there name can be asked.

Each check yields what is wrong and the mend, and changes nothing: the database is opened to
be read only, and nothing that could be large is read whole without a bound on time.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

from opx.adapters import locks
from opx.adapters.anchors import AnchorFile
from opx.adapters.clients.logins import Logins
from opx.adapters.keys import SIGN, VERIFY, KeySigner, KeyVerifier
from opx.adapters.link import BrainClient
from opx.adapters.probes.network import NetworkProber
from opx.adapters.stores import rows, sqlite
from opx.adapters.system import SystemClock
from opx.app import documents
from opx.cli.commands.doctor import Finding
from opx.core.base.reads import Answer, Probe, ProbeKind
from opx.core.base.time import SECOND, Ms
from opx.core.ingest.services import Catalogue, Service
from opx.engine.beats.health import MOST_LAG
from opx.engine.journal import audit
from opx.engine.ports import Entry, Seal, StoredDocument
from opx.errors import Damaged, NotFound, OpxError, Refused
from opx.settings import Settings

CHECK_WITHIN_S = 10.0
"""A database that takes longer to be looked through is not looked through to its end."""
LATELY_S = 3_600
GROWS = 10
"""Refused items within ``LATELY_S``."""
AHEAD: Ms = 60 * SECOND
MOST_ASKED, AT_ONCE = 200, 50
"""Addresses of services that are asked, the first by name, and how many of them together."""
ASK_WITHIN: Ms = 2 * SECOND
"""How long each may take."""
_RESTORE = "stop opx and restore opx.db from a backup"


def database(settings: Settings) -> Iterator[Finding]:
    """Whether it can be read, is of this version, is whole; then what stands in it."""
    path = settings.data / "opx.db"
    if not path.exists():
        return
    try:
        current, newest = sqlite.schema_state(settings.database_url)
        if current != newest:
            wrong = f"its schema is {current or 'none'}, and this opx wants {newest}"
            older = ": its processes are of another version" if locks.held(settings.lock) else ""
            mend = "stop opx and start it again: opx up migrates it"
            yield Finding("database", wrong + older, mend)
            return
        with closing(_opened(path)) as connection:
            damage = _quick_check(connection)
            if damage:
                yield Finding("database", f"{path} is damaged: {damage}", _RESTORE)
                return
            for check in (_documents, _journal, _notices, _quarantine):
                yield from check(settings, connection)
    except (OpxError, sqlite3.Error) as error:
        locked = "locked" in str(error)
        mend = "end the program that holds it" if locked else _RESTORE
        yield Finding("database", f"{path}: {error}", mend)


def _opened(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)
    until = time.monotonic() + CHECK_WITHIN_S
    connection.set_progress_handler(lambda: int(time.monotonic() > until), 10_000)
    return connection


def _quick_check(connection: sqlite3.Connection) -> str:
    """What is damaged, "" when nothing is or time was up."""
    try:
        (said,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.OperationalError as error:
        if "interrupted" not in str(error):
            raise
        said = "ok"
    finally:
        connection.set_progress_handler(None, 0)
    return "" if said == "ok" else str(said).replace("\n", " ")


def _documents(settings: Settings, connection: sqlite3.Connection) -> Iterator[Finding]:
    codec = rows.of(StoredDocument)
    found = connection.execute(f"SELECT {codec.selected} FROM documents ORDER BY id")
    known = documents.bind([codec.decode(*row) for row in found])
    for problem in known.problems:
        yield Finding(
            "documents",
            f"{problem.id} cannot be read any more: {problem.error}; {problem.means}",
            f"mend it and apply it again: opx apply -f FILE ({problem.id})",
        )
    yield from _services(settings, known.catalogue)


def _services(settings: Settings, catalogue: Catalogue) -> Iterator[Finding]:
    """Whether what opx acts on and what it asks can be reached, before a repair needs it. What
    says no is none of this: that is an incident's."""
    declared = sorted(catalogue.services.items())
    named = [one for _, service in declared for one in _addresses(service)][:MOST_ASKED]
    answers = asyncio.run(_asked(settings, [probe for *_, probe in named]))
    for (service, field, probe), answer in zip(named, answers, strict=True):
        if answer.ok is None:
            place = f"{service.environment}/{service.name}"
            wrong = f"the {field} of {place} cannot be asked: {answer.detail}"
            mend = f"mend '{field}' of Service {service.name}: opx apply -f FILE"
            if probe.kind is ProbeKind.PROCESS:
                mend = f"start that supervisord, give supervisors.toml its login, or {mend}"
            yield Finding("service", wrong, mend)


def _addresses(service: Service) -> Iterator[tuple[Service, str, Probe]]:
    """What a Service document names, each with its field there."""
    if service.target:
        target = Probe(kind=ProbeKind.PROCESS, address=service.target, timeout=ASK_WITHIN)
        yield service, "target", target
    if service.health is not None:
        probe = service.health.probe
        yield service, "health", replace(probe, timeout=min(probe.timeout, ASK_WITHIN))


async def _asked(settings: Settings, probes: Sequence[Probe]) -> list[Answer]:
    prober = NetworkProber(SystemClock(), Logins(settings.supervisors))
    turn = asyncio.Semaphore(AT_ONCE)

    async def ask(probe: Probe) -> Answer:
        async with turn:
            return await prober.ask(probe.address, probe)

    return await asyncio.gather(*map(ask, probes))


def _journal(settings: Settings, connection: sqlite3.Connection) -> Iterator[Finding]:
    """The newest seal against its entries, the seal before it and the anchor outside."""
    newest = connection.execute("SELECT max(at), max(seq) FROM journal").fetchone()
    ahead = (newest[0] or 0) - int(time.time() * 1000)
    if ahead > AHEAD:
        wrong = f"the clock stands {ahead // SECOND} s before the newest entry of the journal"
        yield Finding("clock", wrong, "set it, best by NTP, before opx goes on")
    broken = _broken(settings, connection, newest[1] or 0)
    if broken:
        mend = "opx audit verify names the place; compare with a backup, and ask who was there"
        yield Finding("journal", f"the journal is not what was written: {broken}", mend)


def _broken(settings: Settings, connection: sqlite3.Connection, newest: int) -> str:
    sealed, written = rows.of(Seal), rows.of(Entry)
    found = connection.execute(
        f"SELECT {sealed.selected} FROM seals ORDER BY last DESC LIMIT 2"
    ).fetchall()
    try:
        seals = [sealed.decode(*row) for row in found]
        anchors = AnchorFile(settings.anchors).read()
    except OpxError as error:
        return str(error)
    if not seals:
        return "its seals are gone" if anchors and newest < anchors[-1].last else ""
    seal, before = seals[0], seals[1] if len(seals) > 1 else None
    between = (seal.first, seal.last)
    entries = connection.execute(
        f"SELECT {written.selected} FROM journal WHERE seq BETWEEN ? AND ? ORDER BY seq", between
    ).fetchall()
    try:
        made = audit.seal(before, [written.decode(*row) for row in entries], seal.at)
    except (Damaged, ValueError) as error:
        return str(error)
    if (made.first, made.last, made.hash) != (seal.first, seal.last, seal.hash):
        return f"entries {seal.first} to {seal.last} are not what was sealed"
    if not anchors:
        return f"{settings.anchors.name} is gone, and nothing outside the database vouches for it"
    if any(one.last == seal.last and one.hash != seal.hash for one in anchors):
        return f"its head ({seal.last}) is not what was anchored"
    return "what was anchored is gone" if anchors[-1].last > newest else ""


def _notices(settings: Settings, connection: sqlite3.Connection) -> Iterator[Finding]:
    since = int((time.time() - 24 * LATELY_S) * 1000)
    found = connection.execute(
        "SELECT count(*), max(json_extract(d.body, '$.error')) FROM deliveries d"
        " JOIN notices n ON n.id = d.notice WHERE d.status = 'gave_up' AND n.at >= ?",
        (since,),
    ).fetchone()
    if found[0]:
        wrong = f"{found[0]} notices of the last day reached nobody: {found[1]}"
        yield Finding("notices", wrong, "mend webhook_url or what listens there; see opx notices")


def _quarantine(settings: Settings, connection: sqlite3.Connection) -> Iterator[Finding]:
    since = int((time.time() - LATELY_S) * 1000)
    (count,) = connection.execute(
        "SELECT count(*) FROM quarantine WHERE at >= ?", (since,)
    ).fetchone()
    if count >= GROWS:
        wrong = f"{count} items that were sent in the last hour were refused"
        yield Finding(
            "quarantine", wrong, "opx quarantine names sender and reason: mend the sender"
        )


def keys(settings: Settings) -> Iterator[Finding]:
    """Whether both are there and fit. One that others may read is told of elsewhere."""
    if not (settings.data / "opx.db").exists():
        return
    again = "stop opx, remove both files in keys/, start it again: it makes a new pair"
    try:
        signer, verifier = KeySigner.load(settings.keys), KeyVerifier.load(settings.keys)
        if not verifier.genuine(b"doctor", signer.sign(b"doctor")):
            wrong = f"{SIGN} and {VERIFY} do not belong together: hands refuses every order"
            yield Finding("keys", wrong, again)
    except Refused:
        return
    except (NotFound, Damaged) as error:
        yield Finding("keys", str(error), again)
    except OSError as error:
        yield Finding(
            "keys", f"{error.filename}: {error.strerror}", "make it readable, or " + again
        )


def brain(settings: Settings) -> Iterator[Finding]:
    """What a running brain says of itself: nothing, that it is late, or that loops fail."""
    if not locks.held(settings.data / "brain.lock"):
        return
    pid = locks.said(settings.data / "brain.lock").get("pid", "PID")
    if not settings.socket.exists():
        wrong = f"{settings.socket.name} is gone: front cannot ask brain"
        yield Finding("brain", wrong, f"kill {pid}: opx up starts it again, and loses nothing")
        return
    state = asyncio.run(BrainClient(settings.socket).state())
    if state is None:
        mend = f"opx up restarts what hangs within a minute; or: kill -CONT {pid}; kill -9 {pid}"
        yield Finding("brain", f"brain (pid {pid}) runs and does not answer", mend)
        return
    if state.lag > MOST_LAG:
        wrong = f"telemetry waits: the oldest that is not taken in came {state.lag // SECOND} s ago"
        yield Finding("lag", wrong, "see what fails here, else send less or give it more processor")
    for name, loop in sorted(state.loops.items()):
        if loop.since is not None:
            at = time.strftime("%H:%M:%S", time.localtime(loop.since / SECOND))
            wrong = f"{name} fails since {at} ({loop.failures} times): {loop.error}"
            yield Finding("loop", wrong, "mend what it names; it is tried again by itself")


CHECKS: tuple[Callable[[Settings], Iterator[Finding]], ...] = (database, keys, brain)
