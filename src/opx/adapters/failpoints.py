# SPDX-License-Identifier: Apache-2.0

"""Failpoints: named places where a crash would hurt most, and a way to crash there.

Off unless the setting ``failpoints`` names some, as the crash tests do: ``claimed=0.5`` kills the
process with SIGKILL at half the visits to ``claimed``. In service each costs a look into
an empty dictionary.
"""

from __future__ import annotations

import os
import random
import signal
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Failpoints:
    """``armed``: the chance to die at each name."""

    armed: dict[str, float] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> Failpoints:
        """``name=chance,name=chance``; a name alone is certain."""
        pairs = (part.partition("=") for part in text.split(",") if part)
        return cls({name.strip(): float(chance or 1) for name, _, chance in pairs})

    def __call__(self, name: str) -> None:
        chance = self.armed.get(name, 0.0)
        if chance and random.random() < chance:
            os.kill(os.getpid(), signal.SIGKILL)
