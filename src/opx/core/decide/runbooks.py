# SPDX-License-Identifier: Apache-2.0

"""The closed catalogue of what may be done: ``Runbook`` documents and a ``Proposal`` from one.

Free text never becomes a command: a runbook names registered actions with typed inputs,
and a proposal can only name a runbook.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from opx.core.base import ids
from opx.core.base.expressions import Expression
from opx.core.base.reads import Probe
from opx.core.base.time import MINUTE, SECOND, Ms
from opx.core.correlate.episode import Group
from opx.core.decide.actions import Blast

REFERENCE = re.compile(r"\$\{\{\s*(inputs|service)\.([a-z][a-z0-9_]*)\s*\}\}")
"""``${{ inputs.NAME }}`` and ``${{ service.NAME }}``, a parameter of the service, in the inputs
of a step: all that is ever filled in. What an event or an alert says never is."""


class InputType(StrEnum):
    STRING = "string"
    INTEGER = "integer"
    BOOLEAN = "boolean"


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    type: InputType = InputType.STRING
    pattern: str = ""
    required: bool = True
    default: str | int | bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One registered action (``uses``) with its inputs, in which ``REFERENCE``s are filled in.

    ``retries``: more tries after a failure. ``undo``: the ids of the rollback steps for it, in
    order, which are done when a later step fails for good, or when all of it did not help.
    ``blast``: the action's own word; what nobody said is the widest.
    """

    id: str
    uses: str
    inputs: dict[str, str] = field(default_factory=dict)
    timeout: Ms = 30 * SECOND
    retries: int = 0
    undo: tuple[str, ...] = ()
    blast: Blast = Blast.EXTERNAL


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """``passes`` of the last ``of`` answers must be yes, asked every ``every``, within ``within``.

    ``probe`` None: the service's own health probe.
    """

    probe: Probe | None = None
    passes: int = 3
    of: int = 3
    every: Ms = 500
    within: Ms = MINUTE


ANSWERED: dict[str, Any] = {"ok": True, "latency_ms": 1.0}
"""What an ``expect`` may look at, for example: of an answer, what it has of these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Precondition:
    """A probe whose answer must satisfy ``expect`` (CEL over what ``ANSWERED`` names)."""

    id: str
    probe: Probe
    expect: Expression


@dataclass(frozen=True, slots=True, kw_only=True)
class Runbook:
    """``when``: CEL over the insight's facts; all must hold for it to be proposed.

    ``irreversible``: the reason why it cannot be undone; empty when it can or need not be.
    """

    name: str
    hash: str
    purpose: str
    when: tuple[Expression, ...]
    inputs: dict[str, Input]
    steps: tuple[Step, ...]
    verify: Check
    preconditions: tuple[Precondition, ...] = ()
    rollback: tuple[Step, ...] = ()
    irreversible: str = ""

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the service's parameters that its steps are filled with."""
        texts = [text for step in (*self.steps, *self.rollback) for text in step.inputs.values()]
        named = (found for text in texts for found in REFERENCE.findall(text))
        return tuple(sorted({name for source, name in named if source == "service"}))

    def takes(self, parameters: Mapping[str, str]) -> dict[str, str]:
        """Those of a service's parameters that it uses."""
        return {name: parameters[name] for name in self.parameters if name in parameters}


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A runbook with its inputs filled in, on one target. ``parameters``: those of the service
    that the runbook uses, as they were. ``plan`` is what an approval binds: all of it."""

    runbook: str
    runbook_hash: str
    inputs: dict[str, str | int | bool]
    target: str
    environment: str
    service: str
    parameters: dict[str, str] = field(default_factory=dict)

    @property
    def plan(self) -> str:
        return ids.derived("plan", self)

    @property
    def group(self) -> Group:
        """The service that it is on."""
        return Group(self.environment, self.service)

    @property
    def place(self) -> str:
        """The id that a grant, a track record and a breaker have for it."""
        return f"{self.runbook}|{self.environment}|{self.service}"
