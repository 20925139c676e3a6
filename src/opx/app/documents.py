# SPDX-License-Identifier: Apache-2.0

"""Reading documents: from YAML text to what the engine knows.

Used by ``front`` to check what somebody applies, by ``brain`` to bind what is in force, and
by ``opx lint``. It binds each kind with the reader of the stage that owns it, and refuses
a text as a whole when one document in it is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from opx.adapters import actions
from opx.adapters.wires.documents import parse_yaml
from opx.core.base.documents import Document
from opx.core.decide.actions import ActionSpec
from opx.core.decide.case import Policy
from opx.core.decide.documents import bind_policy, bind_runbook
from opx.core.decide.runbooks import Runbook
from opx.core.detect.rules import ThresholdRule, bind_rule
from opx.core.ingest.services import Catalogue, Service, bind_service
from opx.engine.beats.case import Knowledge
from opx.engine.people import Checked
from opx.engine.ports import StoredDocument
from opx.errors import DocumentError

ONLY_POLICY = "default"
SPECS: dict[str, ActionSpec] = {name: action.spec for name, action in actions.registry().items()}

Bound = Service | Runbook | Policy | ThresholdRule
_READERS: dict[str, Callable[[Document], Bound]] = {
    "Service": bind_service,
    "DetectionRule": bind_rule,
    "Policy": bind_policy,
    "Runbook": lambda document: bind_runbook(document, SPECS),
}


def read(document: Document) -> Bound:
    """One document, bound. ``DocumentError`` when its kind or content is not valid."""
    reader = _READERS.get(document.kind)
    if reader is None:
        known = ", ".join(sorted(_READERS))
        raise document.spec.wrong(f"there is no kind {document.kind!r}", f"one of {known}")
    if document.kind == "Policy" and document.name != ONLY_POLICY:
        raise document.spec.wrong(
            f"there is one policy and it is named {ONLY_POLICY!r}", "rename it"
        )
    return reader(document)


def check(text: str, source: str, known: Sequence[StoredDocument]) -> Sequence[Checked]:
    """Every document of ``text``, read; references resolved in itself and ``known``."""
    documents = parse_yaml(text, source)
    if not documents:
        raise DocumentError("there is no document in it", source=source, line=1)
    seen: set[str] = set()
    for document in documents:
        id = f"{document.kind}/{document.name}"
        if id in seen:
            raise document.spec.wrong(f"{id} stands twice in this text")
        seen.add(id)
    bound = [read(document) for document in documents]
    _resolve(documents, bound, known)
    checked = []
    for document, own in zip(documents, _texts(text, documents), strict=True):
        _stands_alone(document, own)
        checked.append(Checked(document=document, text=own))
    return checked


def bind(documents: Sequence[StoredDocument]) -> Knowledge:
    """What the stored documents say. ``DocumentError`` when one is not valid any more."""
    bound = [
        read(document)
        for stored in documents
        for document in parse_yaml(stored.text, stored.source or stored.id)
    ]
    services = [one for one in bound if isinstance(one, Service)]
    return Knowledge(
        catalogue=Catalogue(services={(one.environment, one.name): one for one in services}),
        runbooks=tuple(one for one in bound if isinstance(one, Runbook)),
        policy=next((one for one in bound if isinstance(one, Policy)), Policy()),
        rules=tuple(one for one in bound if isinstance(one, ThresholdRule)),
    )


def _resolve(
    documents: Sequence[Document], bound: Sequence[Bound], known: Sequence[StoredDocument]
) -> None:
    """A service may only depend on services that are there."""
    names = {stored.name for stored in known if stored.kind == "Service"}
    names |= {document.name for document in documents if document.kind == "Service"}
    before = {stored.id: stored for stored in known}
    for document, one in zip(documents, bound, strict=True):
        stored = before.get(f"{document.kind}/{document.name}")
        if isinstance(one, Service) and stored is not None:
            _same_environment(document, one, stored)
        for other in one.depends_on if isinstance(one, Service) else ():
            if other not in names:
                raise DocumentError(
                    f"{document.name} depends on {other!r}, which is no service",
                    source=document.source,
                    line=document.line,
                    hint="apply its Service too, or remove it from dependsOn",
                )


def _same_environment(document: Document, service: Service, stored: StoredDocument) -> None:
    """A name is one service: applying it elsewhere would silently stop watching the first."""
    for old in parse_yaml(stored.text, stored.source or stored.id):
        environment = bind_service(old).environment
        if environment != service.environment:
            raise document.spec.wrong(
                f"{service.name!r} is a service in {environment!r} already", "give it another name"
            )


def _stands_alone(document: Document, own: str) -> None:
    """What is stored must say by itself what was checked: no directives, no tricks."""
    try:
        same = [one.hash for one in parse_yaml(own, document.source)] == [document.hash]
    except DocumentError:
        same = False
    if not same:
        raise document.spec.wrong("this document cannot stand alone", "write it without directives")


def _texts(text: str, documents: Sequence[Document]) -> list[str]:
    """The lines of each document on their own."""
    lines = text.splitlines()
    starts = [document.line - 1 for document in documents]
    pieces = []
    for start, following in zip(starts, [*starts[1:], len(lines)], strict=True):
        own = [line for line in lines[start:following] if line.rstrip() not in ("---", "...")]
        pieces.append("\n".join(own).strip("\n") + "\n")
    return pieces
