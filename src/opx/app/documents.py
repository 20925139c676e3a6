# SPDX-License-Identifier: Apache-2.0

"""Reading documents: from YAML text to what the engine knows.

Used by ``front`` to check what somebody applies, by ``brain`` to bind what is in force, and
by ``opx lint``. It binds each kind with the reader of the stage that owns it. A text that
somebody applies is refused as a whole when one document in it is wrong; what is in force
and cannot be read any more is left out and named, and the rest holds.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from opx.adapters import actions
from opx.adapters.wires.documents import parse_yaml
from opx.core.base import calendars
from opx.core.base.calendars import Calendar, bind_calendar
from opx.core.base.documents import Document
from opx.core.decide.actions import ActionSpec
from opx.core.decide.case import STRICTEST, Policy
from opx.core.decide.documents import bind_policy, bind_runbook
from opx.core.decide.runbooks import Runbook
from opx.core.detect.rules import DetectionRule, bind_rule
from opx.core.ingest import mapping
from opx.core.ingest.mapping import MappingRule, bind_mapping
from opx.core.ingest.services import Catalogue, Service, bind_service
from opx.engine.beats.case import Knowledge, Problem
from opx.engine.documents import POLICY, Checked
from opx.engine.ports import StoredDocument
from opx.errors import BadInput, DocumentError, OpxError

ONLY_POLICY = "default"
MARKERS = ("---", "...")
"""Lines that stand between two documents."""
ACTIONS = actions.registry()
"""They speak for themselves here, and can reach nothing."""
SPECS: dict[str, ActionSpec] = {name: action.spec for name, action in ACTIONS.items()}


def zone(name: str) -> tzinfo:
    """The rules of an IANA time zone: the machine's, or those of the package tzdata."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, OSError) as error:
        raise ValueError(str(error)) from error


Bound = Calendar | Service | Runbook | Policy | DetectionRule | MappingRule
_READERS: dict[str, Callable[[Document], Bound]] = {
    calendars.KIND: lambda document: bind_calendar(document, zone),
    "Service": bind_service,
    "DetectionRule": bind_rule,
    mapping.KIND: bind_mapping,
    POLICY: bind_policy,
    "Runbook": lambda document: bind_runbook(document, SPECS),
}
KINDS = tuple(sorted(_READERS))
_MEANS = {
    calendars.KIND: "where the policy names it, opx does nothing",
    "Service": "it is not watched, and opx does not act on it",
    "DetectionRule": "it finds nothing",
    mapping.KIND: "signals are mapped as if there were none",
    POLICY: "until it can be read, opx does nothing without asking",
    "Runbook": "it is neither proposed nor carried on with",
}
"""What it means that a document of this kind is skipped."""


def would(action: str, target: str, inputs: dict[str, str]) -> str:
    """What an action says it would do, touching nothing; or why it makes no sense there."""
    try:
        return ACTIONS[action].dry_run(target, inputs)
    except OpxError as error:
        return f"could not be done: {error}"


def read(document: Document) -> Bound:
    """One document, bound. ``DocumentError`` when its kind or content is not valid."""
    reader = _READERS.get(document.kind)
    if reader is None:
        known = ", ".join(KINDS)
        raise document.at("kind").wrong(f"there is no kind {document.kind!r}", f"one of {known}")
    if document.kind == POLICY and document.name != ONLY_POLICY:
        said = f"there is one policy and it is named {ONLY_POLICY!r}"
        raise document.at("metadata", "name").wrong(said, "rename it")
    return reader(document)


def check(text: str, source: str, known: Sequence[StoredDocument]) -> Sequence[Checked]:
    """Every document of ``text``, read; references resolved in itself and ``known``."""
    checked, wrong = examine(text, source, known)
    if wrong:
        raise wrong[0]
    return checked


def examine(
    text: str, source: str, known: Sequence[StoredDocument]
) -> tuple[list[Checked], list[DocumentError]]:
    """The documents of ``text`` that are well, and what is wrong with the others, by line."""
    try:
        documents = parse_yaml(text, source)
        if not documents:
            raise DocumentError("there is no document in it", source=source, line=1)
    except DocumentError as error:
        return [], [error]
    before = {stored.id: stored for stored in known}
    checked: dict[str, Checked] = {}
    naming: dict[str, tuple[Document, Service | Policy]] = {}
    wrong: list[DocumentError] = []
    for document, own in zip(documents, _texts(text, documents), strict=True):
        try:
            bound = read(document)
            id = _id(document, bound)
            if id in checked:
                raise document.at("metadata", "name").wrong(f"{id} stands twice in this text")
            _stands_alone(document, own)
        except DocumentError as error:
            wrong.append(error)
            continue
        was = _envelope(before[id]) if id in before else None
        checked[id] = Checked(id=id, document=document, text=own, before=was)
        if isinstance(bound, Service | Policy):
            naming[id] = document, bound
    if not wrong:  # what is missing may just be wrong
        unfit = [*_unresolved(naming, {*before, *checked}), *_second_mappings(before, checked)]
        wrong = [error for _, error in unfit]
        for id in {id for id, _ in unfit}:
            del checked[id]
    return list(checked.values()), wrong


def _unresolved(
    naming: Mapping[str, tuple[Document, Service | Policy]], ids: Collection[str]
) -> Iterator[tuple[str, DocumentError]]:
    """A service may only depend on services that are there, in its own environment, and the
    policy only name calendars that are."""
    for id, (document, bound) in naming.items():
        for needed, said, hint in _named(bound):
            if needed not in ids:
                source, line = document.source, document.line
                yield id, DocumentError(said, source=source, line=line, hint=hint)


def _second_mappings(
    before: Iterable[str], checked: Mapping[str, Checked]
) -> Iterator[tuple[str, DocumentError]]:
    """Of two rules that map labels, neither could say which holds: there is one at most."""
    kept = (id for id in (*before, *checked) if id.partition("/")[0] == mapping.KIND)
    first = next(kept, "")
    for id, one in checked.items():
        if one.document.kind == mapping.KIND and id != first:
            said = f"there is a Mapping already and it is named {first.partition('/')[2]!r}"
            hint = "one holds at most: change that one, or delete it first"
            yield id, one.document.at("kind").wrong(said, hint)


def _named(bound: Service | Policy) -> list[tuple[str, str, str]]:
    """The ids of what it names; of each, what to say when it is not there, and what to do."""
    if isinstance(bound, Policy):
        hint = "apply it too, or remove it from changeWindow and freezes"
        return [
            (f"{calendars.KIND}/{name}", f"the policy names {name!r}, which is no Calendar", hint)
            for name in bound.calendars
        ]
    where, hint = bound.environment, "apply its Service too, or remove it from dependsOn"
    return [
        (id, f"{bound.name} depends on {other!r}, which is no service in {where!r}", hint)
        for other, id in zip(bound.depends_on, bound.needs, strict=True)
    ]


def bind(documents: Sequence[StoredDocument]) -> Knowledge:
    """What the stored documents say, those left out that cannot be read (any more)."""
    bound: list[Bound] = []
    problems: list[Problem] = []
    for stored in documents:
        try:
            bound.append(_kept(stored))
        except BadInput as error:
            problems.append(_problem(stored, error))
    unread = any(problem.id.partition("/")[0] == POLICY for problem in problems)
    policy = next((one for one in bound if isinstance(one, Policy)), Policy())
    services = [one for one in bound if isinstance(one, Service)]
    rule = next((one for one in bound if isinstance(one, MappingRule)), MappingRule())
    return Knowledge(
        catalogue=Catalogue(
            services={(one.environment, one.name): one for one in services}, mapping=rule
        ),
        runbooks=tuple(one for one in bound if isinstance(one, Runbook)),
        policy=STRICTEST if unread else policy,
        rules=tuple(one for one in bound if isinstance(one, DetectionRule)),
        calendars={one.name: one for one in bound if isinstance(one, Calendar)},
        problems=tuple(problems),
    )


def _kept(stored: StoredDocument) -> Bound:
    found = parse_yaml(stored.text, stored.source or stored.id)
    if len(found) != 1:
        raise BadInput(f"{len(found)} documents are kept under this id")
    bound = read(found[0])
    if _id(found[0], bound) != stored.id:
        raise BadInput(f"it calls itself {_id(found[0], bound)}")
    return bound


def _problem(stored: StoredDocument, error: BadInput) -> Problem:
    return Problem(
        id=stored.id,
        hash=stored.hash,
        line=error.line if isinstance(error, DocumentError) else 0,
        error=str(error),
        means=_MEANS.get(stored.kind, "it means nothing to opx"),
    )


def _id(document: Document, bound: Bound) -> str:
    return bound.id if isinstance(bound, Service) else f"{document.kind}/{document.name}"


def _envelope(stored: StoredDocument) -> Document | None:
    """A stored document, not bound; None when not even that much of it can be read."""
    try:
        return next(iter(parse_yaml(stored.text, stored.source or stored.id)), None)
    except DocumentError:
        return None


def _stands_alone(document: Document, own: str) -> None:
    """What is stored must say by itself what was checked: no directives, no tricks."""
    try:
        same = [one.hash for one in parse_yaml(own, document.source)] == [document.hash]
    except DocumentError:
        same = False
    if not same:
        raise document.root.wrong("this document cannot stand alone", "write it without directives")


def _texts(text: str, documents: Sequence[Document]) -> list[str]:
    """The lines of each document on their own, the remarks above it included."""
    lines = text.splitlines()
    heads = []
    after = 0
    for document in documents:
        own = document.line - 1
        markers = [at for at in range(after, own) if lines[at].rstrip() in MARKERS]
        heads.append(markers[-1] + 1 if markers else after)
        after = own + 1
    pieces = []
    for head, following in zip(heads, [*heads[1:], len(lines)], strict=True):
        own_lines = [line for line in lines[head:following] if line.rstrip() not in MARKERS]
        pieces.append("\n".join(own_lines).strip("\n") + "\n")
    return pieces
