# SPDX-License-Identifier: Apache-2.0

"""Mapping documents, strictly."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from opx.adapters.wires.documents import parse_yaml
from opx.core.base.documents import Document
from opx.core.ingest.mapping import MappingRule, bind_mapping
from opx.errors import DocumentError


def document(spec: Any, kind: str = "Mapping") -> Document:
    text = yaml.safe_dump({"spec": spec}, default_flow_style=False)
    head = f"apiVersion: opx/v1\nkind: {kind}\nmetadata: {{name: ours}}\n"
    [one] = parse_yaml(head + text, "ours.yaml")
    return one


def test_every_field_has_its_place() -> None:
    """The labels of each, in their order."""
    spec = {
        "environment": ["stage"],
        "service": ["team", "k8s.app/name"],
        "resource": ["node"],
        "defaultEnvironment": "shop",
    }

    assert bind_mapping(document(spec)) == MappingRule(
        environment=("stage",),
        service=("team", "k8s.app/name"),
        resource=("node",),
        default_environment="shop",
    )


def test_what_is_left_out_stays_as_usual() -> None:
    """An empty document is the usual rule; one field changes that alone."""
    assert bind_mapping(document({})) == MappingRule()
    assert bind_mapping(document({"service": ["team"]})) == MappingRule(service=("team",))


@pytest.mark.parametrize(
    ("spec", "line", "says"),
    [
        ({"service": []}, 5, "1 to 20 labels"),
        ({"service": [f"l{n}" for n in range(21)]}, 5, "1 to 20 labels"),
        ({"service": "team"}, 5, "a list is expected"),
        ({"service": ["team", "team"]}, 7, "'team' is named twice"),
        ({"service": ["team", "9"]}, 7, "does not match"),
        ({"resource": ["a b"]}, 6, "does not match"),
        ({"services": ["team"]}, 5, "did you mean 'service'?"),
        ({"defaultEnvironment": ""}, 5, "does not match"),
        ({"defaultEnvironment": "Shop 1"}, 5, "does not match"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(spec: Any, line: int, says: str) -> None:
    """File, line and what to do."""
    with pytest.raises(DocumentError, match=says) as caught:
        bind_mapping(document(spec))
    assert (caught.value.source, caught.value.line) == ("ours.yaml", line)


def test_only_mappings_are_bound() -> None:
    """Another kind is another reader's."""
    with pytest.raises(DocumentError, match="a Mapping is expected, not a Service"):
        bind_mapping(document({}, "Service"))
