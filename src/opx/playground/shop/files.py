# SPDX-License-Identifier: Apache-2.0

"""What a service starts from: its configuration, and the release that ``current`` points at.

Read once, when the service starts, as most programs do: what is changed later shows at the
next start. A configuration that lacks what it must have is refused, so that a service never
runs on half of one. Standard library alone: every service process imports it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from opx.playground.layout import Layout

MUST = {"service": str, "currency": str, "timeout_ms": int}
"""What each configuration must have, and of which type."""
TIMEOUT_MS = 900
"""For the next service; a user waits 1 s in all."""
FIRST = "v1"
RELEASE = "release.json"
BY = ".changed-by"
"""Ends the name of the note that a change may leave beside a file: who made it."""


class Refused(Exception):
    """The service must not start; why, in one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    currency: str
    timeout_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """``fails``: paths that it answers with 500."""

    name: str
    fails: frozenset[str]


def lay_out(where: Layout, services: tuple[str, ...]) -> None:
    """The files of a shop in which all is well."""
    for service in services:
        for file in (where.good(service), where.config(service)):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(good(service, "welcome"))
        make_release(where, service, FIRST, [])
        point(where, service, FIRST)


def good(service: str, greeting: str) -> str:
    """The text of a configuration that is well."""
    value = {"service": service, "currency": "EUR", "timeout_ms": TIMEOUT_MS, "greeting": greeting}
    return json.dumps(value, indent=2) + "\n"


def config(where: Layout, service: str) -> Config:
    """The service's own. ``Refused``: it is not there, or not whole."""
    file = where.config(service)
    try:
        value = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise Refused(f"{file} cannot be read: {error}") from error
    for name, kind in MUST.items():
        if not isinstance(value, dict) or not isinstance(value.get(name), kind):
            raise Refused(f"{file} has no {name!r} that is a {kind.__name__}")
    if value["service"] != service:
        raise Refused(f"{file} is that of {value['service']}")
    return Config(currency=value["currency"], timeout_ms=value["timeout_ms"])


def release(where: Layout, service: str) -> Release:
    """The one that is current. ``Refused``: there is none."""
    file = where.app(service) / "current" / RELEASE
    try:
        value = json.loads(file.read_text())
        return Release(name=value["release"], fails=frozenset(value["fails"]))
    except (OSError, ValueError, KeyError) as error:
        raise Refused(f"{file} cannot be read: {error}") from error


def make_release(where: Layout, service: str, name: str, fails: list[str]) -> None:
    folder = where.app(service) / "releases" / name
    folder.mkdir(parents=True)
    (folder / RELEASE).write_text(json.dumps({"release": name, "fails": fails}) + "\n")


def point(where: Layout, service: str, name: str) -> None:
    """Make it the current one, at once."""
    app = where.app(service)
    draft = app / ".current.new"
    draft.symlink_to(Path("releases") / name)
    draft.replace(app / "current")


def current(where: Layout, service: str) -> str:
    """The name of the release that is current."""
    return (where.app(service) / "current").readlink().name
