# SPDX-License-Identifier: Apache-2.0

"""What changed of late: releases, files and settings, as the events that told of them.

Part of stage 4: the first evidence of any explanation, because most trouble follows a
change. It reads events as the journal keeps them; one of another type, or without what its
type promises, is no change. It must never trust an event to be complete.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from opx.core.base.time import DAY, HOUR, Ms
from opx.core.correlate.episode import Group

LOOK_BACK: Ms = DAY
SHORTLY: Ms = HOUR
"""A symptom this soon after a release is laid at its door."""


class What(StrEnum):
    """The types of events that are changes."""

    RELEASE = "opx.release.deployed"
    FILE = "opx.file.drifted"
    FILE_BACK = "opx.file.restored"
    CONFIG = "opx.config.changed"


TYPES = frozenset(What)
_SUBJECTS = {
    What.RELEASE: "release",
    What.FILE: "path",
    What.FILE_BACK: "path",
    What.CONFIG: "path",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """``subject``: the release or the path. ``by``: who did it, empty when nobody said.
    ``event``: the id of the event that told of it."""

    event: str
    what: What
    group: Group
    subject: str
    at: Ms
    by: str = ""

    @classmethod
    def of(cls, event: Mapping[str, Any]) -> Changed | None:
        """From an event in its plain form; None when it tells of no change."""
        known = next((what for what in What if what == event.get("type")), None)
        data, whose = event.get("data"), event.get("identity")
        if known is None or not isinstance(data, Mapping) or not isinstance(whose, Mapping):
            return None
        subject = data.get(_SUBJECTS[known])
        if not isinstance(subject, str) or not subject:
            return None
        by = data.get("actor")
        return cls(
            event=str(event["id"]),
            what=known,
            group=Group(whose["environment"], whose["service"]),
            subject=subject,
            at=event["at"],
            by=by if isinstance(by, str) else "",
        )


def subject_of(group: Group) -> str:
    """The journal's subject of what happened to a service."""
    return f"events/{group.environment}/{group.service}"


def drifted(changes: Iterable[Changed], group: Group) -> list[Changed]:
    """The watched files of a service that are not what they should be now, newest first."""
    newest: dict[str, Changed] = {}
    for change in sorted(changes, key=lambda one: (one.at, one.event)):
        if change.group == group and change.what in (What.FILE, What.FILE_BACK):
            newest[change.subject] = change
    still = [change for change in newest.values() if change.what is What.FILE]
    return sorted(still, key=lambda one: (-one.at, one.subject))


def released(changes: Iterable[Changed], group: Group, before: Ms, after: Ms = 0) -> Changed | None:
    """The last release of a service, if it came shortly before that time, and ``after`` another:
    what was taken back then is there no more."""
    found = [
        change
        for change in changes
        if change.group == group
        and change.what is What.RELEASE
        and max(before - SHORTLY, after) <= change.at <= before
    ]
    return max(found, key=lambda one: (one.at, one.event), default=None)
