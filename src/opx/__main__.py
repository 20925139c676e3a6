# SPDX-License-Identifier: Apache-2.0

"""``python -m opx``: the same as the ``opx`` command."""

from __future__ import annotations

from opx.cli.main import main

if __name__ == "__main__":
    main()
