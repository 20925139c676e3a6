# SPDX-License-Identifier: Apache-2.0

"""What became of services, as predictions are told and judged: failures, and what was done.

Beneath the beats that see to it and the queries that count it. An incident is a failure of the
service it comes from when it has its first symptom, mostly as it is opened, whatever becomes of
it later. A run acts with its first order; so does whoever changed something and told of it by
an event. It must never take what was found elsewhere for a failure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from opx.core.act.run import OrderRecord, Run
from opx.core.analyse.changes import TYPES, Changed, subject_of
from opx.core.base import canonical
from opx.core.base.time import Ms
from opx.core.correlate.episode import Group
from opx.core.correlate.stage import identity_of
from opx.core.detect.predict.prediction import Happened, Withdrawn
from opx.core.incident.incident import Incident
from opx.core.ingest.signals import Event, Identity
from opx.engine.ports import Entry, ReadTx, Where

OPENED, ORDERED = "incident.opened", "order.issued"
FAILED = "incident.failed"
"""In the journal, where the first symptom came to an incident that was opened on evidence."""
PAGE = 1_000


def failures_in(incidents: Iterable[Incident], at: Ms) -> list[Happened]:
    """Of these incidents, just opened or with their first symptom."""
    found = (_failure(one.group, one.symptoms, at) for one in incidents)
    return [one for one in found if one is not None]


def changes_in(events: Iterable[Event]) -> list[Happened]:
    """What these, just received, tell of."""
    return changes(canonical.plain(one) for one in events if one.type in TYPES)


def changes(events: Iterable[Mapping[str, Any]]) -> list[Happened]:
    """Of those events, in their plain form, that tell of a change. None is later than it was
    received, whatever its clock says."""
    told = [(Changed.of(one), one.get("received_at")) for one in events]
    return [
        _acted(one.group, min(one.at, at) if isinstance(at, int) else one.at)
        for one, at in told
        if one is not None and one.group.service
    ]


def changes_of(tx: ReadTx, group: Group, since: Ms) -> list[Happened]:
    """What the service's events told of from then on."""
    about = Where("subject", "eq", subject_of(group))
    return changes(entry.body.get("event", {}) for entry in _entries(tx, about, since))


def run_began(run: Run, at: Ms) -> Happened:
    """Its first order was given."""
    return _acted(Group(run.proposal.environment, run.proposal.service), at)


def failures(tx: ReadTx, since: Ms) -> list[Happened]:
    """From then on."""
    told = [
        (entry.at, entry.body["incident"])
        for kind in (OPENED, FAILED)
        for entry in _entries(tx, Where("kind", "eq", kind), since)
    ]
    found = (_failure(Group(**one["group"]), one["symptoms"], at) for at, one in told)
    return [one for one in found if one is not None]


def acts(tx: ReadTx, since: Ms) -> list[Happened]:
    """What runs did from then on."""
    found = []
    for entry in _entries(tx, Where("kind", "eq", ORDERED), since):
        run, its = tx.get(Run, entry.body["run"]), Where("run", "eq", entry.body["run"])
        mine = tx.find(OrderRecord, its, order="order.issued_at", limit=1)
        if run is not None and mine and mine[0].id == entry.body["order"]:
            found.append(run_began(run, entry.at))
    return found


def _failure(group: Group, symptoms: int, at: Ms) -> Happened | None:
    environment, service = identity_of(group)
    if not symptoms or not service:
        return None
    return Happened(identity=Identity(environment, service), at=at, what=Withdrawn.FAILED)


def _acted(group: Group, at: Ms) -> Happened:
    identity = Identity(group.environment, group.service)
    return Happened(identity=identity, at=at, what=Withdrawn.ACTED)


def _entries(tx: ReadTx, which: Where, since: Ms) -> Iterator[Entry]:
    """From the end of the journal, page by page: it may be long."""
    page = tx.find(Entry, which, order="-seq", limit=PAGE)
    while page:
        for entry in page:
            if entry.at < since:
                return
            yield entry
        page = tx.find(Entry, which, Where("seq", "lt", page[-1].seq), order="-seq", limit=PAGE)
