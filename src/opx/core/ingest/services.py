# SPDX-License-Identifier: Apache-2.0

"""The ``Service`` document, and the catalogue of them that every stage looks things up in.

A Service says where it runs, how to ask whether it is well, which process it is, and
what it depends on. Read from YAML by ``opx.core.base.documents``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from opx.core.base import addresses
from opx.core.base.documents import NAME, Document, Node
from opx.core.base.reads import Probe, ProbeKind
from opx.core.base.time import HOUR, MINUTE, SECOND, Ms
from opx.core.ingest import checks
from opx.core.ingest.mapping import MappingRule
from opx.core.ingest.signals import Identity, Severity

KIND = "Service"
MOST_PARAMETERS = MOST_LIMITS = 50
_PARAMETER = re.compile(r"[a-z][a-z0-9_]{0,62}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """The service's own health probe, asked every ``interval``; a symptom after ``failures``
    in a row."""

    probe: Probe
    interval: Ms = SECOND
    failures: int = 2
    severity: Severity = Severity.SEV2


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """``target``: what an action acts on, ``supervisor-url#program`` for a supervised process.
    ``parameters``: what the steps of a runbook may be filled with, ``${{ service.NAME }}``.
    ``limits``: by metric, the level at which it fails."""

    name: str
    environment: str
    owner: str = ""
    health: Health | None = None
    target: str = ""
    depends_on: tuple[str, ...] = ()
    parameters: dict[str, str] = field(default_factory=dict)
    limits: dict[str, float] = field(default_factory=dict)
    hash: str = ""

    @property
    def id(self) -> str:
        """As its document is stored: a name is one service in each environment."""
        return id_of(self.environment, self.name)

    @property
    def needs(self) -> tuple[str, ...]:
        """The ids of the services it depends on, which are in its own environment."""
        return tuple(id_of(self.environment, name) for name in self.depends_on)


def id_of(environment: str, name: str) -> str:
    return f"{KIND}/{environment}/{name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """All services by (environment, name), and the rule that maps labels to them."""

    services: dict[tuple[str, str], Service] = field(default_factory=dict)
    mapping: MappingRule = field(default_factory=MappingRule)

    def of(self, identity: Identity) -> Service | None:
        return self.services.get((identity.environment, identity.service))

    def dependencies(self, service: Service) -> tuple[Service, ...]:
        """What it directly depends on and the catalogue knows, in the document's order."""
        found = (self.services.get((service.environment, name)) for name in service.depends_on)
        return tuple(other for other in found if other is not None)


def bind_service(document: Document) -> Service:
    """Read a ``Service`` document. ``DocumentError`` with the line of whatever is wrong."""
    if document.kind != KIND:
        raise document.at("kind").wrong(f"a {KIND} is expected, not a {document.kind}")
    spec = document.spec.fields(
        ("environment",), ("owner", "health", "target", "dependsOn", "parameters", "limits")
    )
    return Service(
        name=document.name,
        environment=spec["environment"].text(NAME.pattern, 100),
        owner=spec["owner"].text(most=200) if "owner" in spec else "",
        health=_health(spec["health"]) if "health" in spec else None,
        target=addresses.target(spec["target"]) if "target" in spec else "",
        depends_on=_depends_on(spec["dependsOn"], document.name) if "dependsOn" in spec else (),
        parameters=_parameters(spec["parameters"]) if "parameters" in spec else {},
        limits=_limits(spec["limits"]) if "limits" in spec else {},
        hash=document.hash,
    )


def _health(node: Node) -> Health:
    kinds = tuple(kind.value for kind in ProbeKind)
    fields = node.fields((), (*kinds, "interval", "timeout", "failures", "severity"))
    asked = [kind for kind in ProbeKind if kind.value in fields]
    if len(asked) != 1:
        raise node.wrong("health asks exactly one thing", f"one of {', '.join(kinds)}")
    usual = Health(probe=Probe(kind=asked[0], address=""))
    timeout = fields["timeout"].duration(10, MINUTE) if "timeout" in fields else SECOND
    address = addresses.probe(fields[asked[0].value], asked[0])
    return Health(
        probe=Probe(kind=asked[0], address=address, timeout=timeout),
        interval=fields["interval"].duration(100, HOUR) if "interval" in fields else usual.interval,
        failures=fields["failures"].integer(1, 100) if "failures" in fields else usual.failures,
        severity=fields["severity"].choice(Severity) if "severity" in fields else usual.severity,
    )


def _parameters(node: Node) -> dict[str, str]:
    entries = node.entries()
    if len(entries) > MOST_PARAMETERS:
        raise node.wrong(f"a service has at most {MOST_PARAMETERS} parameters")
    for name, entry in entries.items():
        if not _PARAMETER.fullmatch(name):
            raise entry.wrong(f"{name!r} is not a name for a parameter", "write it like_this")
    return {name: entry.text(most=1_000) for name, entry in entries.items()}


def _limits(node: Node) -> dict[str, float]:
    entries = node.entries()
    if len(entries) > MOST_LIMITS:
        raise node.wrong(f"a service has at most {MOST_LIMITS} limits")
    for name, entry in entries.items():
        if not checks.NAME.fullmatch(name):
            raise entry.wrong(f"{name!r} is not the name of a metric")
    return {name: entry.number() for name, entry in entries.items()}


def _depends_on(node: Node, name: str) -> tuple[str, ...]:
    seen: list[str] = []
    for entry in node.items():
        other = entry.text(NAME.pattern, 100)
        if other == name:
            raise entry.wrong("a service cannot depend on itself")
        if other in seen:
            raise entry.wrong(f"{other!r} is named twice")
        seen.append(other)
    return tuple(seen)
