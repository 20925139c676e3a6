# SPDX-License-Identifier: Apache-2.0

"""Actions: the whole catalogue of what ``hands`` can do to the world.

One module a vendor, and one registered object an action, each of which can look at its
target before it acts and tell afterwards whether its effect is there. What is not in
``registry`` cannot be done, whatever a document says.
"""

from __future__ import annotations

from opx.adapters.actions import supervisor
from opx.engine.ports import Action


def registry(allowed_hosts: frozenset[str] = frozenset()) -> dict[str, Action]:
    """Every action by name. ``allowed_hosts``: where, besides this machine, they may act."""
    return {action.spec.name: action for action in supervisor.actions(allowed_hosts)}
