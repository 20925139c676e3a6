# SPDX-License-Identifier: Apache-2.0
"""What ``docs/api.md`` and the quickstart show is so: the routes, the bodies, the documents."""

from __future__ import annotations

import json
import re
import textwrap
from pathlib import Path
from typing import Any

import pytest

from opx.adapters.wires import events, logs, metrics
from opx.api import create, ingest
from opx.api.errors import PREFIX
from opx.api.routes import health, pages
from opx.api.routes.telemetry import QueryBody
from opx.app import documents
from opx.engine.intake import Incoming

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "api.md").read_text()
QUICKSTART = (DOCS / "quickstart.md").read_text()
NOW = 1_767_225_600_000
BODIES = {
    path: body for body, path in re.findall(r"-d '(.*?)' \\\n +http://127\.0\.0\.1:8470(\S+)", PAGE)
}


def indented(page: str) -> list[str]:
    """The blocks of lines that are set off by four spaces."""
    found = re.findall(r"(?:^ {4}.*\n)+", page, re.MULTILINE)
    return [textwrap.dedent(block) for block in found]


def yaml(page: str) -> str:
    return "---\n".join(one for one in indented(page) if one.lstrip().startswith("apiVersion"))


def test_the_table_of_routes_is_all_of_them() -> None:
    """Not one more and not one less."""
    areas: list[tuple[Any, str]] = [(area, PREFIX) for area in create.AREAS]
    served = {
        f"{method} {prefix}{route.path}"
        for area, prefix in [*areas, (health, ""), (pages, "")]
        for route in area.router.routes
        for method in route.methods - {"HEAD"}
    }
    served |= {f"POST {path}" for path in ingest.PATHS}

    assert set(re.findall(r"^\| `([A-Z]+ \S+)` \|", PAGE, re.MULTILINE)) == served


@pytest.mark.parametrize("path", ["/metrics", "/logs", "/events"])
def test_what_is_sent_there_is_taken_and_is_the_services(path: str) -> None:
    """One item, none refused, and it is known whose it is."""
    index = metrics.SeriesIndex()
    wires = {"/metrics": metrics.parser(index), "/logs": logs.parse, "/events": events.parse}
    parsed = wires[path](BODIES[path].encode(), Incoming(now=NOW))

    assert (parsed.accepted, parsed.refusals) == (1, [])
    (one,) = (*parsed.batch.series, *parsed.batch.items)
    assert (one.identity.environment, one.identity.service) == ("shop", "orders")


def test_what_is_asked_there_is_a_query() -> None:
    """It fits the body of the route."""
    assert QueryBody(**json.loads(BODIES["/api/v1/query"])).metric == "queue_depth"


@pytest.mark.parametrize("page", [PAGE, QUICKSTART], ids=["api", "quickstart"])
def test_every_document_that_is_shown_is_well(page: str) -> None:
    """All of a page together, as `opx lint` reads them."""
    checked, wrong = documents.examine(yaml(page), "page", [])

    assert [str(error) for error in wrong] == []
    assert len(checked) >= 4
