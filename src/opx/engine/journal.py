# SPDX-License-Identifier: Apache-2.0

"""Making journal entries: the one timeline, audit, run log and outbox.

Every beat and every verb appends through ``entry``, in the transaction that does the
thing, so that what is not in the journal did not happen.
"""

from __future__ import annotations

from opx.core.base import canonical
from opx.core.base.time import Ms
from opx.engine.ports import Entry


def entry(at: Ms, subject: str, kind: str, actor: str, **body: object) -> Entry:
    """One entry. ``body`` may hold any value that has a canonical JSON form."""
    return Entry(at=at, subject=subject, kind=kind, actor=actor, body=canonical.plain(body))
