# SPDX-License-Identifier: Apache-2.0

"""Documents as they are kept: put, withdrawn, compared, and reported when they cannot be read.

The inside of what ``people`` do to documents, each function within a transaction of theirs
or of ``brain``. What is kept is the text; its hash is of the content, so another layout is
kept without waking anybody. It never reads YAML: a ``Check`` does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from opx.core.base import calendars, ids
from opx.core.base.documents import Document
from opx.core.base.time import Ms
from opx.core.decide import grants
from opx.core.decide.case import Policy
from opx.core.decide.documents import bind_policy
from opx.core.ingest.services import Catalogue
from opx.engine import journal, queries
from opx.engine.beats.case import Problem
from opx.engine.ports import Entry, ReadTx, StoredDocument, Where, WriteTx
from opx.errors import Conflict, NotFound, Refused

Plain = dict[str, Any]

POLICY = "Policy"
SECOND_PERSON_KINDS = frozenset({"Runbook", POLICY, calendars.KIND})
SKIPPED = "document.skipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A document that was read and bound. ``id``: where it is kept. ``text``: its own YAML.
    ``before``: what is kept there now, None when nothing is, or nothing that can be read."""

    id: str
    document: Document
    text: str
    before: Document | None = None


Check = Callable[[str, str, Sequence[StoredDocument]], Sequence[Checked]]
"""``check(text, source, known)``: every document of ``text``, bound, its references resolved
in itself and ``known``, whose namesakes it replaces. ``DocumentError`` on the first bad one."""
Checking = Callable[[str, str, Sequence[StoredDocument]], Awaitable[Sequence[Checked]]]
"""A ``Check`` that is waited for."""


class Change(StrEnum):
    ADDED = "added"
    CHANGED = "changed"
    REFORMATTED = "reformatted"
    """The same content in another text."""
    UNCHANGED = "unchanged"


def stored(checked: Checked, by: str, now: Ms) -> StoredDocument:
    document = checked.document
    return StoredDocument(
        id=checked.id,
        kind=document.kind,
        name=document.name,
        hash=document.hash,
        text=checked.text,
        source=document.source,
        applied_by=by,
        applied_at=now,
    )


def state(known: Iterable[StoredDocument]) -> str:
    """What names exactly these documents, in the order of their ids: other ones, another."""
    return ids.derived("documents", list(known))


def still(tx: ReadTx, known: Sequence[StoredDocument]) -> dict[str, StoredDocument]:
    """The documents by id. ``Conflict`` unless they are those that were looked at."""
    current = {document.id: document for document in queries.stored_documents(tx)}
    if current != {document.id: document for document in known}:
        raise Conflict("other documents were applied meanwhile: check again")
    return current


def change(checked: Checked, before: StoredDocument | None) -> Change:
    """What putting ``checked`` where ``before`` is comes to."""
    if before is None:
        return Change.ADDED
    if before.hash != checked.document.hash:
        return Change.CHANGED
    return Change.UNCHANGED if before.text == checked.text else Change.REFORMATTED


def put(tx: WriteTx, new: StoredDocument, before: StoredDocument | None, what: Change) -> Plain:
    """Keep one document. Who applied its content, and when, outlasts a new layout of it."""
    if what is not Change.UNCHANGED:
        same = what is Change.REFORMATTED and before is not None
        tx.set(replace(before, text=new.text, source=new.source) if same and before else new)
        tx.append(
            journal.entry(
                new.applied_at,
                new.id,
                "document.reformatted" if same else "document.applied",
                new.applied_by,
                hash=new.hash,
                text=new.text,
                before=before.hash if before else "",
                single_person=not same and new.kind in SECOND_PERSON_KINDS,
            )
        )
    return {"id": new.id, "hash": new.hash, "change": what.value}


def withdraw(tx: WriteTx, document: StoredDocument, by: str, now: Ms) -> Plain:
    """Keep it no longer; the journal says what it was."""
    tx.drop(StoredDocument, Where("id", "eq", document.id))
    single = document.kind in SECOND_PERSON_KINDS
    tx.append(
        journal.entry(
            now, document.id, "document.deleted", by, before=document.hash, single_person=single
        )
    )
    return {"id": document.id, "hash": document.hash}


def withdrawable(known: Iterable[StoredDocument], id: str, catalogue: Catalogue) -> StoredDocument:
    """The document of this id. ``NotFound``; ``Refused`` while a service depends on it."""
    found = next((document for document in known if document.id == id), None)
    if found is None:
        raise NotFound(f"there is no document {id!r}", hint="Service/ENVIRONMENT/NAME, KIND/NAME")
    dependants = sorted(one.id for one in catalogue.services.values() if id in one.needs)
    if dependants:
        raise Refused(f"{', '.join(dependants)} depends on {id}", hint="delete or change it first")
    return found


def plan(
    checked: Sequence[Checked], known: Iterable[StoredDocument], policy: Policy
) -> list[Plain]:
    """What applying would do, document by document: ``change``; ``fields`` that differ, each
    with ``old`` and ``new``; and by which of them the ``policy`` in force ``loosens``."""
    current = {document.id: document for document in known}
    return [
        {
            "id": one.id,
            "hash": one.document.hash,
            "change": change(one, current.get(one.id)).value,
            "fields": differences(one.before.root.plain(), one.document.root.plain())
            if one.before
            else [],
            "loosens": list(loosened(policy, one)),
        }
        for one in checked
    ]


def loosened(policy: Policy, checked: Checked) -> tuple[str, ...]:
    """The fields by which a document lets opx do more than ``policy``; its own id, when it is a
    calendar that the policy goes by and changes; of other kinds none."""
    document, before = checked.document, checked.before
    if document.kind == POLICY:
        return grants.loosens(policy, bind_policy(document))
    same = before is not None and before.hash == document.hash
    goes_by = document.kind == calendars.KIND and document.name in policy.calendars
    return (checked.id,) if goes_by and not same else ()


def differences(old: object, new: object, field: str = "") -> list[Plain]:
    """The fields, ``spec.steps[0].timeout``, in which two plain trees differ; None: absent."""
    if old == new and type(old) is type(new):
        return []
    one, other = _branches(old), _branches(new)
    if one is None or other is None or not (one or other):
        return [{"field": field, "old": old, "new": new}]
    return [
        row
        for name in dict.fromkeys((*one, *other))
        for row in differences(one.get(name), other.get(name), _path(field, name))
    ]


def _branches(value: object) -> dict[str | int, object] | None:
    """What is below a value, by name or place; None below text and numbers."""
    if isinstance(value, list):
        return dict(enumerate(value))
    if isinstance(value, dict) or value is None:
        return value or {}
    return None


def _path(field: str, name: str | int) -> str:
    if isinstance(name, int):
        return f"{field}[{name}]"
    return f"{field}.{name}" if field else name


def report(tx: WriteTx, problems: Iterable[Problem], by: str, now: Ms) -> None:
    """Write down what cannot be read, once for each content of it."""
    for problem in problems:
        about = [Where("subject", "eq", problem.id), Where("kind", "eq", SKIPPED)]
        if all(entry.body["hash"] != problem.hash for entry in tx.find(Entry, *about)):
            tx.append(
                journal.entry(
                    now,
                    problem.id,
                    SKIPPED,
                    by,
                    hash=problem.hash,
                    line=problem.line,
                    error=problem.error,
                    means=problem.means,
                )
            )
