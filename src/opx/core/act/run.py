# SPDX-License-Identifier: Apache-2.0

"""``Run`` and the orders it gives: the nouns of stage 7.

A run is the record of one repair. A ``StepOrder`` is one step as ``hands`` will do it:
signed by ``brain``, valid once, for a short time, in one epoch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from opx.core.base.time import Ms
from opx.core.correlate.episode import Group
from opx.core.decide.runbooks import Proposal


class RunStatus(StrEnum):
    PROPOSED = "proposed"
    """A decision is due (``due_at``)."""
    WAITING = "waiting"
    """A person must approve."""
    ACTING = "acting"
    VERIFYING = "verifying"
    ROLLING_BACK = "rolling_back"
    RECOVERED = "recovered"
    NO_EFFECT = "no_effect"
    WORSE = "worse"
    INCONCLUSIVE = "inconclusive"
    REFUSED = "refused"
    """A guard said no, a person rejected it, or nobody answered in time."""


UNDECIDED = frozenset({RunStatus.PROPOSED, RunStatus.WAITING})
"""Guards, or a person, have yet to say whether it may begin, or go on."""
AT_WORK = frozenset({RunStatus.ACTING, RunStatus.ROLLING_BACK})
"""Its steps are being done, or undone."""
ENDED = frozenset(
    {
        RunStatus.RECOVERED,
        RunStatus.NO_EFFECT,
        RunStatus.WORSE,
        RunStatus.INCONCLUSIVE,
        RunStatus.REFUSED,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """``number``: the how-manieth run of its incident, from 1. ``type``: what its trouble was
    held to be when it was proposed. ``step``: index of the step
    that is next; ``tries``: orders given for it so far. ``samples``: the verification's
    answers so far (True, False, None). ``due_at``: when its next segment is wanted.
    ``held_since``: since when guards deny it that can be asked again; None: none does."""

    id: str
    incident: str
    group: Group
    number: int
    status: RunStatus
    proposal: Proposal
    created_at: Ms
    due_at: Ms | None
    type: str = ""
    decision: str | None = None
    reason: str = ""
    step: int = 0
    tries: int = 0
    acted_at: Ms | None = None
    verify_from: Ms | None = None
    samples: tuple[bool | None, ...] = ()
    ended_at: Ms | None = None
    held_since: Ms | None = None
    probation: bool = False
    version: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class StepOrder:
    """``id``: derived from (run, phase, step, attempt); also the effect's idempotency key."""

    id: str
    run: str
    step: str
    action: str
    target: str
    inputs: dict[str, str]
    timeout: Ms
    plan: str
    decision: str
    epoch: int
    issued_at: Ms
    expires_at: Ms


class OrderStatus(StrEnum):
    READY = "ready"
    CLAIMED = "claimed"
    DONE = "done"
    FAILED = "failed"
    UNKNOWN = "unknown"
    """Started, and whether it took effect cannot be observed."""
    REFUSED = "refused"
    EXPIRED = "expired"
    """Nobody began it in time, and nobody can any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRecord:
    """An order on its way: written READY by ``brain``, everything after by ``hands``, but
    that ``brain`` takes back, as EXPIRED, what nobody has claimed.

    ``before``: the target as observed before the effect, so that a successor can tell
    whether the effect happened. ``signature``: hex, over the canonical JSON of ``order``.
    """

    id: str
    run: str
    order: StepOrder
    signature: str
    status: OrderStatus = OrderStatus.READY
    claimed_by: str = ""
    claimed_at: Ms | None = None
    before: dict[str, str] = field(default_factory=dict)
    output: str = ""
    ended_at: Ms | None = None
    version: int = 1
