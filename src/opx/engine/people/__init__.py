# SPDX-License-Identifier: Apache-2.0

"""What people may do: each verb is one transaction with its line in the journal.

``front`` writes halts, documents, grants, tokens, silences, comments and outcomes itself.
What touches derived state (an incident, an approval, a breaker) becomes a ``Command`` row
that ``brain`` carries out. Whether somebody may is asked before, by role; who did it comes
from their token. With an ``Idempotency-Key`` a verb happens once, however often it is sent;
with an ``If-Match`` only on what is still as it was read.
"""

from opx.engine.people.incidents import Incidents
from opx.engine.people.once import Ask
from opx.engine.people.people import People
from opx.engine.people.silences import Silences

__all__ = ["Ask", "Incidents", "People", "Silences"]
