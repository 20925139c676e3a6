# SPDX-License-Identifier: Apache-2.0

"""Whose a signal is: from its labels, by the catalogue's mapping rule.

Stage 1, before anything else looks at a signal. What no label names stays unmapped
(``service == ""``); this module must never guess.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from opx.core.ingest.mapping import MappingRule
from opx.core.ingest.signals import Identity, Series


def resolve(labels: Mapping[str, str], mapping: MappingRule) -> Identity:
    """The identity that ``labels`` name; an empty label counts as absent."""
    return Identity(
        _first(labels, mapping.environment) or mapping.default_environment,
        _first(labels, mapping.service),
        _first(labels, mapping.resource),
    )


def names(mapping: MappingRule) -> tuple[str, ...]:
    """Every label that ``resolve`` looks at."""
    return (*mapping.environment, *mapping.service, *mapping.resource)


def _first(labels: Mapping[str, str], candidates: Iterable[str]) -> str:
    for name in candidates:
        value = labels.get(name)
        if value:
            return value
    return ""


def labels_of(series: Series) -> dict[str, str]:
    """Every label that a series can be chosen by: its own, and what its identity says."""
    whose = series.identity
    named = {
        "environment": whose.environment,
        "service": whose.service,
        "resource": whose.resource,
    }
    return {**series.labels, **{name: value for name, value in named.items() if value}}
