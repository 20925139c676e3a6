# SPDX-License-Identifier: Apache-2.0

"""What is opx's own stays closed to its actions, whatever root is allowed."""

from __future__ import annotations

import sysconfig
from pathlib import Path

import pytest

import opx
from opx.adapters.actions.roots import Roots
from opx.app import hands
from opx.errors import Refused
from opx.settings import Settings


def test_opx_is_closed_below_any_root(tmp_path: Path) -> None:
    """Its data, keys, code and everything its Python loads code from; what is beside is not."""
    data = tmp_path / "opx"
    (data / "keys").mkdir(parents=True)
    (tmp_path / "shop").mkdir()
    own = hands._own_folders(Settings(data=data))
    code = Path(opx.__file__).parent
    libraries = Path(sysconfig.get_paths()["purelib"])
    roots = Roots((str(tmp_path), str(code.parent), str(libraries.parent)), own)

    for path in (data, data / "keys", code, code / "core", libraries, libraries / "numpy"):
        with pytest.raises(Refused, match="opx's own"), roots.folder(str(path)):
            pass
    with roots.folder(str(tmp_path / "shop")):
        pass
