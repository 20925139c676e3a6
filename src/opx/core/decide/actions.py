# SPDX-License-Identifier: Apache-2.0

"""``ActionSpec``: what a registered action says about itself, so that runbooks can be checked.

Each adapter in ``opx.adapters.actions`` describes itself with one; ``documents`` reads
runbooks against them. It must never hold anything that can be run.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Undo(StrEnum):
    """What it takes to take the action back."""

    ROLLBACK = "rollback"
    """Another step can; a runbook must name it."""
    NOT_NEEDED = "not_needed"
    """It leaves nothing behind: a restart."""
    IRREVERSIBLE = "irreversible"
    """Nothing can; a runbook must say why that is acceptable."""


class Blast(StrEnum):
    """How far it reaches when it goes wrong."""

    PROCESS = "process"
    """One process, and who waits for it."""
    SERVICE = "service"
    """Every process of a service: its files, its release, its flags."""
    EXTERNAL = "external"
    """Something elsewhere, of which opx knows nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionSpec:
    """``name`` as in a step's ``uses``. ``required``, ``optional``: the names of its inputs.

    ``blast`` has no default: whoever writes an action must have thought."""

    name: str
    undo: Undo
    blast: Blast
    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
