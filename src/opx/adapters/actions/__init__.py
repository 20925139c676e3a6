# SPDX-License-Identifier: Apache-2.0

"""Actions: the whole catalogue of what ``hands`` can do to the world.

One module a vendor, and one registered object an action, each of which can look at its
target before it acts and tell afterwards whether its effect is there. What is not in
``registry`` cannot be done, whatever a document says.
"""

from __future__ import annotations

from opx.adapters.actions import files, flags, releases, supervisor, web
from opx.adapters.actions.roots import Roots
from opx.adapters.actions.web import Hosts
from opx.adapters.clients.logins import Logins
from opx.engine.ports import Action


def registry(
    logins: Logins | None = None, roots: Roots | None = None, hosts: Hosts | None = None
) -> dict[str, Action]:
    """Every action by name. ``logins``: of the supervisords that want one. ``roots``,
    ``hosts``: where files may be touched and requests sent; None: nowhere."""
    roots = roots or Roots()
    actions: tuple[Action, ...] = (
        *supervisor.actions(logins),
        files.Restore(roots),
        releases.Rollback(roots),
        flags.Set(roots),
        web.Request(hosts or Hosts()),
    )
    return {action.spec.name: action for action in actions}
