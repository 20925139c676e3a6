# SPDX-License-Identifier: Apache-2.0

"""What an episode is, by rules: its type, its risk, its causes and one piece of advice.

Stage 4 where nothing was learnt yet. The findings that are still open speak, all of them
when none is. The worst one gives the risk; risks are never added up, so ten ill nodes are
as bad as the worst of them. What changed of late comes first: a file that is not what it
should be, or a release shortly before, is a better cause than what it led to. It must
never put a probability on what it says: nothing here was calibrated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from opx.core.analyse import changes, past
from opx.core.analyse.changes import Changed
from opx.core.analyse.insight import Cause, Insight, InsightSource, InsightType, Ranked
from opx.core.analyse.past import Past
from opx.core.base import ids
from opx.core.base.time import Ms, to_wire
from opx.core.correlate.episode import Episode, Group
from opx.core.correlate.stage import group_of
from opx.core.detect import probes
from opx.core.detect.finding import Finding, FindingKind, FindingState
from opx.core.detect.probes import Failure
from opx.core.detect.rules import Signal
from opx.core.ingest.services import Service
from opx.core.ingest.signals import Severity

RISK: Mapping[FindingKind, Mapping[Severity, int]] = {
    FindingKind.SYMPTOM: {
        Severity.SEV1: 95,
        Severity.SEV2: 80,
        Severity.SEV3: 60,
        Severity.SEV4: 40,
        Severity.SEV5: 20,
    },
    FindingKind.EVIDENCE: {
        Severity.SEV1: 75,
        Severity.SEV2: 60,
        Severity.SEV3: 40,
        Severity.SEV4: 20,
        Severity.SEV5: 10,
    },
}
"""0 to 100: 80 critical, 60 high, 40 medium. Evidence is never critical by itself."""

RANKING = (
    InsightType.TELEMETRY_LOSS,
    InsightType.TAMPERING,
    InsightType.PROCESS_DOWN,
    InsightType.PROCESS_HUNG,
    InsightType.BAD_RELEASE,
    InsightType.ERRORS,
    InsightType.LATENCY,
    InsightType.THRESHOLD_BREACHED,
    InsightType.REPORTED,
    InsightType.UNKNOWN,
)
"""What explains most comes first: a dead process explains its metrics, not they it."""

OBSERVER = "observer"
"""The rule of the finding that most telemetry is gone."""
_PROBE_TYPES = {
    Failure.REFUSED: InsightType.PROCESS_DOWN,
    Failure.NOT_RUNNING: InsightType.PROCESS_DOWN,
    Failure.TIMED_OUT: InsightType.PROCESS_HUNG,
    Failure.UNWELL: InsightType.REPORTED,
}
_SIGNAL_TYPES = {Signal.ERRORS: InsightType.ERRORS, Signal.LATENCY: InsightType.LATENCY}
_GONE = frozenset({InsightType.PROCESS_DOWN, InsightType.PROCESS_HUNG})
_DIED = _GONE | {InsightType.REPORTED}
_ERRED = frozenset({InsightType.ERRORS, InsightType.REPORTED})
_STATEMENTS = {
    InsightType.PROCESS_DOWN: "the process is not running",
    InsightType.PROCESS_HUNG: "the process runs and does not answer",
    InsightType.ERRORS: "it answers with errors",
    InsightType.LATENCY: "it answers slowly",
    InsightType.TELEMETRY_LOSS: "most of what opx hears has fallen silent",
    InsightType.THRESHOLD_BREACHED: "a threshold is breached",
    InsightType.REPORTED: "it was reported",
    InsightType.UNKNOWN: "unknown",
}
_ADVICE: Mapping[InsightType, Callable[[str], str]] = {
    InsightType.PROCESS_DOWN: lambda what: f"Start {what} again, then find out why it stopped.",
    InsightType.PROCESS_HUNG: lambda what: f"Restart {what}; keep a dump of it first if you can.",
    InsightType.TAMPERING: lambda what: f"Restore the file and restart {what}; find who did it.",
    InsightType.BAD_RELEASE: lambda what: f"Roll {what} back to the release before.",
    InsightType.ERRORS: lambda what: f"See what {what} says in its log when it answers an error.",
    InsightType.LATENCY: lambda what: f"See what {what} waits for; restarting it may help.",
    InsightType.TELEMETRY_LOSS: lambda what: (
        "Look at what sends telemetry to opx, and the way between."
    ),
    InsightType.THRESHOLD_BREACHED: lambda what: (
        f"See what changed in the load or release of {what}."
    ),
    InsightType.REPORTED: lambda what: f"Look at what was reported of {what}: opx has no cause.",
    InsightType.UNKNOWN: lambda what: f"Look at {what}: opx does not know what this is.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What an episode is explained from. ``findings``: in any order. ``service``: its root's,
    None: it is in no catalogue. ``changes``: of the last day, on any service it knows of.
    ``past``: what was done on its root before. ``ranked``: as in an ``Insight``."""

    episode: Episode
    findings: Sequence[Finding]
    service: Service | None = None
    changes: Sequence[Changed] = ()
    past: Sequence[Past] = ()
    ranked: tuple[Ranked, ...] = ()


def explain(facts: Facts, now: Ms) -> Insight:
    """The insight of an episode. The same facts give the same id.

    The root's own findings say what it is; those of the services that suffer from it are
    further causes, after its own."""
    episode, speaking = facts.episode, _speaking(facts.findings)
    by_place: dict[tuple[Group, InsightType], list[Finding]] = {}
    for finding in speaking:
        by_place.setdefault((group_of(finding), type_of(finding)), []).append(finding)
    places = sorted(by_place, key=lambda place: _rank(episode, *place))
    if not places:
        places = [(episode.group, InsightType.UNKNOWN)]
    own = {type for group, type in places if group == episode.group}
    type, first = _changed(facts, speaking, own)
    type = type or places[0][1]
    risk = max((RISK[finding.kind][finding.severity] for finding in speaking), default=0)
    told = [finding.id for finding in speaking]
    of_late = sorted(facts.changes, key=lambda one: (-one.at, one.event))
    seen = [change.event for change in of_late]
    service, similar = facts.service, past.similar(facts.past, type)
    return Insight(
        id=ids.derived(
            "insight", episode.id, type, risk, sorted(told), seen, facts.ranked, similar
        ),
        episode=episode.id,
        type=type,
        risk=risk,
        causes=(*first, *(_cause(*place, by_place.get(place, [])) for place in places)),
        advice=_ADVICE[type](service.name if service is not None else _name(episode.group)),
        source=InsightSource.RULES,
        at=now,
        changes=tuple(of_late),
        similar=similar,
        ranked=facts.ranked,
    )


def type_of(finding: Finding) -> InsightType:
    """What one finding speaks for, by its rule and its evidence."""
    if finding.rule == OBSERVER:
        return InsightType.TELEMETRY_LOSS
    if finding.rule == probes.RULE:
        failure = finding.evidence.get("failure")
        return next((_PROBE_TYPES[one] for one in Failure if one == failure), InsightType.UNKNOWN)
    signal = finding.evidence.get("signal")
    for known, type in _SIGNAL_TYPES.items():
        if signal == known:
            return type
    if finding.rule.startswith(("threshold/", "ratio/")):
        return InsightType.THRESHOLD_BREACHED
    return InsightType.REPORTED


def _speaking(findings: Sequence[Finding]) -> list[Finding]:
    """Those that are open, all of them when none is; worst first."""
    over = {finding.id for finding in findings if finding.state is FindingState.CLEARED}
    still = [finding for finding in findings if finding.id not in over]
    return sorted(still or findings, key=lambda finding: (finding.severity, finding.id))


def _changed(
    facts: Facts, speaking: Sequence[Finding], types: set[InsightType]
) -> tuple[InsightType | None, tuple[Cause, ...]]:
    """What the root's trouble is when a change explains it, and that change as its cause. What
    was wrong with it before, and is over, began for reasons of its own."""
    group = facts.episode.group
    symptoms = [one for one in speaking if one.kind is FindingKind.SYMPTOM]
    # when it was seen: a window that shows it may have begun before the change
    began = min((one.at for one in symptoms if group_of(one) == group), default=None)
    if began is None:
        return None, ()
    files = changes.drifted(facts.changes, group)
    if files and types & _DIED:
        return InsightType.TAMPERING, tuple(_blamed(one, "the file was changed") for one in files)
    release = changes.released(facts.changes, group, began, _rolled_back(facts.past))
    # where no process answers, that explains what else is reported: it must run to err
    if release is not None and types & _ERRED and not types & _GONE:
        said = "the release came shortly before the errors"
        return InsightType.BAD_RELEASE, (_blamed(release, said),)
    return None, ()


def _rolled_back(cases: Sequence[Past]) -> Ms:
    """When a release was last taken back, and that helped; 0: never, as far as is known."""
    bad = (one.at for one in cases if one.helped and one.type == InsightType.BAD_RELEASE)
    return max(bad, default=0)


def _blamed(change: Changed, said: str) -> Cause:
    by = f" by {change.by}" if change.by else ""
    return Cause(
        subject=change.subject,
        statement=f"{said}{by} at {to_wire(change.at)}",
        evidence=(change.event,),
    )


def _rank(episode: Episode, group: Group, type: InsightType) -> tuple[bool, int, str, str]:
    """Best first: the root's, then what explains most, then by name."""
    return group != episode.group, RANKING.index(type), group.environment, group.service


def _name(group: Group) -> str:
    return f"{group.environment}/{group.service}"


def _cause(group: Group, type: InsightType, findings: Sequence[Finding]) -> Cause:
    """``findings`` worst first: the first one's words are the cause's."""
    said = f": {findings[0].summary}" if findings else ""
    return Cause(
        subject=_name(group),
        statement=_STATEMENTS[type] + said,
        evidence=tuple(finding.id for finding in findings),
    )
