# SPDX-License-Identifier: Apache-2.0

"""Following opx's journal during a trial, and telling what is new in it.

Beneath ``trials``. One request a look, whatever goes on: the journal after the last entry
that was seen. It must never ask opx for anything that a reader of its journal cannot have.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from opx.core.base import time as opx_time
from opx.core.base.time import Ms
from opx.core.detect.finding import FindingKind
from opx.errors import NotFound, Unavailable
from opx.playground import processes, timeline
from opx.playground.client import Client
from opx.playground.system import COLLECTOR, Playground
from opx.playground.timeline import Beat, Line, Mark, Story, Tell

LOOK_S = 0.1
PAGES = ("asks", "breaker")
"""Edges of an incident at which a person is needed."""
OBSERVER = "observer"
"""The service that opx itself is when it cannot see: the collector's trouble is its."""
LONG_AGO = 1_000
"""Notices among which the one of an incident that goes on is: it may have flared up for long."""
_ABOUT = ("incident", "findings", "insight", "run", "order", "breaker")
"""What the kinds of entries about an incident begin with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What a trial works with."""

    playground: Playground
    client: Client
    tell: Tell

    def say(self, mark: Mark, text: str, at: Ms | None = None) -> None:
        self.tell(Line(processes.now() if at is None else at, mark, text))


@dataclass(slots=True)
class _Case:
    """One incident. ``services``: all that are in it, the one it comes from first."""

    services: tuple[str, ...] = ()
    entries: list[Mapping[str, Any]] = field(default_factory=list)
    story: Story = field(default_factory=Story)

    def of(self, names: Collection[str]) -> bool:
        """Whether it comes from one of these."""
        return bool(self.services) and self.services[0] in names

    def alarmed(self, since: Ms) -> bool:
        """Whether a symptom was found since then."""
        return any(
            entry["kind"] == "findings.attached"
            and entry["body"]["firing"]
            and entry["body"]["first"]["kind"] == FindingKind.SYMPTOM
            for entry in self.entries
            if opx_time.from_wire(entry["at"]) >= since
        )


def _named(services: Collection[str]) -> frozenset[str]:
    """As opx names them."""
    return frozenset(OBSERVER if name == COLLECTOR else name for name in services)


class Watch:
    """Follows opx's journal from now on. ``since``: what came before it does not count.
    ``pages``: what people were called for, by the notice's id. ``told``: lines so far."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._after = bench.client.newest()
        self._cases: dict[str, _Case] = {}
        self._targets: dict[str, str] = {}
        self._news: set[str] = set()
        self._began = self.since = processes.now()
        self.pages: dict[str, str] = {}
        self.told = 0

    def look(self) -> None:
        """Read what is new; nothing is, while opx cannot be asked."""
        with contextlib.suppress(Unavailable):  # its brain may just have been killed
            self._read()

    def until(
        self, holds: Callable[[], bool], within_s: float, what: str, every_s: float = LOOK_S
    ) -> None:
        """Look until it ``holds``; ``Unavailable``, naming ``what``, when time is up."""

        def looked() -> bool:
            self.look()
            return holds()

        processes.wait_for(looked, within_s, what, every_s)

    def story(self, service: str) -> Story:
        """The story of the incident that is about a service: the newest that comes from it,
        else one that it is part of."""
        name = OBSERVER if service == COLLECTOR else service
        about = [one for one in self._cases.values() if name in one.services[1:]]
        about += [one for one in self._cases.values() if one.services[:1] == (name,)]
        return next((one.story for one in reversed(about) if one.story.moments), Story())

    def called(self, services: Collection[str]) -> bool:
        """Whether people were called: just now, or before for an incident of one of these that
        goes on. Of one incident they are told once, however often it flares up."""
        named = _named(services)
        mine = {id for id, case in self._cases.items() if case.story.moments and case.of(named)}
        told = self._bench.client.notices(LONG_AGO)
        before = (notice for notice in told if str(notice["incident"]) in mine)
        return bool(self.pages) or any(notice["edge"] in PAGES for notice in before)

    def orders(self, services: Collection[str]) -> int:
        """How many orders were given that act on one of them."""
        ended = tuple(f"#{name}" for name in services)
        return sum(target.endswith(ended) for target in self._targets.values()) if ended else 0

    def alarms(self, expected: Collection[str]) -> int:
        """How many incidents had a symptom, new or again, that come from none of these. What is
        only odd alarms nobody."""
        named = _named(expected)
        return sum(
            case.alarmed(self.since) and not case.of(named)
            for case in self._cases.values()
            if case.services
        )

    def _read(self) -> None:
        fresh = self._bench.client.journal(self._after)
        for entry in fresh:
            self._after = max(self._after, int(entry["seq"]))
            if str(entry["kind"]).partition(".")[0] in _ABOUT:
                self._news.add(str(entry["subject"]))
                self._cases.setdefault(str(entry["subject"]), _Case()).entries.append(entry)
            if entry["kind"] == "order.issued":
                self._targets[str(entry["body"]["order"])] = str(entry["body"].get("target", ""))
        for incident in sorted(self._news):
            self._tell_news(incident)
        if self._news:
            self._tell_pages()
        self._news.clear()

    def _tell_news(self, incident: str) -> None:
        case = self._cases[incident]
        with contextlib.suppress(NotFound):
            found = self._bench.client.incident(incident)
            first = str(found["group"]["service"])
            others = (str(name) for name in found.get("services", ()) if name != first)
            case.services = (first, *others)
        story = timeline.read(case.entries, self.since)
        where = case.services[0] if case.services else "?"
        for beat, moment in story.moments.items():
            new = [moment] if case.story.moments.get(beat) != moment else []
            for one in story.acts[len(case.story.acts) :] if beat is Beat.ACTED else new:
                told = one.text if where in one.text else f"{where}: {one.text}"
                self._say(Mark(beat.value), told, one.at)
        case.story = story

    def _tell_pages(self) -> None:
        for notice in reversed(self._bench.client.notices()):
            at, id = opx_time.from_wire(notice["at"]), str(notice["id"])
            if notice["edge"] in PAGES and at >= self._began and id not in self.pages:
                self.pages[id] = str(notice["title"])
                self._say(Mark.PAGED, self.pages[id], at)

    def _say(self, mark: Mark, text: str, at: Ms) -> None:
        self.told += 1
        self._bench.say(mark, text, at)
