# SPDX-License-Identifier: Apache-2.0

"""Reading an incident's timeline: what opx did about one fault, and when.

Pure. Input are the journal's entries about an incident as the API gives them (``at`` on
the wire as RFC 3339, ``kind``, ``body``), output is a ``Story``. A service that fails again
keeps its incident, so only what came at or after the injection counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from opx.core.act.run import OrderStatus
from opx.core.base import time as opx_time
from opx.core.base.time import Ms
from opx.core.decide.decision import Answered, Reason
from opx.core.incident.incident import Status


class Beat(StrEnum):
    """The moments of a repair, in order."""

    DETECTED = "detected"
    INCIDENT = "incident"
    EXPLAINED = "explained"
    DECIDED = "decided"
    ACTED = "acted"
    VERIFIED = "verified"


class Mark(StrEnum):
    """What a line of the story that people are told is about."""

    STEP = "step"
    PERSON = "person"
    INJECTED = "injected"
    DETECTED = Beat.DETECTED.value
    INCIDENT = Beat.INCIDENT.value
    EXPLAINED = Beat.EXPLAINED.value
    DECIDED = Beat.DECIDED.value
    ACTED = Beat.ACTED.value
    VERIFIED = Beat.VERIFIED.value
    PAGED = "paged"
    WELL = "well"
    NOTE = "note"
    TROUBLE = "trouble"


@dataclass(frozen=True, slots=True)
class Line:
    at: Ms
    mark: Mark
    text: str


Tell = Callable[[Line], None]


@dataclass(frozen=True, slots=True)
class Moment:
    at: Ms
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """What is known so far of one incident. ``run``: the last that acted, or was proposed.

    ``answer``: allow, ask or deny. ``guards``: those that had something to say.
    ``verdict``: of that run's verification; empty while there is none; ``verdicts``: of every
    run, in order. ``orders``: how many were given. ``refused``: the run ended without acting.
    ``breaker``: the runbook is not to be tried again. ``acts``: every order that was done.
    """

    moments: Mapping[Beat, Moment] = field(default_factory=dict)
    acts: tuple[Moment, ...] = ()
    run: str = ""
    runbook: str = ""
    answer: str = ""
    guards: tuple[str, ...] = ()
    verdict: str = ""
    verdicts: tuple[str, ...] = ()
    orders: int = 0
    refused: bool = False
    breaker: bool = False

    def at(self, beat: Beat) -> Ms | None:
        moment = self.moments.get(beat)
        return None if moment is None else moment.at


Entries = Iterable[Mapping[str, Any]]


def read(entries: Entries, since: Ms) -> Story:
    """The story told by the entries of one incident at or after ``since``."""
    fresh = [entry for entry in entries if opx_time.from_wire(entry["at"]) >= since]
    fresh = fresh[_first_firing(fresh) :]
    orders = _all(fresh, "order.issued")
    proposals = _all(fresh, "run.proposed")
    run = _run_of(orders[-1:] or proposals[-1:])
    proposed = [str(p["body"]["proposal"]["runbook"]) for p in proposals if _run_of([p]) == run]
    decided = _decision(_of_run(fresh, "run.decided", run))
    decision = decided[0]["body"]["decision"] if decided else {}
    verified = _of_run(fresh, "run.verified", run)
    ended = _all(fresh, "order.ended")
    done = [entry for entry in ended if entry["body"]["status"] == OrderStatus.DONE]
    moments = {
        Beat.DETECTED: _moment(fresh[:1], _finding),
        Beat.INCIDENT: _moment(_incident(fresh), _incident_words),
        Beat.EXPLAINED: _moment(_insight(fresh, run), _insight_words),
        Beat.DECIDED: _moment(decided, _decision_words),
        Beat.ACTED: _moment(_of_run(done, "order.ended", run)[-1:], _order_words),
        Beat.VERIFIED: _moment(verified[:1], _verdict_words),
    }
    return Story(
        moments={beat: moment for beat, moment in moments.items() if moment is not None},
        acts=tuple(Moment(opx_time.from_wire(e["at"]), _order_words(e["body"])) for e in done),
        run=run,
        runbook=next(iter(proposed), ""),
        answer=_answer(decision),
        guards=_guards(decision),
        verdict=_verdict(verified[0]) if verified else "",
        verdicts=tuple(_verdict(entry) for entry in _all(fresh, "run.verified")),
        orders=len(orders),
        refused=bool(_of_run(fresh, "run.ended", run)) and not orders,
        breaker=bool(_all(fresh, "breaker.opened")),
    )


def _all(entries: Entries, kind: str) -> list[Mapping[str, Any]]:
    return [entry for entry in entries if entry["kind"] == kind]


def _of_run(entries: Entries, kind: str, run: str) -> list[Mapping[str, Any]]:
    return [entry for entry in _all(entries, kind) if _run_of([entry]) == run]


def _run_of(entries: list[Mapping[str, Any]]) -> str:
    return str(entries[0]["body"].get("run", "")) if entries else ""


def _first_firing(entries: list[Mapping[str, Any]]) -> int:
    """Where the trouble begins to be seen: what cleared from before is not part of it."""
    for index, entry in enumerate(entries):
        if entry["kind"] == "incident.opened":
            return index
        if entry["kind"] == "findings.attached" and entry["body"]["firing"]:
            return index
    return len(entries)


def _incident(entries: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """When it was an incident: opened, opened again, or attached to one that still is."""
    for entry in entries:
        reopened = entry["kind"] == "incident.changed" and entry["body"]["after"] == Status.OPEN
        if entry["kind"] == "incident.opened" or reopened:
            return [entry]
    return entries[:1]


def _insight(entries: list[Mapping[str, Any]], run: str) -> list[Mapping[str, Any]]:
    """What was known when the run was proposed; the last word, where none was."""
    told: list[Mapping[str, Any]] = []
    for entry in entries:
        if entry["kind"] == "insight.made" and "insight" in entry["body"]:
            told = [entry]
        if entry["kind"] == "run.proposed" and _run_of([entry]) == run:
            break
    return told


def _decision(decided: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The first that allowed it, or else the last word."""
    allowed = [e for e in decided if _answer(e["body"]["decision"]) == "allow"]
    return allowed[:1] or decided[-1:]


def _answer(decision: Mapping[str, Any]) -> str:
    """The answer's name; on the wire it is its number, higher is stricter."""
    answer = decision.get("answer", "")
    return Answered(answer).name.lower() if isinstance(answer, int) else str(answer).lower()


def _guards(decision: Mapping[str, Any]) -> tuple[str, ...]:
    """The guards that mattered: the ones that said more than that all is well."""
    return tuple(
        f"{result['guard']}: {result['reason']}"
        for result in decision.get("results", ())
        if result["reason"] != Reason.OK
    )


def _moment(
    entries: list[Mapping[str, Any]], words: Callable[[Mapping[str, Any]], str]
) -> Moment | None:
    """When the first of ``entries`` was made, if there is one, and what it says."""
    if not entries:
        return None
    return Moment(opx_time.from_wire(entries[0]["at"]), words(entries[0]["body"]))


def _finding(body: Mapping[str, Any]) -> str:
    told = body.get("first") or body.get("incident") or {}
    return str(told.get("summary") or told.get("title") or "a health check fails")


def _incident_words(body: Mapping[str, Any]) -> str:
    incident = body.get("incident")
    if incident:
        return f"{incident['priority']} {incident['title']}"
    reopened = body.get("after") == Status.OPEN
    return "it is open again" if reopened else "it belongs to the incident that is open"


def _insight_words(body: Mapping[str, Any]) -> str:
    insight = body["insight"]
    cause = next(iter(insight["causes"]), None)
    # what follows a colon is the finding's own words, which were told already
    said = f": {cause['subject']}, {cause['statement'].partition(': ')[0]}" if cause else ""
    return f"{str(insight['type']).replace('_', ' ')}{said}"


def _decision_words(body: Mapping[str, Any]) -> str:
    decision = body["decision"]
    return f"{_answer(decision).upper()} ({'; '.join(_guards(decision)) or 'every guard: ok'})"


def _order_words(body: Mapping[str, Any]) -> str:
    return str(body["output"] or body["step"])


def _verdict(entry: Mapping[str, Any]) -> str:
    return str(entry["body"]["verdict"]["kind"])


def _verdict_words(body: Mapping[str, Any]) -> str:
    verdict = body["verdict"]
    asked = verdict["yes"] + verdict["no"] + verdict["unknown"]
    return f"{str(verdict['kind']).upper()}, {verdict['yes']} of {asked} probes said yes"
