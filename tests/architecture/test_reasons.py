# SPDX-License-Identifier: Apache-2.0
"""``docs/reasons.md`` names every reason there is, in the words that opx itself uses."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path

import pytest

from opx.core.correlate.episode import Suppressed
from opx.core.decide import decision
from opx.core.decide.why import SENTENCES
from opx.core.detect.predict.prediction import Withdrawn
from opx.core.incident import gate
from opx.core.incident.incident import PromotionReason
from opx.core.ingest import checks

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reasons.md"
LISTS: dict[str, type[StrEnum]] = {
    "The gate": decision.Reason,
    "Promotion": PromotionReason,
    "Suppression": Suppressed,
    "Predictions": Withdrawn,
    "Ingest": checks.Reason,
}


def rows() -> dict[str, dict[str, list[str]]]:
    """By heading, by reason: what stands in the other cells of its line."""
    found: dict[str, dict[str, list[str]]] = {}
    for section in PAGE.read_text().split("\n## ")[1:]:
        heading, _, text = section.partition("\n")
        lines = re.findall(r"^\| `(\w+)` \|(.*)\|$", text, re.MULTILINE)
        assert len({name for name, _ in lines}) == len(lines), heading
        found[heading] = {name: [c.strip() for c in cells.split("|")] for name, cells in lines}
    return found


def test_every_list_has_its_section() -> None:
    """No list is missing on the page and no section is about none."""
    assert list(rows()) == list(LISTS)


@pytest.mark.parametrize("heading", LISTS)
def test_every_reason_has_its_line_and_no_line_is_about_none(heading: str) -> None:
    """The lines are the members, in their order, and each says what it means."""
    lines = rows()[heading]

    assert list(lines) == [reason.value for reason in LISTS[heading]]
    assert [name for name, cells in lines.items() if len(cells) != 2 or not cells[0]] == []


def test_the_gate_has_one_wording() -> None:
    """What the page says of a guard's reason is what ``opx why`` says."""
    words = {
        reason.value: [because, change.rstrip(",")]
        for reason, (because, change) in SENTENCES.items()
    }

    assert rows()["The gate"] == words


def test_promotion_has_one_wording() -> None:
    """The same of why an episode became an incident, or did not."""
    words = {reason.value: list(both) for reason, both in gate.SENTENCES.items()}

    assert rows()["Promotion"] == words
