# SPDX-License-Identifier: Apache-2.0

"""Sessions: which templates the lines of one request, trace or session are of.

Part of ``watch``. A session is the lines of one service that carry one correlation id; it is
over when it was silent for a while, by the log's clock. The *set* of its templates says what
happened in it whatever the order and however often a step was tried again; whether such a
set is new is for ``novelty`` to say. It must never hold more sessions than its bound.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from opx.core.base.time import MINUTE, Ms
from opx.core.detect.logs.places import Places, Renames

FIELDS = (
    "session_id", "session", "correlation_id", "request_id", "trace_id", "traceId", "requestId",
    "correlationId", "sessionId", "x-request-id",
)  # fmt: skip
"""Fields whose value says which lines belong together; the first that is there counts."""
SILENCE: Ms = MINUTE
"""After so long it is over."""
MOST_SESSIONS = 20_000
"""Beyond that the one that was silent longest is over early."""
MOST_TEMPLATES = 64
"""Different templates of a session that are told apart."""

Key = tuple[str, str, str]
"""Environment, service, and the id."""


@dataclass(slots=True)
class Session:
    """``templates``: ids, in the order in which they came first."""

    seen_at: Ms
    templates: dict[str, None] = field(default_factory=dict)


@dataclass(slots=True)
class Sessions:
    """``open``, the one that was silent longest first. ``cut``: how many ended for want of room."""

    open: dict[Key, Session] = field(default_factory=dict)
    cut: int = 0
    most: int = MOST_SESSIONS
    _places: Places[Key] = field(default_factory=Places)

    def take(self, key: Key, id: str, now: Ms) -> tuple[Key, Session] | None:
        """One line more; the session that had to end for it, if one had to."""
        session = self.open.pop(key, None)
        ended: tuple[Key, Session] | None = None
        if session is None:
            session = Session(seen_at=now)
            if len(self.open) >= self.most:
                oldest = next(iter(self.open))
                ended = oldest, self._end(oldest)
                self.cut += 1
        self.open[key] = session
        session.seen_at = max(now, session.seen_at)
        if id not in session.templates and len(session.templates) < MOST_TEMPLATES:
            session.templates[id] = None
            self._places.add((id,), key)
        return ended

    def tick(self, now: Ms) -> list[tuple[Key, Session]]:
        """The sessions that are over by now, the one that was silent longest first."""
        ended = []
        for key, session in self.open.items():
            if session.seen_at + SILENCE > now:
                break
            ended.append(key)
        return [(key, self._end(key)) for key in ended]

    def rename(self, renames: Renames) -> None:
        """Templates that are one are one from now on."""
        for key in self._places.of(renames):
            session = self.open[key]
            self._places.remove(session.templates, key)
            session.templates = dict.fromkeys(renames.get(id, id) for id in session.templates)
            self._places.add(session.templates, key)

    def save(self) -> dict[str, Any]:
        sessions = [[list(key), one.seen_at, list(one.templates)] for key, one in self.open.items()]
        return {"open": sessions, "cut": self.cut}

    @classmethod
    def load(cls, saved: Mapping[str, Any]) -> Sessions:
        sessions = cls(cut=saved["cut"])
        for (environment, service, id), seen_at, templates in saved["open"]:
            session = Session(seen_at=seen_at, templates=dict.fromkeys(templates))
            key = environment, service, id
            sessions.open[key] = session
            sessions._places.add(session.templates, key)
        return sessions

    def _end(self, key: Key) -> Session:
        session = self.open.pop(key)
        self._places.remove(session.templates, key)
        return session


def id_of(fields: Mapping[str, str]) -> str | None:
    """The correlation id of a line with these fields, if it has one."""
    return next((fields[name] for name in FIELDS if fields.get(name)), None)


def kind_of(session: Session) -> str:
    """The set of its templates, as one word."""
    return " ".join(sorted(session.templates))
