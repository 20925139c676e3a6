# SPDX-License-Identifier: Apache-2.0

"""Service documents, strictly, and the catalogue of them."""

from __future__ import annotations

import math
from typing import Any

import pytest

from opx.core.base import documents
from opx.core.base.documents import Document, Node
from opx.core.base.reads import Probe, ProbeKind
from opx.core.ingest.services import Catalogue, Health, Service, bind_service
from opx.core.ingest.signals import Identity, Severity
from opx.errors import DocumentError


def node(value: Any) -> Node:
    if isinstance(value, dict):
        value = {name: node(item) for name, item in value.items()}
    elif isinstance(value, list):
        value = [node(item) for item in value]
    return Node(value, 7, "services.yaml")


def service(name: str, kind: str = "Service", **spec: Any) -> Document:
    return documents.envelope(
        node({"apiVersion": "opx/v1", "kind": kind, "metadata": {"name": name}, "spec": spec})
    )


def test_a_whole_service() -> None:
    """Every field of the document has its place."""
    document = service(
        "orders",
        environment="playground",
        owner="shop",
        health={
            "http": "http://127.0.0.1:9101/health",
            "interval": "2s",
            "timeout": "500ms",
            "failures": 3,
            "severity": "sev1",
        },
        target="http://127.0.0.1:9001#orders",
        dependsOn=["payments", "store"],
        limits={"heap_bytes": 2e9, "sessions": 500},
    )

    assert bind_service(document) == Service(
        name="orders",
        environment="playground",
        owner="shop",
        health=Health(
            probe=Probe(kind=ProbeKind.HTTP, address="http://127.0.0.1:9101/health", timeout=500),
            interval=2_000,
            failures=3,
            severity=Severity.SEV1,
        ),
        target="http://127.0.0.1:9001#orders",
        depends_on=("payments", "store"),
        limits={"heap_bytes": 2e9, "sessions": 500.0},
        hash=document.hash,
    )


def test_the_least_service() -> None:
    """An environment is enough: no health means that nobody asks."""
    bound = bind_service(service("orders", environment="lab"))

    assert (bound.health, bound.target, bound.depends_on) == (None, "", ())


@pytest.mark.parametrize(
    ("health", "probe"),
    [
        (
            {"tcp": "localhost:5432"},
            Probe(kind=ProbeKind.TCP, address="localhost:5432", timeout=1_000),
        ),
        ({"tcp": "[::1]:80"}, Probe(kind=ProbeKind.TCP, address="[::1]:80", timeout=1_000)),
        (
            {"process": "unix:///run/s.sock#web"},
            Probe(kind=ProbeKind.PROCESS, address="unix:///run/s.sock#web", timeout=1_000),
        ),
    ],
)
def test_the_other_probes(health: dict[str, str], probe: Probe) -> None:
    """TCP and process probes are read with the usual interval, failures and severity."""
    assert bind_service(service("x", environment="lab", health=health)).health == Health(
        probe=probe, interval=1_000, failures=2, severity=Severity.SEV2
    )


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({}, "'environment' is missing"),
        ({"environment": "Lab 1"}, "does not match"),
        ({"environment": "lab", "helth": {}}, "did you mean 'health'?"),
        ({"environment": "lab", "health": {}}, "exactly one"),
        ({"environment": "lab", "health": {"http": "http://a", "tcp": "b:1"}}, "exactly one"),
        ({"environment": "lab", "health": {"http": "ftp://a"}}, "no address for http"),
        ({"environment": "lab", "health": {"tcp": "a"}}, "no address for tcp"),
        ({"environment": "lab", "health": {"http": "http://u:p@a/"}}, "a login stands in"),
        ({"environment": "lab", "health": {"http": "http://a", "interval": "1ms"}}, "not within"),
        ({"environment": "lab", "health": {"http": "http://a", "failures": 0}}, "not within"),
        ({"environment": "lab", "health": {"http": "http://a", "severity": "bad"}}, "sev1"),
        ({"environment": "lab", "target": "orders"}, "no address for process"),
        ({"environment": "lab", "target": "http://u:p@a:1#b"}, "supervisors.toml"),
        ({"environment": "lab", "dependsOn": ["x"]}, "itself"),
        ({"environment": "lab", "dependsOn": ["a", "a"]}, "twice"),
        ({"environment": "lab", "limits": {"heap": "all"}}, "a number is expected"),
        ({"environment": "lab", "limits": {"heap": math.nan}}, "not finite"),
        ({"environment": "lab", "limits": {"heap used": 1}}, "is not the name of a metric"),
        ({"environment": "lab", "limits": {f"m{n}": 1 for n in range(51)}}, "at most 50"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(spec: dict[str, Any], says: str) -> None:
    """Nothing is guessed and nothing ignored: the error names the file, the line and the fix."""
    with pytest.raises(DocumentError, match=says) as caught:
        bind_service(service("x", **spec))

    assert str(caught.value).startswith("services.yaml:7: ")


def test_another_kind_is_no_service() -> None:
    """Only a Service is bound as one."""
    with pytest.raises(DocumentError, match="a Service is expected, not a Runbook"):
        bind_service(service("x", kind="Runbook", environment="lab"))


def catalogue(*documents: Document) -> Catalogue:
    bound = [bind_service(document) for document in documents]
    return Catalogue(services={(one.environment, one.name): one for one in bound})


def test_the_catalogue_knows_who_depends_on_whom() -> None:
    """Dependencies stay within one environment."""
    known = catalogue(
        service("orders", environment="lab", dependsOn=["store", "missing", "cache"]),
        service("web", environment="lab", dependsOn=["orders", "store"]),
        service("store", environment="lab"),
        service("cache", environment="lab"),
        service("batch", environment="prod", dependsOn=["store"]),
    )
    orders = known.of(Identity("lab", "orders"))

    assert orders is not None
    assert [one.name for one in known.dependencies(orders)] == ["store", "cache"]
    assert known.of(Identity("prod", "orders")) is None


def test_a_name_is_one_service_in_each_environment() -> None:
    """The same name elsewhere is another document, with dependencies of its own place."""
    lab = bind_service(service("orders", environment="lab", dependsOn=["store"]))
    prod = bind_service(service("orders", environment="prod", dependsOn=["store"]))

    assert (lab.id, lab.needs) == ("Service/lab/orders", ("Service/lab/store",))
    assert (prod.id, prod.needs) == ("Service/prod/orders", ("Service/prod/store",))


def test_parameters_are_texts_by_name() -> None:
    """What steps may be filled with, as it was written."""
    bound = bind_service(
        service("orders", environment="lab", parameters={"config": "/srv/a.conf", "release": ""})
    )
    assert bound.parameters == {"config": "/srv/a.conf", "release": ""}


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"Config": "x"}, "is not a name for a parameter"),
        ({"a-b": "x"}, "is not a name for a parameter"),
        ({"a": 1}, "text is expected"),
        ({"a": "x" * 1_001}, "longer than 1000"),
        ({f"p{n}": "x" for n in range(51)}, "at most 50 parameters"),
        (["a"], "a mapping is expected"),
    ],
)
def test_parameters_that_are_none(parameters: Any, said: str) -> None:
    """Other names, other values and too many are errors."""
    with pytest.raises(DocumentError, match=said):
        bind_service(service("orders", environment="lab", parameters=parameters))
