# SPDX-License-Identifier: Apache-2.0

"""Silences: what people do not want to hear of for a while, and what becomes of it.

Part of stage 3, before ``stage``. A finding that fires while a silence matches it is held: it
is kept and listed, and opens nothing. When no silence holds it any more and it still fires
it is taken up, as seen then; what is over by then never was anything. What was known before
the silence goes on as it was. It must never lose a finding, nor hold one without an end.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from opx.core.base.time import DAY, MINUTE, Ms
from opx.core.detect.finding import Finding, FindingState
from opx.errors import BadInput

LONGEST: Ms = 30 * DAY
SHORTEST: Ms = MINUTE


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """``environment``, ``service``, ``rule``: what it matches, exactly; empty is any, and not all
    of them are empty. ``rule``: as findings have it (``threshold/slow``), or by the name of its
    document alone (``slow``). It holds from ``starts_at`` until ``ends_at``, or until ``ended_by``
    said that it is over, at which ``ends_at`` is then."""

    id: str
    by: str
    reason: str
    starts_at: Ms
    ends_at: Ms
    environment: str = ""
    service: str = ""
    rule: str = ""
    ended_by: str = ""
    version: int = 1

    def __post_init__(self) -> None:
        if not (self.environment or self.service or self.rule):
            raise BadInput(
                "a silence of everything is none",
                hint="name an environment, a service or a rule; to stop opx from acting: opx halt",
            )
        if self.ends_at - self.starts_at > LONGEST:
            raise BadInput(f"a silence ends within {LONGEST // DAY} days")

    def holds(self, now: Ms) -> bool:
        return self.starts_at <= now < self.ends_at

    def matches(self, finding: Finding) -> bool:
        identity = finding.identity
        return (
            self.environment in ("", identity.environment)
            and self.service in ("", identity.service)
            and self.rule in ("", finding.rule, finding.rule.partition("/")[2])
        )


@dataclass(slots=True)
class Held:
    """The findings that a silence holds, by id, and the ids of those silences."""

    findings: dict[str, Finding] = field(default_factory=dict)
    by: dict[str, str] = field(default_factory=dict)

    def save(self) -> dict[str, str]:
        """What has to be kept with every change of it: which silence holds which finding."""
        return dict(self.by)

    @classmethod
    def load(cls, by: Mapping[str, str], firing: Iterable[Finding]) -> Held:
        """From what was saved and the stored findings that fire. One that does not is not held."""
        found = {finding.id: finding for finding in firing if finding.id in by}
        return cls(found, {id: by[id] for id in found})


@dataclass(slots=True, kw_only=True)
class Applied:
    """``passed``: what correlation gets, in order. ``held``: what was held, or was over while it
    was, each with the silence's id: to be kept and listed."""

    passed: list[Finding] = field(default_factory=list)
    held: list[tuple[Finding, str]] = field(default_factory=list)


def apply(
    state: Held,
    findings: Sequence[Finding],
    silences: Sequence[Silence],
    now: Ms,
    known: Container[str] = (),
) -> Applied:
    """Hold what the ``silences`` that hold at ``now`` match, and let go of what none does any
    more, ``now`` being when it is seen. ``known``: the ids of the findings that are open in
    correlation, of which it hears everything."""
    out = Applied()
    holding = [silence for silence in silences if silence.holds(now)]
    if not holding and not state.by:
        return Applied(passed=list(findings))
    for finding in findings:
        silence = "" if finding.id in known else _silence(state, holding, finding)
        if silence:
            out.held.append((finding, silence))
        else:
            out.passed.append(finding)
    out.passed[:0] = _let_go(state, holding, now)
    return out


def _silence(state: Held, holding: Sequence[Silence], finding: Finding) -> str:
    """The silence that this is said under, "" for none. Over while held, it is held no more."""
    if finding.state is not FindingState.FIRING:
        state.findings.pop(finding.id, None)
        return state.by.pop(finding.id, "")
    silence = _match(holding, finding)
    if silence:
        state.findings[finding.id], state.by[finding.id] = finding, silence
    return silence


def _let_go(state: Held, holding: Sequence[Silence], now: Ms) -> list[Finding]:
    """What is held by no silence any more, in the order in which it was seen."""
    ids = {silence.id for silence in holding}
    free = []
    for id in [id for id, silence in state.by.items() if silence not in ids]:
        silence = _match(holding, state.findings[id])
        if silence:
            state.by[id] = silence
        else:
            del state.by[id]
            free.append(state.findings.pop(id))
    free.sort(key=lambda finding: (finding.at, finding.id))
    return [replace(finding, at=max(now, finding.at)) for finding in free]


def _match(holding: Sequence[Silence], finding: Finding) -> str:
    return next((silence.id for silence in holding if silence.matches(finding)), "")
