# SPDX-License-Identifier: Apache-2.0

"""What an episode is, by rules: its type, its risk, its causes and one piece of advice.

The whole of stage 4 as it is today. The findings that are still open speak, all of them
when none is. The worst one gives the risk; risks are never added up, so ten ill nodes are
as bad as the worst of them. It must never put a probability on what it says: nothing here
was calibrated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from opx.core.analyse.insight import Cause, Insight, InsightSource, InsightType
from opx.core.base import ids
from opx.core.base.time import Ms
from opx.core.correlate.episode import Episode
from opx.core.detect import probes
from opx.core.detect.finding import Finding, FindingKind, FindingState
from opx.core.detect.probes import Failure
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
    InsightType.PROCESS_DOWN,
    InsightType.PROCESS_HUNG,
    InsightType.THRESHOLD_BREACHED,
    InsightType.REPORTED,
    InsightType.UNKNOWN,
)
"""What explains most comes first: a dead process explains its metrics, not they it."""

_PROBE_TYPES = {
    Failure.REFUSED: InsightType.PROCESS_DOWN,
    Failure.NOT_RUNNING: InsightType.PROCESS_DOWN,
    Failure.TIMED_OUT: InsightType.PROCESS_HUNG,
    Failure.UNWELL: InsightType.REPORTED,
}
_STATEMENTS = {
    InsightType.PROCESS_DOWN: "the process is not running",
    InsightType.PROCESS_HUNG: "the process runs and does not answer",
    InsightType.THRESHOLD_BREACHED: "a threshold is breached",
    InsightType.REPORTED: "it was reported",
    InsightType.UNKNOWN: "unknown",
}
_ADVICE: Mapping[InsightType, Callable[[str], str]] = {
    InsightType.PROCESS_DOWN: lambda what: f"Start {what} again, then find out why it stopped.",
    InsightType.PROCESS_HUNG: lambda what: f"Restart {what}; keep a dump of it first if you can.",
    InsightType.THRESHOLD_BREACHED: lambda what: (
        f"See what changed in the load or release of {what}."
    ),
    InsightType.REPORTED: lambda what: f"Look at what was reported of {what}: opx has no cause.",
    InsightType.UNKNOWN: lambda what: f"Look at {what}: opx does not know what this is.",
}


def explain(
    episode: Episode, findings: Sequence[Finding], service: Service | None, now: Ms
) -> Insight:
    """The insight of an episode from its findings, in any order. The same findings give
    the same id. ``service`` None: it is in no catalogue."""
    over = {finding.id for finding in findings if finding.state is FindingState.CLEARED}
    still = [finding for finding in findings if finding.id not in over]
    speaking = sorted(still or findings, key=lambda finding: (finding.severity, finding.id))
    by_type: dict[InsightType, list[Finding]] = {}
    for finding in speaking:
        by_type.setdefault(type_of(finding), []).append(finding)
    types = [type for type in RANKING if type in by_type] or [InsightType.UNKNOWN]
    risk = max((RISK[finding.kind][finding.severity] for finding in speaking), default=0)
    told = [finding.id for finding in speaking]
    where = f"{episode.group.environment}/{episode.group.service}"
    return Insight(
        id=ids.derived("insight", episode.id, types[0], risk, sorted(told)),
        episode=episode.id,
        type=types[0],
        risk=risk,
        causes=tuple(_cause(where, type, by_type.get(type, [])) for type in types),
        advice=_ADVICE[types[0]](service.name if service is not None else where),
        source=InsightSource.RULES,
        at=now,
    )


def type_of(finding: Finding) -> InsightType:
    """What one finding speaks for, by its rule and its evidence."""
    if finding.rule == probes.RULE:
        failure = finding.evidence.get("failure")
        return next((_PROBE_TYPES[one] for one in Failure if one == failure), InsightType.UNKNOWN)
    if finding.rule.startswith("threshold/"):
        return InsightType.THRESHOLD_BREACHED
    return InsightType.REPORTED


def _cause(where: str, type: InsightType, findings: Sequence[Finding]) -> Cause:
    """``findings`` worst first: the first one's words are the cause's."""
    said = f": {findings[0].summary}" if findings else ""
    return Cause(
        subject=where,
        statement=_STATEMENTS[type] + said,
        evidence=tuple(finding.id for finding in findings),
    )
