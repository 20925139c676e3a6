# SPDX-License-Identifier: Apache-2.0

"""Making journal entries: the one timeline, audit, run log and outbox.

Every beat and every verb appends through ``entry``, in the transaction that does the
thing, so that what is not in the journal did not happen.
"""

from __future__ import annotations

from typing import Any

from opx.core.base import canonical
from opx.core.base.time import Ms
from opx.core.correlate.episode import Group
from opx.engine.ports import Entry, ReadTx, Where

SUPPRESSED = "finding.suppressed"
WAITS = "episode.waits"
"""Its ``promotion`` says why no incident came of an episode; ``finding``: what had come to it."""


def entry(at: Ms, subject: str, kind: str, actor: str, **body: object) -> Entry:
    """One entry. ``body`` may hold any value that has a canonical JSON form."""
    return Entry(at=at, subject=subject, kind=kind, actor=actor, body=canonical.plain(body))


def waits_of(group: Group) -> str:
    """The subject of what waits of a service."""
    return f"{group.environment}/{group.service}"


def waits(tx: ReadTx, subject: str) -> Entry | None:
    """The newest that waits there."""
    where = Where("subject", "eq", subject), Where("kind", "eq", WAITS)
    return next(iter(tx.find(Entry, *where, order="-seq", limit=1)), None)


def suppressed(tx: ReadTx, before: int, limit: int, service: str = "") -> list[dict[str, Any]]:
    """What changed nothing, newest first: the entries before ``before`` (0: the newest), about
    ``service`` or any. Each names the finding, its rule and the reason."""
    where = [Where("kind", "eq", SUPPRESSED)]
    where += [Where("seq", "lt", before)] if before else []
    where += [Where("subject", "eq", service)] if service else []
    rows = tx.find(Entry, *where, order="-seq", limit=limit)
    return [canonical.plain(row) for row in rows]
