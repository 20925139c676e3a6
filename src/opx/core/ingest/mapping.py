# SPDX-License-Identifier: Apache-2.0

"""The ``Mapping`` document: which labels name the environment, the service and the resource.

The catalogue has one, the usual one until somebody applies another; stage 1 resolves every
signal by it. Read from YAML by ``opx.core.base.documents``.
"""

from __future__ import annotations

from dataclasses import dataclass

from opx.core.base.documents import NAME, Document, Node
from opx.core.ingest import checks

KIND = "Mapping"
MOST_LABELS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class MappingRule:
    """How labels name a service: the first label present of each list wins."""

    environment: tuple[str, ...] = ("environment", "env", "namespace")
    service: tuple[str, ...] = ("service", "service_name", "app", "job")
    resource: tuple[str, ...] = ("resource", "instance", "pod", "host")
    default_environment: str = "default"


def bind_mapping(document: Document) -> MappingRule:
    """Read a ``Mapping`` document; what it leaves out stays as usual. ``DocumentError`` with the
    line of whatever is wrong."""
    if document.kind != KIND:
        raise document.at("kind").wrong(f"a {KIND} is expected, not a {document.kind}")
    spec = document.spec.fields((), ("environment", "service", "resource", "defaultEnvironment"))
    usual = MappingRule()
    return MappingRule(
        environment=_labels(spec["environment"]) if "environment" in spec else usual.environment,
        service=_labels(spec["service"]) if "service" in spec else usual.service,
        resource=_labels(spec["resource"]) if "resource" in spec else usual.resource,
        default_environment=spec["defaultEnvironment"].text(NAME.pattern, 100)
        if "defaultEnvironment" in spec
        else usual.default_environment,
    )


def _labels(node: Node) -> tuple[str, ...]:
    entries = node.items()
    if not 1 <= len(entries) <= MOST_LABELS:
        hint = "leave the field out for the usual ones"
        raise node.wrong(f"1 to {MOST_LABELS} labels are expected here", hint)
    seen: list[str] = []
    for entry in entries:
        label = entry.text(checks.NAME.pattern, checks.MAX_NAME)
        if label in seen:
            raise entry.wrong(f"{label!r} is named twice")
        seen.append(label)
    return tuple(seen)
