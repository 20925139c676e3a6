# SPDX-License-Identifier: Apache-2.0

"""Who falls ill again, and whose trouble that is.

Part of stage 3; ``stage`` asks before it puts a finding where its group was. By itself it is
the same trouble again, as long as that episode goes on. What comes together with something
beneath is that one's, if that was found first or in the same instant; what comes when that is
over is a trouble of its own. It must never take a group out of what is not over for it.
"""

from __future__ import annotations

from collections.abc import Mapping

from opx.core.base.time import SECOND, Ms
from opx.core.correlate.episode import Group
from opx.core.correlate.live import Live, is_own
from opx.core.correlate.problems import Topology
from opx.core.detect.finding import Finding

TOGETHER: Ms = 10 * SECOND
"""Who falls ill so soon after what it depends on suffers from that."""
WELL_FOR: Ms = 5 * SECOND
"""Who was well for so long was well: what comes now need not be the same trouble again."""


def relapsed(live: Live, group: Group, finding: Finding) -> bool:
    """Whether a group was well again, and what it suffered from is too: trouble of its own."""
    since = finding.since  # most are ill, and that is quickly told
    return not live.ill(group, since) and group != live.root and not live.ill(live.root, since)


def shared(
    lives: Mapping[Group, Live], live: Live, group: Group, finding: Finding, topology: Topology
) -> bool:
    """Whether a group falls ill together with something that it depends on and that has another
    episode, while all symptoms of its own, which is ``live``, are over."""
    well = None if live.open or is_own(finding) else live.cleared_at
    if well is None or finding.since < well + WELL_FOR:
        return False
    for one in topology.below(group):
        other = lives.get(one)
        if other is None or other is live or not other.parts[one].open:
            continue
        if finding.at <= min(other.parts[one].open.values()) + TOGETHER:
            return True
    return False
