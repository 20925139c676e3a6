# SPDX-License-Identifier: Apache-2.0

"""The ``opx`` command's front door.

``opx up`` stays in memory for as long as opx runs, so it is loaded without the libraries
that every other command uses; those are loaded only when one of them is wanted.
"""

from __future__ import annotations

import importlib
import sys


def main() -> None:
    """Run the command in ``sys.argv`` and exit with its code."""
    wanted = "opx.cli.up" if sys.argv[1:2] == ["up"] else "opx.cli.tree"
    sys.exit(importlib.import_module(wanted).run(sys.argv[1:]))
