# SPDX-License-Identifier: Apache-2.0

"""The words of each notice: what is wrong, where, since when, what opx does or needs.

Stage 10. One function for each edge of an incident, and one for a prediction. The id is derived
from (incident, edge, cause), so however often an edge is told it is one notice. Titles are plain
ASCII of at most 100 characters: mail subjects and pagers take no more. It must never deliver.
"""

from __future__ import annotations

from opx.core.act.run import Run
from opx.core.base import ids
from opx.core.base.time import MINUTE, SECOND, Ms, to_wire
from opx.core.correlate.stage import identity_of
from opx.core.decide.decision import Answered, Decision
from opx.core.detect.predict import wording
from opx.core.detect.predict.prediction import Prediction, Urgency
from opx.core.incident.incident import Incident
from opx.core.ingest.signals import Severity
from opx.core.notify.notice import Edge, Notice
from opx.core.verify.verdict import Verdict

TITLE_LENGTH = 100


def opened(incident: Incident, now: Ms) -> Notice:
    text = (
        f"{_what(incident)} opx looks for a repair that its policy allows and will say what it "
        f"did or what it needs. {_more(incident)}"
    )
    title = f"{incident.priority} {_where(incident)}: {incident.title}"
    return _notice(incident, Edge.OPENED, "", title, text, now)


def asks(incident: Incident, decision: Decision, run: Run | None, now: Ms) -> Notice:
    """opx cannot go on by itself: it needs a yes, or a person to do the repair.

    ``run`` None: no runbook fits. One notice for each run and kind of answer, and one where
    nothing fits for each run before it: what opx tried or waited for since is over.
    """
    if run is None:
        title, need = "needs a person", "No runbook fits: a person must repair it."
    elif decision.answer is Answered.ASK:
        title = f"may opx run {run.proposal.runbook}?"
        need = (
            f"opx would run {run.proposal.runbook} on {run.proposal.target} and needs a yes. "
            f"Approve: opx approve {run.id}. Reject: opx reject {run.id}."
        )
    else:
        title = "needs a person"
        need = f"opx does not run {run.proposal.runbook}: a person must repair it."
    text = f"{_what(incident)} {need} Why: {_why(decision)}. {_more(incident)}"
    whose = run.id if run is not None else f"catalogue/{incident.runs}"
    cause = f"{whose}/{decision.answer.name}"
    return _notice(incident, Edge.ASKS, cause, f"{_where(incident)} {title}", text, now)


def waits(incident: Incident, decision: Decision, run: Run, now: Ms) -> Notice:
    """A run has waited for long and goes on waiting. One notice for each run."""
    text = (
        f"{_what(incident)} opx would run {run.proposal.runbook} on {run.proposal.target} and may "
        f"not yet. It asks again by itself for as long as that may help. Why: {_why(decision)}. "
        f"{_more(incident)}"
    )
    title = f"{_where(incident)} waits to run {run.proposal.runbook}"
    return _notice(incident, Edge.ASKS, f"{run.id}/waits", title, text, now)


def unanswered(incident: Incident, run: Run, now: Ms) -> Notice:
    """Nobody has begun an order in time. One notice for each run, however often."""
    text = (
        f"{_what(incident)} A step of {run.proposal.runbook} on {run.proposal.target} was allowed "
        f"and nobody began it in time: opx's process hands is down, or too busy. Guards and hands "
        f"are asked again for as long as it is allowed. See what runs: opx doctor. "
        f"{_more(incident)}"
    )
    title = f"{_where(incident)} waits: opx's hands do not answer"
    return _notice(incident, Edge.ASKS, f"{run.id}/unanswered", title, text, now)


def stopped(incident: Incident, run: Run, now: Ms) -> Notice:
    """A run has ended without a recovery and opx needs a person to look."""
    text = (
        f"{_what(incident)} {run.proposal.runbook} on {run.proposal.target} has ended "
        f"{_words(run.status)}: {_words(run.reason) or 'no reason given'}. A person must look at "
        f"the target before anything is done again. {_more(incident)}"
    )
    title = f"{_where(incident)} needs a person: {run.proposal.runbook} {_words(run.status)}"
    return _notice(incident, Edge.ASKS, f"{run.id}/stopped", title, text, now)


def recovered(incident: Incident, run: Run, verdict: Verdict) -> Notice:
    asked = verdict.yes + verdict.no + verdict.unknown
    text = (
        f"{_what(incident)} opx ran {run.proposal.runbook} on {run.proposal.target} and it is well "
        f"again: {verdict.yes} of {asked} checks said yes. It stays open until it has been quiet "
        f"for five minutes; nothing is needed of you. {_more(incident)}"
    )
    title = f"{_where(incident)} recovered by {run.proposal.runbook}"
    return _notice(incident, Edge.RECOVERED, run.id, title, text, verdict.at)


def resolved(incident: Incident, now: Ms) -> Notice:
    said = incident.resolution
    why = "All symptoms have been clear for five minutes"
    if said is not None:
        why = f"{said.by} says that it is over ({_words(said.kind)})"
        why += f": {said.text}" if said.text else ""
    text = (
        f"{_what(incident)} {why}, "
        f"{_span(now - incident.opened_at)} after it was opened. Say what it really was: "
        f"opx outcome {incident.id}."
    )
    title = f"{_where(incident)} resolved: {incident.title}"
    return _notice(incident, Edge.RESOLVED, "", title, text, now)


def merged(incident: Incident, into: Incident, now: Ms) -> Notice:
    """Two incidents turned out to be one; the other goes on."""
    text = (
        f"{_what(incident)} It is the same trouble as {into.id}: {into.title}. That one goes on "
        f"for both, where it comes from is now {_where(into)}; this one is closed. More: "
        f"opx why {into.id}."
    )
    title = f"{_where(incident)} is part of another: {into.title}"
    return _notice(incident, Edge.MERGED, into.id, title, text, now)


def breaker(incident: Incident, run: Run, now: Ms) -> Notice:
    """A runbook has not helped too often in a row. One notice for the run that opened it."""
    text = (
        f"{_what(incident)} {run.proposal.runbook} was run on {run.proposal.target} and did not "
        f"help, as before: opx will not run it there again until a person closes the breaker "
        f"{run.proposal.place}. A person must repair it. {_more(incident)}"
    )
    title = f"{_where(incident)} needs a person: {run.proposal.runbook} does not help"
    return _notice(incident, Edge.BREAKER, run.id, title, text, now)


def predicted(prediction: Prediction) -> Notice:
    """Something is on its way to fail. One notice for each prediction."""
    who, critical = prediction.identity, prediction.urgency is Urgency.CRITICAL
    kind, likely = prediction.kind, f"{prediction.probability:.0%}"
    text = (
        f"{who.service} in {who.environment} is expected to fail ({kind}) with a probability of "
        f"{likely} until {to_wire(prediction.expires_at)}: {wording.why(prediction)}. Past trends "
        f"that this rests on: {prediction.cases}. opx does nothing about it by itself; a person "
        f"should look while there is time. More: opx predictions."
    )
    return Notice(
        id=ids.derived("notice", prediction.id, Edge.PREDICTED),
        incident="",
        prediction=prediction.id,
        edge=Edge.PREDICTED,
        severity=Severity.SEV2 if critical else Severity.SEV3,
        title=_title(f"{who.service} in {who.environment} may fail: {kind}, {likely}"),
        text=text,
        at=prediction.at,
    )


def _title(title: str) -> str:
    plain = " ".join(title.encode("ascii", "replace").decode().split())
    return plain if len(plain) <= TITLE_LENGTH else plain[: TITLE_LENGTH - 3] + "..."


def _notice(incident: Incident, edge: Edge, cause: str, title: str, text: str, at: Ms) -> Notice:
    return Notice(
        id=ids.derived("notice", incident.id, edge, cause),
        incident=incident.id,
        edge=edge,
        severity=incident.severity,
        title=_title(title),
        text=text,
        at=at,
    )


def _where(incident: Incident) -> str:
    environment, service = identity_of(incident.group)
    return f"{service or 'an unmapped stream'} in {environment}"


def _what(incident: Incident) -> str:
    return (
        f"{incident.title}. Where: {_where(incident)}. Since: {to_wire(incident.opened_at)}. "
        f"{incident.severity.name}, {incident.priority}."
    )


def _more(incident: Incident) -> str:
    return f"More: opx why {incident.id}."


def _why(decision: Decision) -> str:
    """What the guards that decided said."""
    return "; ".join(
        f"{result.guard}: {_words(result.reason)}"
        + (f" ({result.detail})" if result.detail else "")
        for result in decision.results
        if result.answer is decision.answer
    )


def _words(code: str) -> str:
    return code.replace("_", " ")


def _span(span: Ms) -> str:
    """In minutes and seconds, as people say it."""
    minutes, rest = divmod(max(0, span), MINUTE)
    return f"{minutes} min {rest // SECOND} s" if minutes else f"{rest // SECOND} s"
