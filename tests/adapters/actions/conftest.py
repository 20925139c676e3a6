# SPDX-License-Identifier: Apache-2.0

"""A folder that actions may touch, with a folder of opx's own inside it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from opx.adapters import actions
from opx.adapters.actions.roots import Roots
from opx.engine.ports import Action


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The allowed folder; ``opx`` in it is opx's."""
    folder = tmp_path / "srv"
    (folder / "opx").mkdir(parents=True)
    (folder / "opx" / "sign.key").write_text("secret")
    return folder


@pytest.fixture
def action(place: Path) -> Callable[[str], Action]:
    """An action by name, allowed below ``place``."""
    roots = Roots((str(place),), (str(place / "opx"),))
    return lambda name: actions.registry(roots=roots)[name]
