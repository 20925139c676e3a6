# SPDX-License-Identifier: Apache-2.0

"""What ships as data: documents in YAML, applied like anybody else's.

Read once when a data folder is made. It hands out text and never looks inside.
"""

from __future__ import annotations

from importlib import resources


def texts() -> dict[str, str]:
    """Every shipped document by file name, in the order of names."""
    files = sorted(resources.files(__name__).iterdir(), key=lambda entry: entry.name)
    return {entry.name: entry.read_text("utf-8") for entry in files if entry.name.endswith(".yaml")}
