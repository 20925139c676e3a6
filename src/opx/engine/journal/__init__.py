# SPDX-License-Identifier: Apache-2.0

"""The journal: ``entries`` makes its lines, ``audit`` proves that nobody changed them, and
``replay`` puts together again what they say.
"""

from opx.engine.journal.entries import SUPPRESSED, WAITS, entry, suppressed, waits, waits_of

__all__ = ["SUPPRESSED", "WAITS", "entry", "suppressed", "waits", "waits_of"]
