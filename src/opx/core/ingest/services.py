# SPDX-License-Identifier: Apache-2.0

"""The ``Service`` document, and the catalogue of them that every stage looks things up in.

A Service says where it runs, how to ask whether it is well, which process it is, and
what it depends on. Read from YAML by ``opx.core.base.documents``.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from opx.core.base.reads import Probe
from opx.core.base.time import SECOND, Ms
from opx.core.ingest.signals import Identity, Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """The service's own health probe: asked every ``interval``, a symptom after ``failures`` in a row."""

    probe: Probe
    interval: Ms = SECOND
    failures: int = 2
    severity: Severity = Severity.SEV2


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """``target``: what an action acts on, ``supervisor-url#program`` for a supervised process."""

    name: str
    environment: str
    owner: str = ""
    health: Health | None = None
    target: str = ""
    depends_on: tuple[str, ...] = ()
    hash: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MappingRule:
    """How labels name a service: the first label present of each list wins."""

    environment: tuple[str, ...] = ("environment", "env", "namespace")
    service: tuple[str, ...] = ("service", "service_name", "app", "job")
    resource: tuple[str, ...] = ("resource", "instance", "pod", "host")
    default_environment: str = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """All services by (environment, name), and the rules that map labels to them."""

    services: dict[tuple[str, str], Service] = field(default_factory=dict)
    mapping: MappingRule = field(default_factory=MappingRule)

    def of(self, identity: Identity) -> Service | None:
        return self.services.get((identity.environment, identity.service))
