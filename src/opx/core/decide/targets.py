# SPDX-License-Identifier: Apache-2.0

"""One name for one target, however it is spelled, and whether it is opx's own.

Used by the self-protection guard, and wherever a target is leased. One process has many
names (``localhost``, a trailing slash, a group prefix, a wildcard over its group): when in
doubt two targets are one, and it is ours.
"""

from __future__ import annotations

from collections.abc import Iterable

_LOOPBACK = frozenset({"localhost", "[::1]", "0.0.0.0", "[::]"})
_PORTS = {"http": "80", "https": "443"}


def owned(target: str, protected: Iterable[str]) -> bool:
    """Whether acting on ``target`` (``supervisor-url#program``) may touch a protected one.

    A protected target without a program protects its whole supervisor.
    """
    place, program = _parts(target)
    return any(
        place == own_place and (program in ("", own) or own == "" or "*" in program)
        for own_place, own in map(_parts, protected)
    )


def canonical(target: str) -> str:
    """The one spelling of ``target``: the id of its lease. Never shows a login."""
    place, program = _parts(target)
    return f"{place}#{program}"


def _parts(target: str) -> tuple[str, str]:
    """Where the supervisor listens and which program it is, in one spelling."""
    url, _, program = target.strip().lower().partition("#")
    scheme, _, rest = url.rpartition("://")
    place = rest.rpartition("@")[2].rstrip("/")
    if scheme != "unix":
        place = _host(place.partition("/")[0], _PORTS.get(scheme, ""))
    return place, program.rpartition(":")[2]


def _host(authority: str, usual_port: str) -> str:
    host, _, port = authority.rpartition(":")
    if not host or port.endswith("]"):
        host, port = authority, usual_port
    return f"{'loopback' if host in _LOOPBACK or host.startswith('127.') else host}:{port}"
