# SPDX-License-Identifier: Apache-2.0

"""Whose a signal is, and how bad the words of others are."""

from __future__ import annotations

import pytest

from opx.core.ingest import identity, severities
from opx.core.ingest.mapping import MappingRule
from opx.core.ingest.signals import Identity, Severity


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (
            {"environment": "prod", "service": "orders", "instance": "a:1"},
            Identity("prod", "orders", "a:1"),
        ),
        ({"env": "prod", "app": "orders", "pod": "p"}, Identity("prod", "orders", "p")),
        ({"service": "orders", "job": "other"}, Identity("default", "orders", "")),
        ({"service": "", "job": "orders"}, Identity("default", "orders", "")),
        ({"team": "shop"}, Identity("default", "", "")),
        ({}, Identity("default", "", "")),
    ],
)
def test_the_first_label_that_is_there_names_it(labels: dict[str, str], expected: Identity) -> None:
    """The first present label of each list wins; what none names stays unmapped."""
    assert identity.resolve(labels, MappingRule()) == expected


def test_the_mapping_rule_decides_which_labels_count() -> None:
    """Another rule reads other labels, and only those."""
    rule = MappingRule(service=("team",), default_environment="lab")

    assert identity.resolve({"team": "shop", "service": "x"}, rule) == Identity("lab", "shop")


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("sev1", Severity.SEV1),
        ("P0", Severity.SEV1),
        ("critical", Severity.SEV2),
        ("Page", Severity.SEV2),
        (" warning ", Severity.SEV3),
        ("low", Severity.SEV4),
        ("info", Severity.SEV5),
        ("", None),
        ("purple", None),
    ],
)
def test_severity_words_are_read_by_one_table(word: str, expected: Severity | None) -> None:
    """A known word has its severity in any case; an unknown one has none."""
    assert severities.read(word) is expected
