# SPDX-License-Identifier: Apache-2.0

"""The words of a metric's name, for those who read from it what is measured.

Whole words are compared and never parts of them: what is unavailable is not available.
"""

from __future__ import annotations

import re

_NO_LETTER = re.compile("[^a-z0-9]+")
_CAPITAL = re.compile("(?<=[a-z])(?=[A-Z])|(?<=[A-Z0-9])(?=[A-Z][a-z])")


def words(metric: str) -> list[str]:
    """In lower case, split where a capital begins a word and at all that is no letter or digit."""
    return _NO_LETTER.split(_CAPITAL.sub("_", metric).lower())
