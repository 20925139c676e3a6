# SPDX-License-Identifier: Apache-2.0

"""Whether it helped: N of the last M looks, within a time.

After act, before learn. A look asks the probe, and the numbers by which rules found the
service ill: all must say that it is well. ``needs`` says what to ask, ``seen`` makes one
answer of what came, ``step`` takes it. A verdict
rests on M answers, never on fewer, and one that could not be had is neither yes nor no.
It must never take an answer from before the verification for one about the repair.

It says RECOVERED, NO_EFFECT or INCONCLUSIVE, never WORSE. A target that is asked about was
unwell before, and a dependant that falls ill after the repair began is no witness either:
that is how the trouble itself spreads, most often a moment after opx has begun to act.
WORSE needs something that was well and that only the repair can have touched. What did not
help is undone in either case.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from opx.core.act.run import Run, RunStatus
from opx.core.base.reads import Answer, Answers, Probe, ProbeRead, Read
from opx.core.base.time import SECOND, Ms, Window
from opx.core.decide.runbooks import Check, Runbook
from opx.core.detect.witness import Witness
from opx.core.ingest.services import Service
from opx.core.verify.verdict import Verdict, VerdictKind

KEY = "verify"
LEAST: Ms = SECOND
"""A look at numbers covers at least so much time since the repair."""


def needs(
    run: Run,
    runbook: Runbook,
    service: Service | None,
    now: Ms,
    witnesses: Sequence[Witness] = (),
) -> list[Read]:
    """The questions that are due now, if any. Nothing to ask is an unknown answer in ``step``."""
    due = run.due_at is not None and run.due_at <= now
    if run.status is not RunStatus.VERIFYING or not due:
        return []
    probe = _probe(runbook, service)
    reads: list[Read] = [] if probe is None else [ProbeRead(key=KEY, probe=probe)]
    for witness in witnesses:
        window = _since(run, witness, now)
        reads += () if window is None else witness.needs(window)
    return reads


def seen(
    run: Run, answers: Answers, witnesses: Sequence[Witness], asked_at: Ms, now: Ms
) -> Answer | None:
    """One answer out of those to ``needs``, asked at ``asked_at``: no if any says no, yes if
    all say yes. None when there was nothing to ask."""
    looks = [answers[KEY]] if KEY in answers else []
    for witness in witnesses:
        window = _since(run, witness, asked_at)
        ill = None if window is None else witness.breached(answers)
        ok = None if ill is None else not ill
        said = {True: "is not breached", False: "is breached", None: "cannot be told yet"}[ok]
        looks.append(Answer(key=KEY, at=now, ok=ok, detail=f"{witness.rule} {said}"))
    if len(looks) < 2:
        return looks[0] if looks else None
    oks = [look.ok for look in looks]
    return Answer(
        key=KEY,
        at=min(look.at for look in looks),
        ok=False if False in oks else None if None in oks else True,
        latency_ms=looks[0].latency_ms,
        detail=", ".join(look.detail for look in looks if look.detail),
    )


def step(run: Run, runbook: Runbook, answer: Answer | None, now: Ms) -> tuple[Run, Verdict | None]:
    """The run one answer (and one version) on, and the verdict once there is one.

    ``ValueError`` unless the run is VERIFYING. The run's end is written by who settles it.
    """
    if run.status is not RunStatus.VERIFYING or run.verify_from is None:
        raise ValueError(f"run {run.id} is {run.status}, not verifying")
    check = runbook.verify
    about_it = answer is not None and answer.at >= run.verify_from
    sample = answer.ok if answer is not None and about_it else None
    samples = (*run.samples, sample)[-check.of :]
    over = now >= run.verify_from + check.within
    kind = _judged(check, samples, over)
    asked = replace(
        run,
        samples=samples,
        due_at=None if kind else now + check.every,
        version=run.version + 1,
    )
    if kind is None:
        return asked, None
    verdict = Verdict(
        kind=kind,
        at=now,
        yes=samples.count(True),
        no=samples.count(False),
        unknown=samples.count(None),
    )
    return asked, verdict


def _judged(check: Check, samples: tuple[bool | None, ...], over: bool) -> VerdictKind | None:
    """NO_EFFECT only when no unknown answer could have made the difference, and most of what
    speaks against it was a plain no."""
    if len(samples) < check.of:
        return None
    yes, no, unknown = samples.count(True), samples.count(False), samples.count(None)
    if yes >= check.passes:
        return VerdictKind.RECOVERED
    if not over:
        return None
    certain = yes + unknown < check.passes and no >= unknown
    return VerdictKind.NO_EFFECT if certain else VerdictKind.INCONCLUSIVE


def _since(run: Run, witness: Witness, now: Ms) -> Window | None:
    """As much of the witness's window as lies after the repair; None while that is too little."""
    if run.verify_from is None or now - run.verify_from < LEAST:
        return None
    return Window(max(run.verify_from, now - witness.check.window), now)


def _probe(runbook: Runbook, service: Service | None) -> Probe | None:
    if runbook.verify.probe is not None:
        return runbook.verify.probe
    return service.health.probe if service and service.health else None
