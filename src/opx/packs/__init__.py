# SPDX-License-Identifier: Apache-2.0

"""What ships as data: documents in YAML, applied like anybody else's, and schemas, of documents
and of what the wires take.

The documents are read once, when a data folder is made: handed out as text, never looked into.
"""

from __future__ import annotations

from importlib import resources


def texts() -> dict[str, str]:
    """Every shipped document by file name, in the order of names."""
    files = sorted(resources.files(__name__).iterdir(), key=lambda entry: entry.name)
    return {entry.name: entry.read_text("utf-8") for entry in files if entry.name.endswith(".yaml")}
