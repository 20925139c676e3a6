# SPDX-License-Identifier: Apache-2.0

"""The sense beat, from the log to incidents: ``beat`` reads and derives, ``keeping`` commits,
``memory`` is what lies between two commits, ``probing`` asks the health probes.
"""

from opx.engine.beats.sense.beat import Sense

__all__ = ["Sense"]
