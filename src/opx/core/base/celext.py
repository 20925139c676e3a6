# SPDX-License-Identifier: Apache-2.0

"""The CEL evaluator alone, without the command line that its package brings along.

``import cel`` also loads a terminal interface: 20 MB and a third of a second in each of
three processes that never show a prompt. The evaluator is one extension module, loaded
here under its own name, so that whoever imports the whole package later shares it.
"""

from __future__ import annotations

import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from types import ModuleType

_NAME = "cel.cel"


def load() -> ModuleType:
    """The extension. ``ImportError`` when common-expression-language is not installed."""
    known = sys.modules.get(_NAME)
    if known is not None:
        return known
    package = PathFinder.find_spec("cel")
    found = PathFinder.find_spec(_NAME, package.submodule_search_locations if package else None)
    if found is None or found.loader is None:
        raise ImportError("opx needs the package common-expression-language")
    module = module_from_spec(found)
    sys.modules[_NAME] = module
    found.loader.exec_module(module)
    return module
