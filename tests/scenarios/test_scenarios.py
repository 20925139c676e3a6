# SPDX-License-Identifier: Apache-2.0
"""The scenario files are the specification: each is played in virtual time."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from opx.adapters.durable.inline import InlineWorkflows
from opx.app import documents
from opx.engine.documents import stored as kept
from opx.testing import scenario

HERE = Path(__file__).parent
FILES = sorted(HERE.glob("*.yaml"))


def bound(name: str) -> documents.Knowledge:
    path = HERE / "documents" / f"{name}.yaml"
    text, source = path.read_text(), path.name
    stored = [kept(checked, "test", 0) for checked in documents.check(text, source, [])]
    return documents.bind(stored)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_scenario(path: Path) -> None:
    """What comes of it is what the file expects, and no loop of brain failed."""
    told = yaml.safe_load(path.read_text())

    result = scenario.play(told, bound(told["documents"]), InlineWorkflows)

    assert scenario.differences(told["expect"], result) == []
