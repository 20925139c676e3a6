# SPDX-License-Identifier: Apache-2.0

"""What is to come, as the sense beat drives it: points, lines and what happened, in order.

The top of ``predict``: the state, the lines, and what waits. Points wait for the next tick of
the clock. What happened is taken before the first commit of the log that is later, whenever
it was told, so a replay that is told of it again does what was done. It must never look at
a stream that nobody's words or limits make one to watch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opx.core.base.time import Ms
from opx.core.detect.metrics import packing
from opx.core.detect.predict import lines as of_lines
from opx.core.detect.predict import predictor
from opx.core.detect.predict.lines import Lines
from opx.core.detect.predict.prediction import Happened, Prediction, Withdrawn, nearer
from opx.core.detect.predict.state import Limits, PredictState
from opx.core.ingest.signals import Identity, LogLine, MetricBatch, Series, Tick
from opx.errors import Damaged

FORM = 1
PIECE = 65_536
"""So many points do not wait for the clock."""
_ARRAYS = ("numbers", "parts", "newest")
_LISTS = ("rings", "index", "odds")


@dataclass(slots=True, kw_only=True)
class Ahead:
    """``offered``: by number of the stream, whether ``state`` was asked to watch it. ``waiting``:
    points of watched streams until the next tick, ``count`` of them. ``told``: what happened
    and is not taken yet, each once. ``heard``: the time of the newest commit of the log.
    ``strays``: stored predictions that are open and of which nothing is known."""

    state: PredictState = field(default_factory=PredictState)
    lines: Lines = field(default_factory=Lines)
    offered: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))
    waiting: list[MetricBatch] = field(default_factory=list)
    count: int = 0
    told: dict[Happened, None] = field(default_factory=dict)
    heard: Ms = 0
    strays: list[Prediction] = field(default_factory=list)

    def happened(self, *what: Happened) -> None:
        """These are taken by the first ``take`` that is later than they are."""
        self.told.update(dict.fromkeys(what))

    def take(
        self,
        points: MetricBatch | None,
        items: Sequence[LogLine | Tick],
        series: Mapping[int, Series],
        now: Ms,
    ) -> list[Prediction]:
        """The edges of one commit of the log, appended at ``now``, and of what happened before.
        ``series``: at least those of ``points``."""
        edges = [replace(one, withdrawn=Withdrawn.FORGOTTEN, at=now) for one in self.strays]
        self.strays = []
        edges += self._happened(now)
        self.heard = max(self.heard, now)
        if points is not None and len(points):
            self._wait(points, series)
        ticks = any(isinstance(one, Tick) for one in items)
        if self.count >= PIECE or (self.count and ticks):
            edges += self._step(now)
        edges += of_lines.take(self.lines, self.state, items)
        return edges + self._nearer(now) if ticks else edges

    def tell_limits(self, limits: Limits, series: Iterable[Series]) -> bool:
        """These hold from now on: a stream that was passed over may be one to watch now. Whether
        they are others than before. ``series``: every one that is known."""
        before = self.state.told
        if limits == before:
            return False
        self.state.tell_limits(limits)
        places = {place for place in limits if limits[place] != before.get(place)}
        for one in series:
            if (one.identity.environment, one.identity.service) in places:
                self.offered[one.sid : one.sid + 1] = False
        return True

    def missed(self, stored: Iterable[Prediction]) -> None:
        """``stored``: the open ones in the store, once ``load`` has caught up with the log. Those
        that are not known here are strays; what is open here and was never stored was found in
        a log that was read before it was looked at, and is let go."""
        kept = {one.id: one for one in stored}
        known = {one.id: whose for whose, one in self.state.open.items()}
        for id in known.keys() - kept.keys():
            del self.state.open[known[id]], self.state.streams[known[id]]
        self.strays = [one for id, one in kept.items() if id not in known]

    def save(self) -> dict[str, Any]:
        """Plain JSON values; ``load`` of them goes on exactly here."""
        state = self.state.save()
        state |= {name: packing.packed(state[name]) for name in _ARRAYS}
        state |= {name: [packing.packed(one) for one in state[name]] for name in _LISTS}
        return {
            "form": FORM,
            "state": state,
            "lines": self.lines.save(),
            "offered": packing.packed(np.packbits(self.offered)),
            "waiting": packing.pack_points(packing.joined(self.waiting)),
            "told": [
                [one.identity.environment, one.identity.service, one.at, one.what]
                for one in self.told
            ],
            "heard": self.heard,
        }

    @classmethod
    def load(cls, saved: Mapping[str, Any]) -> Ahead:
        """What was saved; a new one from ``{}``. ``Damaged`` if it is not that."""
        if not saved:
            return cls()
        try:
            if saved["form"] != FORM:
                raise Damaged("the predictions' state is of another form")
            state = dict(saved["state"])
            state |= {name: packing.unpacked(state[name]) for name in _ARRAYS}
            state |= {name: [packing.unpacked(one) for one in state[name]] for name in _LISTS}
            points = packing.unpack_points(saved["waiting"])
            return cls(
                state=PredictState.load(state),
                lines=Lines.load(saved["lines"]),
                offered=np.unpackbits(packing.unpacked(saved["offered"])).astype(np.bool_),
                waiting=[points] if len(points) else [],
                count=len(points),
                told={
                    Happened(identity=Identity(*who), at=int(at), what=Withdrawn(what)): None
                    for *who, at, what in saved["told"]
                },
                heard=int(saved["heard"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise Damaged(f"the predictions' state: {error!r}") from error

    def _happened(self, now: Ms) -> list[Prediction]:
        """What happened before ``now``, after the points that came before it."""
        if not self.told:
            return []
        due = sorted((one for one in self.told if one.at < now), key=_order)
        edges = self._step(now) if due and self.count else []
        for one in due:
            del self.told[one]
            over = predictor.failed if one.what is Withdrawn.FAILED else predictor.acted
            edges += over(self.state, one.identity, one.at)
        return edges

    def _nearer(self, now: Ms) -> list[Prediction]:
        """Those that have become more urgent: the clock alone brings a failure nearer."""
        found = [(whose, nearer(one, now)) for whose, one in self.state.open.items()]
        edges = {whose: one for whose, one in found if one is not None}
        self.state.open.update(edges)
        return list(edges.values())

    def _wait(self, points: MetricBatch, series: Mapping[int, Series]) -> None:
        """Let those of watched streams wait, streams that are new among them."""
        last = int(points.sid.max())
        if last >= len(self.offered):
            more = max(last + 1 - len(self.offered), len(self.offered))
            self.offered = np.concatenate([self.offered, np.zeros(more, np.bool_)])
        known = self.offered[points.sid]
        if not known.all():
            fresh = np.unique(points.sid[~known])
            self.state.know(series[sid] for sid in fresh.tolist())
            self.offered[fresh] = True
        watched = self.state.rows.find(points.sid.astype(np.int64)) >= 0
        if watched.any():
            self.waiting.append(packing.part(points, watched))
            self.count += len(self.waiting[-1])

    def _step(self, now: Ms) -> list[Prediction]:
        points = packing.newest(packing.joined(self.waiting))
        self.waiting, self.count = [], 0
        return predictor.step(self.state, points, now)


def _order(one: Happened) -> tuple[Ms, str, str, str]:
    return one.at, one.identity.environment, one.identity.service, one.what
