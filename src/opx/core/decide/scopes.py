# SPDX-License-Identifier: Apache-2.0

"""Scopes of automation: what a halt covers, and whether a thing is halted.

Used by the mode guard and, again, by ``hands`` before each step. Unknown is halted: a
store without its ``all`` row has lost its modes.
"""

from __future__ import annotations

from collections.abc import Iterable

from opx.core.decide.case import Automation, Mode
from opx.core.decide.runbooks import Proposal

ALL = "all"


def covering(proposal: Proposal) -> tuple[str, ...]:
    """Every scope whose halt stops this proposal."""
    return (
        ALL,
        f"environment/{proposal.environment}",
        f"service/{proposal.environment}/{proposal.service}",
        f"runbook/{proposal.runbook}",
    )


def halting(modes: Iterable[Mode], proposal: Proposal) -> str | None:
    """The scope that halts this proposal; ``all`` also when nothing is known; else None."""
    known = {mode.id: mode.automation for mode in modes}
    if ALL not in known:
        return ALL
    for scope in covering(proposal):
        if known.get(scope, Automation.RUNNING) is not Automation.RUNNING:
            return scope
    return None
