# SPDX-License-Identifier: Apache-2.0

"""What people see: read models, each one function of one consistent view of the store.

Plain values, ready for the wire but for times, which stay ``Ms`` here. Nothing in this
package changes anything, and nothing that comes out of it holds a secret.
"""

from opx.engine.queries.doing import came_to
from opx.engine.queries.glance import (
    automation,
    breakers,
    grant_view,
    grants,
    problems,
    services,
    status,
)
from opx.engine.queries.kept import (
    entries,
    entries_before,
    newest,
    notices,
    quarantine,
    silences,
    stored_documents,
    verified,
)
from opx.engine.queries.one import Plain, find_incident, find_one
from opx.engine.queries.pages import (
    ACTIVE,
    Narrowed,
    approvals,
    decisions,
    incident,
    incidents,
    runs,
)
from opx.engine.queries.paging import Page
from opx.engine.queries.predictions import predictions, predictions_score
from opx.engine.queries.unanswered import why_of

__all__ = [
    "ACTIVE",
    "Narrowed",
    "Page",
    "Plain",
    "approvals",
    "automation",
    "breakers",
    "came_to",
    "decisions",
    "entries",
    "entries_before",
    "find_incident",
    "find_one",
    "grant_view",
    "grants",
    "incident",
    "incidents",
    "newest",
    "notices",
    "predictions",
    "predictions_score",
    "problems",
    "quarantine",
    "runs",
    "services",
    "silences",
    "status",
    "stored_documents",
    "verified",
    "why_of",
]
