# SPDX-License-Identifier: Apache-2.0

"""How other systems' words for severity are read: one table, used by every wire.

Stage 1. A word that is not in the table has no severity here; the wire says what that
means (an alert is SEV3, an event is refused).
"""

from __future__ import annotations

from opx.core.ingest.signals import Severity

WORDS: dict[str, Severity] = {
    word: severity
    for severity, words in (
        (Severity.SEV1, ("sev1", "p0", "disaster", "emergency", "fatal")),
        (Severity.SEV2, ("sev2", "p1", "critical", "page", "high")),
        (Severity.SEV3, ("sev3", "p2", "error", "major", "medium", "ticket", "warning", "warn")),
        (Severity.SEV4, ("sev4", "p3", "minor", "low")),
        (Severity.SEV5, ("sev5", "info", "informational", "notice", "debug", "none")),
    )
    for word in words
}


def read(word: str) -> Severity | None:
    """The severity that ``word`` stands for, in any case; None when it is not in the table."""
    return WORDS.get(word) or WORDS.get(word.strip().lower())
