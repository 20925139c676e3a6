# SPDX-License-Identifier: Apache-2.0

"""What opx does about an incident, or why it does nothing, and what its runs came to; each in
a line."""

from __future__ import annotations

from opx.core.act.run import ENDED, Run, RunStatus
from opx.core.decide.decision import Decision, Reason
from opx.core.decide.why import SENTENCES
from opx.core.incident.incident import Status
from opx.engine.ports import ReadTx, Where
from opx.engine.queries.one import Plain, find_incident

_AT_WORK = {
    RunStatus.WAITING: "needs a yes to run {runbook}: opx approve {short}",
    RunStatus.ACTING: "runs {runbook} on {target}",
    RunStatus.VERIFYING: "asks whether {runbook} has helped",
    RunStatus.ROLLING_BACK: "takes {runbook} back",
}


def about(tx: ReadTx, incident: Plain) -> str:
    """``incident``: in its plain form."""
    its = Where("incident", "eq", incident["id"])
    run = next(iter(tx.find(Run, its, order="-number", limit=1)), None)
    if incident["status"] == Status.MITIGATED:
        return f"{run.proposal.runbook if run else 'it'} has helped; waits for five quiet minutes"
    decision = next(iter(tx.find(Decision, its, order="-at", limit=1)), None)
    if run is None:
        if decision is None:
            return "looks for a repair" if incident["insight"] else "is about to explain it"
        return f"nothing, a person must repair it: {_why(decision)}"
    if run.status in _AT_WORK:
        names = {"runbook": run.proposal.runbook, "target": run.proposal.target}
        return _AT_WORK[run.status].format(**names, short=run.id[:8])
    if run.status in ENDED:
        became = f"{run.proposal.runbook} {_words(run.status)}"
        why = f": {_words(run.reason)}" if run.reason not in ("", run.status) else ""
        return f"nothing more, a person must look: {became}{why}"
    if run.held_since is not None and decision is not None:
        return f"waits to run {run.proposal.runbook}: {_why(decision)}"
    return f"asks whether it may run {run.proposal.runbook}"


def came_to(tx: ReadTx, incident: str) -> list[Plain]:
    """Each run of an incident, in order: how it stands or ended, and why; in a sentence too."""
    its = Where("incident", "eq", find_incident(tx, incident).id)
    return [
        {
            "run": run.id,
            "status": run.status.value,
            "reason": run.reason,
            "sentence": f"Run {run.number}, {run.proposal.runbook} on {run.proposal.target}: "
            f"{_words(run.status)}{_reason(run)}.",
        }
        for run in tx.find(Run, its, order="number")
    ]


def _reason(run: Run) -> str:
    """Guards' reasons in their own sentences; any other as it stands."""
    if run.reason in ("", run.status):
        return ""
    said = run.reason.split(", ")
    if set(said) <= set(Reason):
        return ": " + "; ".join(SENTENCES[Reason(one)][0] for one in said)
    return f": {run.reason}"


def _why(decision: Decision) -> str:
    """What the guards that decided said."""
    return ", ".join(dict.fromkeys(_words(reason) for reason in decision.reasons))


def _words(code: str) -> str:
    return code.replace("_", " ")
