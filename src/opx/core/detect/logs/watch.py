# SPDX-License-Identifier: Apache-2.0

"""The log detectors together: lines and ticks in, findings out.

Stage 2. Every line of a mapped service is mined once, and four detectors look at what it is
a line of: a template never seen there (``novelty``), one that comes more or less often than
usual (``rates``), a session that is a set of templates never seen (``sessions``), a share of
errors that begins to rise (``shares``). All they say is evidence. The first three need no
level, the last only that. It must never depend on how the items were cut into batches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from opx.core.base.time import Ms
from opx.core.detect.finding import ClearReason, Finding
from opx.core.detect.logs import joining, saying, sessions
from opx.core.detect.logs.miner import Miner
from opx.core.detect.logs.novelty import Known
from opx.core.detect.logs.opened import Open
from opx.core.detect.logs.rates import Rates, Whose
from opx.core.detect.logs.sessions import Session, Sessions
from opx.core.detect.logs.shares import Shares
from opx.core.ingest.signals import LogLevel, LogLine, Tick

MOST_SERVICES = 1_024
"""Services whose templates and sets are known; beyond that the least recently seen go."""


@dataclass(slots=True)
class LogState:
    """``templates`` and ``sets``: what is known of each service, the least recently seen first.
    ``open``: findings that fire. ``forgotten``: services there was no room for."""

    miner: Miner = field(default_factory=Miner)
    templates: dict[Whose, Known] = field(default_factory=dict)
    sets: dict[Whose, Known] = field(default_factory=dict)
    rates: Rates = field(default_factory=Rates)
    sessions: Sessions = field(default_factory=Sessions)
    shares: Shares = field(default_factory=Shares)
    open: Open = field(default_factory=Open)
    forgotten: int = 0

    def save(self) -> dict[str, Any]:
        """The state in its plain form."""
        return {
            "miner": self.miner.save(),
            "templates": _known(self.templates),
            "sets": _known(self.sets),
            "rates": self.rates.save(),
            "sessions": self.sessions.save(),
            "shares": self.shares.save(),
            "open": self.open.save(),
            "forgotten": self.forgotten,
        }

    @classmethod
    def load(cls, saved: Mapping[str, Any]) -> LogState:
        """What ``save`` gave, again."""
        return cls(
            miner=Miner.load(saved["miner"]),
            templates={(row[0], row[1]): Known.load(row[2]) for row in saved["templates"]},
            sets={(row[0], row[1]): Known.load(row[2]) for row in saved["sets"]},
            rates=Rates.load(saved["rates"]),
            sessions=Sessions.load(saved["sessions"]),
            shares=Shares.load(saved["shares"]),
            open=Open.load(saved["open"]),
            forgotten=saved["forgotten"],
        )


def step(state: LogState, items: Sequence[LogLine | Tick]) -> list[Finding]:
    """The edges that these items make, in their order. A line without a service is nobody's."""
    edges: list[Finding] = []
    for item in items:
        if isinstance(item, Tick):
            edges += _tick(state, item.at)
        elif item.identity.service:
            edges += _take(state, item)
    return edges


def _take(state: LogState, line: LogLine) -> list[Finding]:
    who = line.identity.environment, line.identity.service
    now, at = line.received_at, min(line.at, line.received_at)
    merged = state.miner.merged
    template = state.miner.add(joining.gist(line.message))
    edges = _rename(state, now) if state.miner.merged != merged else []
    known = _of(state, state.templates, who)
    expected = known.expected
    if known.take(template.id):
        edges += state.open.tell(*saying.new_template(template, line, expected))
    else:
        state.open.again((saying.NEW, *who, template.id), now)
    gone = state.rates.take((*who, template.id), at)
    if gone is not None:
        edges += _withdrawn(state, (saying.RATE, *gone), now)
    left = state.shares.take(who, at, line.level >= LogLevel.ERROR)
    if left is not None:
        edges += _withdrawn(state, (saying.SHARE, *left, ""), now)
    id = sessions.id_of(line.fields)
    if id is not None:
        ended = state.sessions.take((*who, id), template.id, now)
        edges += [] if ended is None else _session(state, *ended, now)
    return edges


def _tick(state: LogState, now: Ms) -> list[Finding]:
    edges = state.open.expire(now)
    for key, session in state.sessions.tick(now):
        edges += _session(state, key, session, now)
    changes = state.rates.tick(now)
    texts = _texts(state) if changes else {}
    for change in changes:
        told = saying.rate(change, texts.get(change.key[2], change.key[2]), now)
        edges += _edge(state, told, change.over)
    for rise in state.shares.tick(now):
        edges += _edge(state, saying.share(rise, now), rise.over)
    return edges


def _edge(state: LogState, told: tuple[saying.Key, Finding], over: bool) -> list[Finding]:
    """It begins, or is over."""
    key, finding = told
    if not over:
        return state.open.tell(key, finding)
    return state.open.end(key, ClearReason.RESOLVED, finding.at, finding.evidence)


def _withdrawn(state: LogState, key: saying.Key, now: Ms) -> list[Finding]:
    return state.open.end(key, ClearReason.WITHDRAWN, now, {"note": "no longer counted by itself"})


def _session(state: LogState, key: sessions.Key, session: Session, now: Ms) -> list[Finding]:
    """What a session that is over says."""
    known = _of(state, state.sets, key[:2])
    expected, kind = known.expected, sessions.kind_of(session)
    if not known.take(kind):
        state.open.again((saying.SET, *key[:2], kind), now)
        return []
    return state.open.tell(*saying.new_set(key, session, _texts(state), expected, now))


def _rename(state: LogState, now: Ms) -> list[Finding]:
    """Templates have become one: whatever is known of any of them is known of that one."""
    renames = state.miner.renames()
    for known in (*state.templates.values(), *state.sets.values()):
        known.rename(renames)
    state.sessions.rename(renames)
    edges: list[Finding] = []
    for key in state.rates.rename(renames):
        edges += _withdrawn(state, (saying.RATE, *key), now)
    return edges


def _texts(state: LogState) -> dict[str, str]:
    return {one.id: one.text for one in state.miner.templates.values()}


def _of(state: LogState, all: dict[Whose, Known], who: Whose) -> Known:
    """What is known of a service; somebody may have to be forgotten for it."""
    known = all.pop(who, None)
    if known is None:
        known = Known()
        if len(all) >= MOST_SERVICES:
            del all[next(iter(all))]
            state.forgotten += 1
    all[who] = known
    return known


def _known(all: Mapping[Whose, Known]) -> list[Any]:
    return [[*who, known.save()] for who, known in all.items()]
