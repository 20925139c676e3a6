# SPDX-License-Identifier: Apache-2.0

"""Replay: an incident put together again from its journal, and its decisions made again.

Pure, over journal entries (``gathered`` alone reads them). ``facts`` is what ``decide`` writes
into the journal beside a decision, and what a case is read back from; the documents in force
then come from the journal too. It must never look at what is stored but to compare with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Protocol, get_type_hints

import msgspec

from opx.core.base import canonical, ids
from opx.core.base.calendars import Calendar
from opx.core.base.time import MINUTE, Ms
from opx.core.correlate.episode import Group
from opx.core.decide import gate, guards, proposals
from opx.core.decide.case import Case, Policy
from opx.core.decide.decision import Decision
from opx.core.decide.runbooks import Runbook
from opx.core.detect.rules import DetectionRule
from opx.core.detect.witness import Witness
from opx.core.incident import history, lifecycle
from opx.core.incident.history import State
from opx.core.incident.incident import Incident
from opx.core.ingest.services import Catalogue, Service
from opx.core.ingest.signals import Identity
from opx.engine.ports import Entry, ReadTx, StoredDocument, Where
from opx.errors import Damaged

Plain = dict[str, Any]
_UNREADABLE = (ValueError, TypeError, KeyError, AttributeError)
"""What reading a body raises that is not what its kind says."""

OPENED, CHANGED, DECIDED = "incident.opened", "incident.changed", "run.decided"
LEARNED_WITHIN: Ms = MINUTE
"""brain goes by a changed document within this time; mostly it is a second."""
DOCUMENTS = ("document.applied", "document.reformatted", "document.deleted")
_TAUGHT = frozenset({"service", "runbook", "policy", "catalogue", "calendars"})
"""What of a case people taught: it is in the documents."""
_WITNESSES = frozenset({"witnesses", "beneath"})
_AFTER = {(str(before), str(it)): after for (before, it), after in lifecycle.TRANSITIONS.items()}
_MAY_FOLLOW = {(before, after) for (before, _), after in _AFTER.items()}


class Known(Protocol):
    """The documents in force, bound."""

    @property
    def policy(self) -> Policy: ...
    @property
    def catalogue(self) -> Catalogue: ...
    @property
    def calendars(self) -> Mapping[str, Calendar]: ...
    @property
    def runbooks(self) -> Sequence[Runbook]: ...
    def runbook(self, name: str) -> Runbook | None: ...
    def service(self, environment: str, name: str) -> Service | None: ...
    def rule(self, name: str) -> DetectionRule | None: ...


Bind = Callable[[Sequence[StoredDocument]], Known]


def digest(documents: Iterable[StoredDocument]) -> str:
    """The name of these documents together, by their content."""
    return ids.derived("documents", sorted((one.id, one.hash) for one in documents))


# ---------------------------------------------------------------- an incident


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilt:
    """``state``: None where its opening is not in the journal. ``broken``: what the journal says
    that cannot have been, by seq."""

    state: State | None = None
    broken: tuple[tuple[int, str], ...] = ()


def rebuild(entries: Iterable[Entry]) -> Rebuilt:
    """The incident that these entries, in order and all about it, say there is."""
    state: State | None = None
    broken: list[tuple[int, str]] = []
    for entry in entries:
        try:
            state = _after(state, entry, broken)
        except _UNREADABLE as error:
            broken.append((entry.seq, f"it cannot be read: {error!r}"))
    return Rebuilt(state=state, broken=tuple(broken))


def _after(state: State | None, entry: Entry, broken: list[tuple[int, str]]) -> State | None:
    """The state after an entry."""
    if entry.kind == OPENED:
        if state is not None:
            broken.append((entry.seq, "it was opened before"))
        return history.bare(entry.body["incident"])
    if state is not None:
        _take(state, entry, broken)
    elif entry.kind == CHANGED or "set" in entry.body:
        broken.append((entry.seq, "it was not opened yet"))
    return state


def _take(state: State, entry: Entry, broken: list[tuple[int, str]]) -> None:
    """Do to the state what an entry says was done."""
    body = entry.body
    before, after = state["status"], body.get("set", {}).get("status")
    if entry.kind == CHANGED:
        after = _AFTER.get((before, body["change"]))
        if after is None:
            broken.append((entry.seq, f"{body['change']} is not possible from {before}"))
            return
        state["status"] = after.value
        state |= lifecycle.times(after, entry.at)
    elif after is not None and (before, after) not in _MAY_FOLLOW:
        broken.append((entry.seq, f"nothing leads from {before} to {after}"))
    elif entry.kind == "insight.made":
        state["insight"] = body["insight"]["id"]
    elif entry.kind == "run.proposed":
        state["runs"] = body["number"]
    state |= body.get("set", {})


# ---------------------------------------------------------------- the facts of a decision


def facts(case: Case) -> Plain:
    """What a decision rests on besides the answers and the documents, for the journal."""
    told = {one.name: getattr(case, one.name) for one in fields(case) if one.name not in _TAUGHT}
    del told["answers"]
    told["ill"] = [[group, since] for group, since in case.ill.items()]
    for name in _WITNESSES & told.keys():
        told[name] = [[one.rule, one.identity] for one in told[name]]
    return dict(canonical.plain(told))


def case_of(told: Plain, answers: Plain, known: Known) -> Case:
    """The case that ``facts`` was made of. ``ValueError`` when it cannot be read."""
    case: Case = Case(**{name: _read(name, value, known) for name, value in told.items()})
    proposal = case.proposal
    return replace(
        case,
        answers=_read("answers", answers, known),
        policy=known.policy,
        catalogue=known.catalogue,
        calendars=known.calendars,
        runbook=known.runbook(proposal.runbook) if proposal else None,
        service=known.service(proposal.environment, proposal.service) if proposal else None,
    )


_HINTS = get_type_hints(Case)


def _read(name: str, value: Any, known: Known) -> Any:
    if name == "ill":
        return dict(msgspec.convert(value, list[tuple[Group, int]]))
    if name in _WITNESSES:
        return tuple(_witnesses(msgspec.convert(value, list[tuple[str, Identity]]), known))
    return msgspec.convert(value, _HINTS[name])


def _witnesses(told: Iterable[tuple[str, Identity]], known: Known) -> Iterator[Witness]:
    for name, identity in told:
        rule = known.rule(name)
        witness = Witness.of(rule, identity) if rule is not None else None
        if witness is None:
            raise ValueError(f"its rule {name} is not among the documents")
        yield witness


# ---------------------------------------------------------------- the documents


@dataclass(slots=True)
class Library:
    """The documents in force at each decision. ``told``: the journal about documents, in order;
    ``known``: those of now, by id and hash, for texts that the journal does not hold."""

    bind: Bind
    told: Sequence[Entry]
    known: Mapping[tuple[str, str], StoredDocument]
    _bound: dict[str, Known] = field(default_factory=dict)

    def at(self, decided: Entry) -> Known | None:
        """Those that the decision's ``documents`` is the digest of, where it has one; else all
        that were in force. brain learns of a change a moment after the journal, so it may be
        those of a moment before. None when they cannot be had."""
        wanted = decided.body.get("documents", "")
        current: dict[str, StoredDocument] = {}
        changed: list[tuple[Entry, StoredDocument | None]] = []
        for entry in self.told:
            if entry.seq > decided.seq:
                break
            changed.append((entry, current.pop(entry.subject, None)))
            document = None if entry.kind == DOCUMENTS[-1] else self._document(entry)
            if document is not None:
                current[entry.subject] = document
        while (name := digest(current.values())) != wanted and wanted:
            if not changed or changed[-1][0].at < decided.at - LEARNED_WITHIN:
                return None
            entry, before = changed.pop()
            current.pop(entry.subject, None)
            if before is not None:
                current[entry.subject] = before
        if name not in self._bound:
            self._bound[name] = self.bind(sorted(current.values(), key=lambda one: one.id))
        return self._bound[name]

    def _document(self, entry: Entry) -> StoredDocument | None:
        hash, text = entry.body.get("hash"), entry.body.get("text")
        if not isinstance(hash, str) or not isinstance(text, str | None):
            raise Damaged(f"Entry {entry.seq} does not say which document it was")
        if text is None:
            return self.known.get((entry.subject, hash))
        kind, _, name = entry.subject.partition("/")
        return StoredDocument(
            id=entry.subject,
            kind=kind,
            name=name.rpartition("/")[2],
            hash=hash,
            text=text,
            source="",
            applied_by=entry.actor,
            applied_at=entry.at,
        )


# ---------------------------------------------------------------- a decision


@dataclass(frozen=True, slots=True, kw_only=True)
class Redecided:
    """``again``: the answer now, None when it cannot be decided again, ``why``. ``differences``:
    the guards that do not say what they said: name, then and now."""

    seq: int
    decision: str
    at: Ms
    answer: str
    again: str | None = None
    why: str = ""
    differences: tuple[tuple[str, str, str], ...] = ()

    @property
    def same(self) -> bool:
        return self.again == self.answer and not self.differences


def redecide(entry: Entry, about: Iterable[Entry], known: Known | None) -> Redecided:
    """Decide a ``run.decided`` again. ``about``: the incident's entries before it."""
    try:
        then: Decision = msgspec.convert(entry.body["decision"], Decision)
    except _UNREADABLE as error:
        why = f"it cannot be read: {error!r}"
        return Redecided(seq=entry.seq, decision="", at=entry.at, answer="", why=why)
    told = Redecided(seq=entry.seq, decision=then.id, at=then.at, answer=then.answer.name.lower())
    if known is None:
        return replace(told, why="the documents that were in force are not in the journal")
    try:
        now = _again(entry, then, about, known)
    except _UNREADABLE as error:
        return replace(told, why=f"its facts cannot be read: {error}")
    if now is None:
        return replace(told, why="its facts are not in the journal")
    return replace(told, again=now.answer.name.lower(), differences=tuple(_differ(then, now)))


def _again(entry: Entry, then: Decision, about: Iterable[Entry], known: Known) -> Decision | None:
    if not then.run:
        return _none_fits(then, list(about), known)
    if "facts" not in entry.body:
        return None
    case = case_of(entry.body["facts"], entry.body["answers"], known)
    asked = guards.UNDO_GUARDS if entry.body.get("undo") else guards.GUARDS
    return gate.decide(case, then.at, then.id, asked)


def _none_fits(then: Decision, about: list[Entry], known: Known) -> Decision | None:
    """Whether a runbook fits is a function of the incident, its insight and the documents."""
    state = rebuild(about).state
    made = [one.body["insight"] for one in about if one.kind == "insight.made"]
    if state is None or not made:
        return None
    insight = msgspec.convert(made[-1], _HINTS["insight"])
    incident = msgspec.convert({**state, "updated_at": then.at}, Incident)
    service = known.service(incident.group.environment, incident.group.service)
    proposed = proposals.propose(insight, incident, service, known.runbooks)
    if proposed.proposal is None:
        return gate.none_fits(incident, proposed.trace, then.at)
    return replace(then, results=(), plan=proposed.proposal.plan, considered=proposed.trace)


def _differ(then: Decision, now: Decision) -> Iterator[tuple[str, str, str]]:
    """The guards, and what else a decision says, that are not the same."""
    before = {result.guard: result for result in then.results}
    after = {result.guard: result for result in now.results}
    for name in dict.fromkeys((*before, *after)):
        one, other = before.get(name), after.get(name)
        if one != other:
            yield name, _said(one), _said(other)
    for name in ("id", "plan", "considered"):
        one_, other_ = getattr(then, name), getattr(now, name)
        if one_ != other_:
            yield name, canonical.dumps(one_).decode(), canonical.dumps(other_).decode()


def _said(result: Any) -> str:
    if result is None:
        return "was not asked"
    detail = f" ({result.detail})" if result.detail else ""
    return f"{result.answer.name.lower()}, {result.reason}{detail}"


# ---------------------------------------------------------------- all of it


def replay(incident: Incident, entries: Sequence[Entry], library: Library) -> Plain:
    """What a replay of ``incident`` comes to. ``entries``: all about it, in order. ``ok``: it is
    what the journal says, and so is every decision."""
    rebuilt = rebuild(entries)
    stored, state = history.state(incident), rebuilt.state or {}
    again = [
        redecide(
            entry,
            [one for one in entries if one.seq < entry.seq],
            library.at(entry),
        )
        for entry in entries
        if entry.kind == DECIDED
    ]
    differences = history.differences(stored, state)
    return {
        "incident": incident.id,
        "ok": not differences and not rebuilt.broken and all(one.same for one in again),
        "entries": len(entries),
        "stored": history.hash_of(stored),
        "rebuilt": history.hash_of(state),
        "differences": [
            {"field": name, "stored": one, "rebuilt": other}
            for name, (one, other) in differences.items()
        ],
        "broken": [{"seq": seq, "what": what} for seq, what in rebuilt.broken],
        "decisions": [{**canonical.plain(one), "same": one.same} for one in again],
    }


def gathered(tx: ReadTx, incident: Incident, bind: Bind) -> tuple[list[Entry], Library]:
    """All that a replay of it needs, in one view of the store."""
    known = {(one.id, one.hash): one for one in tx.find(StoredDocument)}
    told = tx.find(Entry, Where("kind", "in", DOCUMENTS), order="seq")
    return tx.find(Entry, Where("subject", "eq", incident.id), order="seq"), Library(
        bind, told, known
    )
