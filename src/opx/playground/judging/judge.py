# SPDX-License-Identifier: Apache-2.0

"""The judge: were users hurt, and since when are they well again.

Reads what the load generator wrote and nothing else. A service is judged by the paths
that users can only take through it. It must never look at opx, nor opx at it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from opx.core.base.time import Ms
from opx.playground import layout
from opx.playground.shop import load

STEADY = 10
"""So many good answers in a row, on each path, are a recovery: about two seconds' worth."""
SETTLED: Ms = load.TIMEOUT_MS + 300
"""A request this old has ended, so its line is there; younger ones are not yet counted."""


@dataclass(frozen=True, slots=True)
class Sample:
    at: Ms
    path: str
    ok: bool


@dataclass(slots=True)
class Judge:
    """``file``: the load generator's; it is read on from where the last look ended."""

    file: Path
    _offset: int = 0
    _samples: list[Sample] = field(default_factory=list)

    def hurt_at(self, service: str, after: Ms) -> Ms | None:
        """When the first request failed that was made at or after ``after``; None: none has."""
        return next((s.at for s in self._of(service, after) if not s.ok), None)

    def healthy_at(self, service: str, after: Ms) -> Ms | None:
        """From when on users were well again, having been hurt at or after ``after``.

        None: they were not hurt, or are not well yet.
        """
        hurt = self.hurt_at(service, after)
        return None if hurt is None else self.well_since(service, hurt)

    def well_since(self, service: str, after: Ms) -> Ms | None:
        """The start of the first ``STEADY`` good answers in a row at or after ``after``, on
        that path through the service which took longest; None: not yet."""
        samples = self._of(service, after)
        paths = layout.paths_through(service)
        starts = [_steady([s for s in samples if s.path == path]) for path in paths]
        known = [at for at in starts if at is not None]
        return max(known) if len(known) == len(starts) else None

    def failures(self, service: str, after: Ms) -> int:
        """How many requests failed that were made at or after ``after``."""
        return sum(not s.ok for s in self._of(service, after))

    def seen_until(self) -> Ms:
        """Every request before this has been counted; 0: none has been made."""
        self._read()
        return self._samples[-1].at - SETTLED if self._samples else 0

    def _of(self, service: str, after: Ms) -> list[Sample]:
        until = self.seen_until()
        paths = layout.paths_through(service)
        return [s for s in self._samples if after <= s.at < until and s.path in paths]

    def _read(self) -> None:
        if not self.file.exists():
            return
        with self.file.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.splitlines():
            value = json.loads(line)
            self._samples.append(Sample(value["at"], value["path"], value["ok"]))
        if whole:
            self._samples.sort(key=lambda sample: sample.at)


def _steady(samples: list[Sample]) -> Ms | None:
    """Where the first ``STEADY`` good ones in a row begin."""
    run = 0
    for index, sample in enumerate(samples):
        run = run + 1 if sample.ok else 0
        if run == STEADY:
            return samples[index - STEADY + 1].at
    return None
