# SPDX-License-Identifier: Apache-2.0

"""The table of tables: every record the store keeps, and what it can be found by.

Read by each ``Store`` (the SQL one makes its tables from it, the fake is as strict), so a
query that works on one works on all. A record is a frozen dataclass with an ``id``; one
with a ``version`` is saved by compare-and-set. ``Entry`` alone has a ``seq`` instead. It
must never hold more than names: how a record is stored is the adapter's.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from opx.core.act.run import OrderRecord, Run
from opx.core.analyse.insight import Insight
from opx.core.correlate.episode import Episode, Ruling
from opx.core.correlate.silences import Silence
from opx.core.decide.case import Approval, Breaker, Grant, Lease, Mode, TrackRecord
from opx.core.decide.decision import Decision
from opx.core.detect.finding import Finding
from opx.core.detect.predict.prediction import Prediction
from opx.core.incident.incident import Incident
from opx.core.ingest.signals import Rejected, StoredEvent
from opx.core.learn.outcome import Outcome
from opx.core.notify.notice import Delivery, Notice
from opx.engine.ports import (
    Command,
    Entry,
    PendingWork,
    Saved,
    Seal,
    StoredDocument,
    Token,
)

Paths = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Record:
    """``indexes``: one index each, of field paths (``group.service``), most telling first."""

    kind: type
    table: str
    indexes: tuple[Paths, ...] = ()

    @property
    def key(self) -> str:
        return "seq" if self.kind is Entry else "id"

    @property
    def versioned(self) -> bool:
        return any(field.name == "version" for field in fields(self.kind))

    @property
    def paths(self) -> Paths:
        """The indexed fields besides the key, each once."""
        every = dict.fromkeys(path for index in self.indexes for path in index)
        return tuple(path for path in every if path != self.key)

    @property
    def droppable(self) -> bool:
        """Whether its rows may ever go. The journal is the truth, and the seals prove it."""
        return self.kind not in (Entry, Seal)

    def check(self, path: str) -> None:
        """``ValueError`` unless the record can be found, or ordered, by ``path``."""
        if path != self.key and path not in self.paths:
            known = ", ".join((self.key, *self.paths))
            raise ValueError(f"{self.kind.__name__} is not indexed by {path!r}; it is by {known}")


def _group(prefix: str, at: str) -> Paths:
    return (f"{prefix}.environment", f"{prefix}.service", at)


RECORDS = (
    Record(Finding, "findings", (_group("identity", "at"), ("state", "since"))),
    Record(Episode, "episodes", (_group("group", "started_at"), ("ended_at",))),
    Record(
        Incident,
        "incidents",
        (
            # With the id last, so that a page is read off an index wherever it begins.
            ("group.service", "status", "severity", "opened_at", "id"),
            ("status", "severity", "opened_at", "id"),
            ("opened_at", "id"),
            ("updated_at",),
            ("episode",),
        ),
    ),
    Record(Ruling, "rulings"),
    Record(Silence, "silences", (("ends_at",),)),
    Record(
        Prediction,
        "predictions",
        (("withdrawn", "held_back", "made_at", "id"), ("made_at", "id"), ("expires_at",)),
    ),
    Record(Insight, "insights", (("episode", "at"),)),
    Record(Decision, "decisions", (("incident", "at"), ("run", "at"))),
    Record(
        Run,
        "runs",
        (
            ("incident", "number"),
            ("status", "due_at"),
            ("due_at",),
            ("probation", "ended_at"),
            ("created_at",),
            _group("group", "created_at"),
        ),
    ),
    Record(OrderRecord, "orders", (("status", "order.issued_at"), ("run", "order.issued_at"))),
    Record(Approval, "approvals", (("incident",), ("approved", "expires_at"), ("requested_at",))),
    Record(Mode, "modes"),
    Record(Grant, "grants", (("expires_at",),)),
    Record(TrackRecord, "track_records"),
    Record(Breaker, "breakers", (("opened_at",),)),
    Record(Lease, "leases", (("run",), ("expires_at",))),
    Record(Outcome, "outcomes", (("incident", "at"), ("at",))),
    Record(Notice, "notices", (("incident", "at"), ("at",))),
    Record(Delivery, "deliveries", (("status", "due_at"), ("notice",))),
    Record(Rejected, "quarantine", (("at",), ("wire", "at"))),
    Record(Entry, "journal", (("subject", "seq"), ("kind", "seq"), ("at",))),
    Record(StoredEvent, "events", (("event.received_at",),)),
    Record(Seal, "seals", (("last",),)),
    Record(Saved, "positions"),
    Record(StoredDocument, "documents", (("kind", "name"),)),
    Record(Command, "commands", (("done_at", "at"), ("subject", "at"))),
    Record(Token, "tokens", (("name",), ("revoked_at",), ("expires_at",))),
    Record(PendingWork, "pending_work", (("state", "not_before"),)),
)

_BY_KIND = {record.kind: record for record in RECORDS}


def of(kind: type) -> Record:
    """``ValueError`` when nothing keeps such records."""
    record = _BY_KIND.get(kind)
    if record is None:
        raise ValueError(f"{kind.__name__} is not a record that is kept: see engine/records.py")
    return record
